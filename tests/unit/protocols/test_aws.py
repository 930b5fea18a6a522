"""The `credential_process` protocol, rule by rule."""

import json

import pytest

from keylease.errors import (
    KeychainUnavailableError,
    RequestError,
    SessionEndedError,
    SessionNotFoundError,
    UsageError,
    VaultRevokedError,
)
from keylease.model import NANOSECONDS, Credential, Moment, Reply, Session, Target
from keylease.protocols import aws
from keylease.protocols.base import Call
from keylease.secrets import jsontext
from keylease.secrets.memory import allocate
from keylease.secrets.secret import Secret

START = 1_700_000_000  # 2023-11-14T22:13:20Z
ASKED = aws.parse(Call(("prod",), {}, bytearray()))


def answer(username="AKIAEXAMPLE", secret=b"wJalr/+", expires=None, **fields):
    """Return what an AWS program reads of a session."""
    now = Moment(START * NANOSECONDS, 1, "boot")
    held = Session("0" * 32, ASKED.target, username, None, expires, 1, now, now, now, 900, 28800)
    extra = tuple((name, Secret(value)) for name, value in fields.items())
    credential = Credential(username, Secret(secret), None, expires, extra)
    return json.loads(b"".join(aws.render(ASKED, Reply(held, credential, START + 900))))


@pytest.mark.parametrize("name", ["prod", "aws://prod", "a.b_c@d:e+f=g,h/i-j", "x" * 256])
def test_a_name_is_a_target(name):
    """Whatever stands in the configuration names the session, and so does what status shows."""
    expected = Target("aws", "aws", name.removeprefix("aws://"))

    assert expected == aws.target(name)
    assert expected == aws.parse(Call((name,), {}, bytearray())).target
    assert expected == aws.target(expected.url)


@pytest.mark.parametrize(
    "name", ["", "a b", "-x", "a\n", "a$b", "a'b", 'a"b', "a\\b", "ä", "x" * 257]
)
def test_what_the_configuration_would_split_is_no_name(name):
    """A name that a shell or the configuration could read in two ways is refused."""
    with pytest.raises(UsageError):
        aws.target(name)


def test_stdin_is_left_alone():
    """Nothing is written to the program, and its stdin may be the user's terminal."""
    assert aws.complete(Call(("prod",), {}, bytearray()))


def test_a_key_is_said_with_the_end_of_its_session():
    """The expiry is the cap: botocore would ask for each request if it were the idle end."""
    assert {
        "Version": 1,
        "AccessKeyId": "AKIAEXAMPLE",
        "SecretAccessKey": "wJalr/+",
        "Expiration": "2023-11-15T06:13:20Z",
    } == answer()


def test_a_temporary_key_is_said_with_its_token_and_its_own_end():
    """What AWS issued for an hour ends after that hour, whatever the cap is."""
    said = answer(session_token=b"FwoG/a+b==", expires=START + 3600)

    assert ("FwoG/a+b==", "2023-11-14T23:13:20Z") == (said["SessionToken"], said["Expiration"])


@pytest.mark.parametrize(
    ("username", "secret"), [(None, b"secret"), ("", b"secret"), ("AKIA", b"\xff")]
)
def test_what_is_no_key_is_refused(username, secret):
    """A session without a key id, or whose secret is no text, is none for AWS."""
    with pytest.raises(RequestError):
        answer(username, secret)


def test_a_secret_beside_a_field_that_is_no_text_is_wiped(monkeypatch):
    """What was written for an answer that cannot be given does not wait for its memory's reuse."""
    rooms = []

    def spy(size):
        rooms.append(allocate(size))
        return rooms[-1]

    monkeypatch.setattr(jsontext, "allocate", spy)

    with pytest.raises(RequestError):
        answer("AKIA", b"hunter2", session_token=b"\xff")

    assert rooms, "the control: something was written"
    assert [bytes(len(room)) for room in rooms] == rooms


@pytest.mark.parametrize(
    "error",
    [
        SessionNotFoundError("there is no session for aws://prod"),
        SessionEndedError("the session for aws://prod has ended: idle", "idle"),
        VaultRevokedError("the vault key is gone"),
    ],
)
def test_a_miss_says_how_to_start_a_session(error):
    """The program puts the reason into its own error, so its user reads what to type."""
    refused = aws.refuse(error, ASKED)

    assert (b"", 1, True) == (refused.reply, refused.exit_code, refused.always)
    hint = "keylease: hint: start one with: keylease login --tool aws prod\n"
    assert f"keylease: error: {error}\n{hint}" == refused.message


def test_a_locked_keychain_is_told_as_it_is():
    """Nobody is sent to log in again when all that is needed is to unlock something."""
    error = KeychainUnavailableError("the keychain is locked")

    assert "hint: unlock the keychain" in aws.refuse(error, ASKED).message


def test_a_wrong_command_line_is_told_how_it_should_be():
    """The usage is part of what the program shows."""
    refused = aws.refuse(UsageError("expected one name, found 0"))

    assert (2, True) == (refused.exit_code, refused.always)
    assert refused.message.endswith("usage: keylease-aws NAME\n")
