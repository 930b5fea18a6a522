"""Terraform's credentials helper, rule by rule."""

import json

import pytest

from keylease.errors import (
    KeychainUnavailableError,
    PolicyError,
    RequestError,
    SessionEndedError,
    SessionNotFoundError,
    UsageError,
    VaultRevokedError,
)
from keylease.model import Credential, Moment, Refusal, Reply, Request, Session, Target
from keylease.protocols import terraform
from keylease.protocols.base import Call
from keylease.secrets.secret import Secret

ASKED = Request("get", Target("terraform", "https", "app.terraform.io", ""))


def parse(action, message=b"", host="app.terraform.io"):
    """Parse what Terraform sends."""
    return terraform.parse(Call((action, host), {}, bytearray(message)))


def answer(token):
    """Return Terraform's answer for a session."""
    now = Moment(1, 1, "boot")
    held = Session("0" * 32, ASKED.target, None, None, None, 1, now, now, None, 900, 28800)
    reply = Reply(held, Credential(None, Secret(token)), 2_000_000_000)
    return b"".join(terraform.render(ASKED, reply))


@pytest.mark.parametrize(
    ("name", "host"),
    [
        ("app.terraform.io", "app.terraform.io"),
        ("App.Terraform.io", "app.terraform.io"),
        ("https://app.terraform.io/", "app.terraform.io"),
        ("app.terraform.io:443", "app.terraform.io"),
        ("127.0.0.1:8443", "127.0.0.1:8443"),
        ("xn--bcher-kva.example", "xn--bcher-kva.example"),
        ("[::1]:8443", "[::1]:8443"),
    ],
)
def test_a_host_has_the_name_that_terraform_gives_it(name, host):
    """Every spelling of a host gives Terraform's own name for it."""
    assert Target("terraform", "https", host, "") == terraform.target(name)


@pytest.mark.parametrize(
    "host",
    [
        "",
        "a b",
        "bücher.example",
        "\u212aube.example",
        "a/b",
        "u@h",
        "http://h",
        "h:",
        "h:x",
        "h\n",
    ],
)
def test_what_is_no_host_is_refused(host):
    """An incomplete host name is refused."""
    with pytest.raises(UsageError):
        parse("get", host=host)


def test_a_login_is_kept_as_the_only_one():
    """A host has one token, so a store replaces every other session of it."""
    request = parse("store", b'{"token":"a\\u0062c"}')

    assert ("store", ASKED.target, None) == request[:3]
    assert request.credential.secret.matches(Secret(b"abc"))
    assert request.replace_other_users
    assert request.is_login


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"{}",
        b"[]",
        b'"abc"',
        b'{"token":""}',
        b'{"token":null}',
        b'{"token":1}',
        b'{"token":"a","token":"b"}',
        b'{"token":"a"} {}',
        b'{"token":"' + b"x" * 65536 + b'"}',
    ],
)
def test_what_is_no_token_is_refused(message):
    """A message that could be read in two ways stores nothing."""
    with pytest.raises(RequestError):
        parse("store", message)


def test_what_is_not_understood_is_refused_and_not_dropped():
    """A field of a later Terraform is refused, not silently dropped."""
    with pytest.raises(RequestError, match="more than a token"):
        parse("store", b'{"token":"a","refresh":"b"}')


@pytest.mark.parametrize("arguments", [(), ("get",), ("fetch", "h"), ("get", "h", "x")])
def test_a_wrong_command_line_is_told_how_it_should_be(arguments):
    """A wrong command line gets the usage on stderr, which Terraform shows."""
    with pytest.raises(UsageError) as caught:
        terraform.parse(Call(arguments, {}, bytearray()))
    refused = terraform.refuse(caught.value)

    assert (b"", 2, True) == (refused.reply, refused.exit_code, refused.always)
    assert refused.message.endswith(f"{terraform.USAGE}\n")


def test_what_comes_is_read_to_its_end():
    """All input is read, even for an unknown operation, so that Terraform's write succeeds."""
    assert terraform.complete(Call(("get", "h"), {}, bytearray()))
    assert terraform.complete(Call(("forget", "h"), {}, bytearray()))
    assert terraform.complete(Call((), {}, bytearray()))
    assert not terraform.complete(Call(("store", "h"), {}, bytearray(b'{"token":"a"}\n')))
    assert not terraform.complete(Call(("rotate", "h"), {}, bytearray()))


def test_the_token_is_said_as_json():
    """Any text survives the round trip; a token that is not text is refused."""
    assert {"token": 'a"b\\ä'} == json.loads(answer('a"b\\ä'.encode()))
    assert [] == terraform.render(ASKED._replace(action="store"), None)
    with pytest.raises(RequestError):
        answer(b"\xff")


@pytest.mark.parametrize(
    "error",
    [
        SessionNotFoundError("there is none"),
        SessionEndedError("it has ended: idle", "idle"),
        VaultRevokedError("the vault key is gone"),
        PolicyError("the policy forbids it"),
    ],
)
def test_no_session_is_an_empty_object(error):
    """Without a session Terraform gets an empty object and asks the host without a token."""
    assert (b"{}\n", 0) == (terraform.refuse(error, ASKED)[0], terraform.refuse(error, ASKED)[2])
    assert Refusal(b"", "", 0) == terraform.refuse(error, ASKED._replace(action="erase"))


def test_an_end_says_how_to_begin_again():
    """The suggested command can be typed as it is."""
    said = terraform.refuse(SessionEndedError("ended", "idle"), ASKED).message

    revoked = VaultRevokedError("the vault key is gone")

    assert "keylease: hint: start one with: terraform login app.terraform.io\n" in said
    for action in ("get", "store"):
        said = terraform.refuse(revoked, ASKED._replace(action=action)).message
        assert said.endswith("start one with: keylease login --tool terraform app.terraform.io\n")


@pytest.mark.parametrize("action", ["get", "store", "erase"])
def test_what_is_no_miss_is_told(action):
    """A locked keychain is an error with its reason, which Terraform shows."""
    refused = terraform.refuse(KeychainUnavailableError("locked"), ASKED._replace(action=action))

    assert (b"", 1, True) == (refused.reply, refused.exit_code, refused.always)
    assert refused.message.startswith("keylease: error: locked\n")
