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
    """Return what an AWS program reads about a session."""
    now = Moment(START * NANOSECONDS, 1, "boot")
    held = Session("0" * 32, ASKED.target, username, None, expires, 1, now, now, now, 900, 28800)
    extra = tuple((name, Secret(value)) for name, value in fields.items())
    credential = Credential(username, Secret(secret), None, expires, extra)
    return json.loads(b"".join(aws.render(ASKED, Reply(held, credential, START + 900))))


@pytest.mark.parametrize("name", ["prod", "aws://prod", "a.b_c@d:e+f=g,h/i-j", "x" * 256])
def test_a_name_is_a_target(name):
    """The name in the AWS configuration is the session's target, and status shows the same name."""
    expected = Target("aws", "aws", name.removeprefix("aws://"))

    assert expected == aws.target(name)
    assert expected == aws.parse(Call((name,), {}, bytearray())).target
    assert expected == aws.target(expected.url)


@pytest.mark.parametrize(
    "name", ["", "a b", "-x", "a\n", "a$b", "a'b", 'a"b', "a\\b", "ä", "x" * 257]
)
def test_what_the_configuration_would_split_is_no_name(name):
    """A name that a shell or the configuration could split is refused."""
    with pytest.raises(UsageError):
        aws.target(name)


def test_stdin_is_left_alone():
    """The helper does not read stdin, which may be the user's terminal."""
    assert aws.complete(Call(("prod",), {}, bytearray()))


def test_a_key_is_said_with_the_end_of_its_session():
    """The expiry is the cap; with the idle end botocore would ask again for each request."""
    assert {
        "Version": 1,
        "AccessKeyId": "AKIAEXAMPLE",
        "SecretAccessKey": "wJalr/+",
        "Expiration": "2023-11-15T06:13:20Z",
    } == answer()


def test_a_temporary_key_is_said_with_its_token_and_its_own_end():
    """A key that AWS issued for an hour ends after that hour, whatever the cap is."""
    said = answer(session_token=b"FwoG/a+b==", expires=START + 3600)

    assert ("FwoG/a+b==", "2023-11-14T23:13:20Z") == (said["SessionToken"], said["Expiration"])


@pytest.mark.parametrize(
    ("username", "secret"), [(None, b"secret"), ("", b"secret"), ("AKIA", b"\xff")]
)
def test_what_is_no_key_is_refused(username, secret):
    """A session without a key id, or with a secret that is not text, is refused."""
    with pytest.raises(RequestError):
        answer(username, secret)


def test_a_secret_beside_a_field_that_is_no_text_is_wiped(monkeypatch):
    """If a field cannot be encoded, the half-written answer with the secret is wiped."""
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
    """The program shows the reason in its own error, so its user reads what to type."""
    refused = aws.refuse(error, ASKED)

    assert (b"", 1, True) == (refused.reply, refused.exit_code, refused.always)
    hint = "keylease: hint: start one with: keylease login --tool aws prod\n"
    assert f"keylease: error: {error}\n{hint}" == refused.message


def test_a_locked_keychain_is_told_as_it_is():
    """A locked keychain is reported as locked; the message does not suggest a new login."""
    error = KeychainUnavailableError("the keychain is locked")

    assert "hint: unlock the keychain" in aws.refuse(error, ASKED).message


def test_a_wrong_command_line_is_told_how_it_should_be():
    """A wrong command line gets the usage, which the program shows."""
    refused = aws.refuse(UsageError("expected one name, found 0"))

    assert (2, True) == (refused.exit_code, refused.always)
    assert refused.message.endswith("usage: keylease-aws NAME\n")
