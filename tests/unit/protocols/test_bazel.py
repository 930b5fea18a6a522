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
    """Return what Bazel hears of a session that was used a moment ago."""
    now = Moment(used * 1_000_000_000, 1, "boot")
    session = Session("0" * 32, ASKED.target, None, None, None, 1, now, now, None, 900, 28800)
    return json.loads(b"".join(bazel.render(ASKED, Reply(session, credential, 2_000_000_000))))


def test_a_uri_is_asked_for_by_its_host_and_what_is_fetched():
    """A login to a server is good for its downloads, and later members mean nothing."""
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
    """Bazel shows the reason, and a password in a URI is not repeated."""
    with pytest.raises(RequestError) as caught:
        parse(message)
    refused = bazel.refuse(caught.value)

    assert (b"", 1, True) == (refused.reply, refused.exit_code, refused.always)
    assert "hunter2" not in refused.message


@pytest.mark.parametrize("arguments", [("store",), ("get", "get"), ("--help",)])
def test_a_wrong_command_line_is_told_how_it_should_be(arguments):
    """The usage is told on stderr, and nothing is waited for."""
    assert bazel.complete(Call(arguments, {}, bytearray()))
    with pytest.raises(UsageError) as caught:
        parse(b"", *arguments)

    assert bazel.refuse(caught.value).message.endswith(f"{bazel.USAGE}\n")
    assert 2 == bazel.refuse(caught.value).exit_code


def test_no_operation_is_a_wrong_command_line():
    """The specification wants the usage and a failure."""
    with pytest.raises(UsageError):
        bazel.parse(Call((), {}, bytearray()))
    assert bazel.complete(Call((), {}, bytearray()))
    assert not bazel.complete(Call(("get",), {}, bytearray(b'{"uri":"https://cache.example"}\n')))


def test_bazel_is_told_to_ask_again_halfway():
    """At the very end of what is left an active user's session would be over before the asking."""
    said = answer(Credential("bob", Secret(b"pw")))

    assert {
        "headers": {"Authorization": ["Basic Ym9iOnB3"]},
        "expires": "2033-05-18T03:25:50Z",
    } == said


def test_a_token_is_text_in_json():
    """A quotation mark in a token ends nothing."""
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
    """Bazel goes on without a credential; who asks the helper by hand reads how to get one."""
    refused = bazel.refuse(error, ASKED)

    assert ({"headers": {}}, 0) == (json.loads(refused.reply), refused.exit_code)
    assert refused.message.endswith("start one with: keylease login https://cache.example\n")


def test_what_is_no_miss_stops_the_build():
    """A locked keychain is not mistaken for a server that needs nothing."""
    refused = bazel.refuse(KeychainUnavailableError("locked"), ASKED)

    assert (b"", 1, True) == (refused.reply, refused.exit_code, refused.always)


def test_a_person_names_a_server_as_for_git():
    """The target is that of `keylease login URL`."""
    assert ASKED.target == bazel.target("cache.example")
    assert Target("web", "https", "cache.example", "x") == bazel.target("https://cache.example/x")
    with pytest.raises(UsageError):
        bazel.target("http://cache.example")
