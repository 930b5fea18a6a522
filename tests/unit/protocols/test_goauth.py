"""GOAUTH of the go command, rule by rule."""

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
from keylease.protocols import goauth
from keylease.protocols.base import Call
from keylease.secrets.secret import Secret

ASKED = Request(
    "get",
    Target("web", "https", "proxy.example"),
    capabilities=frozenset({"authtype"}),
    closest=True,
)


def parse(*arguments):
    """Parse the go command's question."""
    return goauth.parse(Call(arguments, {}, bytearray()))


def answer(path=None, credential=None):
    """Return the go command's answer for a session."""
    now = Moment(1, 1, "boot")
    held = Target("web", "https", "proxy.example", path)
    session = Session("0" * 32, held, "bob", None, None, 1, now, now, None, 900, 28800)
    reply = Reply(session, credential or Credential("bob", Secret(b"pw")), 2_000_000_000)
    return b"".join(goauth.render(ASKED, reply))


def test_the_first_call_is_answered_with_nothing():
    """The first call names no URL; an answer would release every session, so there is none."""
    assert Request("ignore") == parse()
    assert [] == goauth.render(parse(), None)


@pytest.mark.parametrize(
    ("path", "resource"),
    [("/team/x/@v/list?go-get=1", "team/x/@v/list"), ("/", ""), ("", ""), ("?go-get=1", "")],
)
def test_a_url_is_asked_for_by_its_host_and_what_is_fetched(path, resource):
    """A login to a server answers for its modules, a login to a path for those below it."""
    asked = parse(f"https://proxy.example{path}")

    assert ASKED.target == asked.place
    assert ASKED._replace(target=asked.target) == asked
    assert resource == (asked.target.path or "")


def test_what_is_not_https_is_answered_with_nothing():
    """A URL without https gets no answer, because the go command would not use it."""
    assert Request("ignore") == parse("http://proxy.example/x")


@pytest.mark.parametrize(
    "arguments",
    [("a", "b"), ("https://bob:hunter2@proxy.example",), ("https://",), ("",), ("a b",)],
)
def test_a_wrong_command_line_is_told_how_it_should_be(arguments):
    """A wrong command line is refused, and a password in a URL is not repeated."""
    with pytest.raises(UsageError) as caught:
        parse(*arguments)
    refused = goauth.refuse(caught.value)

    assert (b"", 2, True) == (refused.reply, refused.exit_code, refused.always)
    assert "hunter2" not in refused.message


def test_stdin_is_left_alone():
    """The helper does not read stdin, which has the server's response."""
    assert goauth.complete(Call((), {}, bytearray()))
    assert goauth.complete(Call(("https://proxy.example",), {}, bytearray()))


@pytest.mark.parametrize(
    ("path", "url"),
    [
        (None, b"https://proxy.example"),
        ("", b"https://proxy.example"),
        ("team/x", b"https://proxy.example/team/x"),
    ],
)
def test_the_header_is_for_what_the_session_is_for(path, url):
    """The answer names the session's own path, because Go sends the header to all below it."""
    assert url + b"\n\nAuthorization: Basic Ym9iOnB3\n\n" == answer(path)


@pytest.mark.parametrize("path", ["a b", "a\nhttps://evil.example", "\udcff", "ä"])
def test_no_path_can_add_a_line(path):
    """A path from the store cannot add a line to the answer."""
    with pytest.raises(RequestError):
        answer(path)


def test_no_secret_can_add_a_line():
    """A token with a line end is refused."""
    with pytest.raises(RequestError):
        answer(credential=Credential(None, Secret(b"a\n\nhttps://evil.example")))


@pytest.mark.parametrize(
    "error",
    [
        SessionNotFoundError("there is none"),
        SessionEndedError("it has ended: idle", "idle"),
        VaultRevokedError("the vault key is gone"),
    ],
)
def test_no_session_is_silence(error):
    """Without a session the go command continues and shows the server's response."""
    refused = goauth.refuse(error, ASKED)

    assert (b"", 0, False) == (refused.reply, refused.exit_code, refused.always)
    assert refused.message.endswith("start one with: keylease login https://proxy.example\n")


def test_what_is_no_miss_is_told():
    """A locked keychain makes the command fail, which `go -x` shows."""
    refused = goauth.refuse(KeychainUnavailableError("locked"), ASKED)

    assert (b"", 1, True) == (refused.reply, refused.exit_code, refused.always)


def test_a_person_may_name_a_path():
    """A login can name a part of a server."""
    assert Target("web", "https", "proxy.example", "team") == goauth.target("proxy.example/team/")
    assert Target("web", "https", "proxy.example") == goauth.target("https://proxy.example/")
    with pytest.raises(UsageError):
        goauth.target("http://proxy.example")
