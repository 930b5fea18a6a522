"""The credential helper of Bazel, rule by rule."""

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
from keylease.model import Credential, Moment, Reply, Request, Session, Target
from keylease.protocols import bazel
from keylease.protocols.base import Call
from keylease.secrets.secret import Secret

ASKED = Request(
    "get",
    Target("web", "https", "cache.example"),
    capabilities=frozenset({"authtype"}),
    closest=True,
)


def parse(message, *arguments):
    """Parse what Bazel sends."""
    return bazel.parse(Call(arguments or ("get",), {}, bytearray(message)))


def answer(credential, used=1_999_999_100):
    """Return Bazel's answer for a session that was used a moment ago."""
    now = Moment(used * 1_000_000_000, 1, "boot")
    session = Session("0" * 32, ASKED.target, None, None, None, 1, now, now, None, 900, 28800)
    return json.loads(b"".join(bazel.render(ASKED, Reply(session, credential, 2_000_000_000))))


def test_a_uri_is_asked_for_by_its_host_and_what_is_fetched():
    """A login to a server answers for its downloads, and unknown members are ignored."""
    asked = parse(b'{"uri":"https://cache.example/x/y.tgz","later":{"uri":"https://e"}}')

    assert ASKED.target == asked.place
    assert ASKED._replace(target=ASKED.target._replace(path="x/y.tgz")) == asked


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"{}",
        b"[]",
        b'{"uri":1}',
        b'{"uri":""}',
        b'{"uri":"http://cache.example/"}',
        b'{"uri":"https://bob:hunter2@cache.example/"}',
        b'{"uri":"https://cache.example/\\n"}',
        b'{"uri":"https://a.example","uri":"https://b.example"}',
        b'{"uri":"https://a.example"}}',
        b" " * 65537,
    ],
)
def test_what_names_no_server_is_an_error(message):
    """Bazel shows the reason, and a password in the URI is not repeated."""
    with pytest.raises(RequestError) as caught:
        parse(message)
    refused = bazel.refuse(caught.value)

    assert (b"", 1, True) == (refused.reply, refused.exit_code, refused.always)
    assert "hunter2" not in refused.message


@pytest.mark.parametrize("arguments", [("store",), ("get", "get"), ("--help",)])
def test_a_wrong_command_line_is_told_how_it_should_be(arguments):
    """A wrong command line gets the usage on stderr, and the helper does not wait for input."""
    assert bazel.complete(Call(arguments, {}, bytearray()))
    with pytest.raises(UsageError) as caught:
        parse(b"", *arguments)

    assert bazel.refuse(caught.value).message.endswith(f"{bazel.USAGE}\n")
    assert 2 == bazel.refuse(caught.value).exit_code


def test_no_operation_is_a_wrong_command_line():
    """Without an operation the helper prints the usage and fails, as the specification says."""
    with pytest.raises(UsageError):
        bazel.parse(Call((), {}, bytearray()))
    assert bazel.complete(Call((), {}, bytearray()))
    assert not bazel.complete(Call(("get",), {}, bytearray(b'{"uri":"https://cache.example"}\n')))


def test_bazel_is_told_to_ask_again_halfway():
    """Bazel asks again halfway, so an active user's session does not end between two questions."""
    said = answer(Credential("bob", Secret(b"pw")))

    assert {
        "headers": {"Authorization": ["Basic Ym9iOnB3"]},
        "expires": "2033-05-18T03:25:50Z",
    } == said


def test_a_token_is_text_in_json():
    """A quotation mark in a token is escaped."""
    said = answer(Credential(None, Secret(b'a"b\\c')))

    assert ['Bearer a"b\\c'] == said["headers"]["Authorization"]
    assert [] == bazel.render(ASKED, None)


@pytest.mark.parametrize(
    "error",
    [
        SessionNotFoundError("there is none"),
        SessionEndedError("it has ended: idle", "idle"),
        VaultRevokedError("the vault key is gone"),
    ],
)
def test_no_session_is_no_headers(error):
    """Without a session Bazel gets no headers, and stderr says how to log in."""
    refused = bazel.refuse(error, ASKED)

    assert ({"headers": {}}, 0) == (json.loads(refused.reply), refused.exit_code)
    assert refused.message.endswith("start one with: keylease login https://cache.example\n")


def test_what_is_no_miss_stops_the_build():
    """A locked keychain is an error, not a server without credentials."""
    refused = bazel.refuse(KeychainUnavailableError("locked"), ASKED)

    assert (b"", 1, True) == (refused.reply, refused.exit_code, refused.always)


def test_a_person_names_a_server_as_for_git():
    """`keylease login URL` names the same target."""
    assert ASKED.target == bazel.target("cache.example")
    assert Target("web", "https", "cache.example", "x") == bazel.target("https://cache.example/x")
    with pytest.raises(UsageError):
        bazel.target("http://cache.example")
