"""pnpm's tokenHelper, rule by rule."""

import pytest

from keylease.errors import (
    KeychainUnavailableError,
    RequestError,
    SessionEndedError,
    SessionNotFoundError,
    UsageError,
)
from keylease.model import Credential, Moment, Reply, Request, Session, Target
from keylease.protocols import pnpm
from keylease.protocols.base import Call
from keylease.secrets.secret import Secret

ASKED = Request("get", Target("npm", "https", "registry.example", ""))


def parse(*arguments):
    """Parse the arguments that ~/.npmrc gives the program."""
    return pnpm.parse(Call(arguments, {}, bytearray()))


def answer(credential):
    """Return pnpm's answer for a session."""
    now = Moment(1, 1, "boot")
    session = Session("0" * 32, ASKED.target, None, None, None, 1, now, now, None, 900, 28800)
    return b"".join(pnpm.render(ASKED, Reply(session, credential, 2_000_000_000)))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("https://registry.example/", ("https", "registry.example", "")),
        ("//registry.example/", ("https", "registry.example", "")),
        ("registry.example", ("https", "registry.example", "")),
        ("http://127.0.0.1:4873", ("http", "127.0.0.1:4873", "")),
        ("//registry.example/npm/private/", ("https", "registry.example", "npm/private")),
    ],
)
def test_a_registry_is_named_as_in_npmrc_or_by_its_url(name, expected):
    """Two registries on one host are two targets."""
    assert Target("npm", *expected) == parse(name).target


@pytest.mark.parametrize(
    "arguments",
    [(), ("a", "b"), ("",), ("//bob:hunter2@registry.example/",), ("///",), ("--help",)],
)
def test_a_wrong_command_line_is_told_how_it_should_be(arguments):
    """A wrong line in ~/.npmrc gets the usage on stderr."""
    assert pnpm.complete(Call(arguments, {}, bytearray()))
    with pytest.raises(UsageError) as caught:
        parse(*arguments)
    refused = pnpm.refuse(caught.value)

    assert (b"", 2, True) == (refused.reply, refused.exit_code, refused.always)
    assert refused.message.endswith(f"{pnpm.USAGE}\n")
    assert "hunter2" not in refused.message


def test_a_token_comes_with_its_scheme():
    """The answer has the scheme; without it pnpm would take a token's first word as the scheme."""
    assert b"Bearer npm_token\n" == answer(Credential(None, Secret(b"npm_token")))
    assert b"Basic Ym9iOnB3\n" == answer(Credential("bob", Secret(b"pw")))
    assert [] == pnpm.render(ASKED, None)


def test_a_token_that_no_header_can_say_is_refused():
    """A token that would make two words or two lines in a header is refused."""
    with pytest.raises(RequestError):
        answer(Credential(None, Secret(b"npm token")))


@pytest.mark.parametrize(
    "error",
    [
        SessionNotFoundError("there is none"),
        SessionEndedError("it has ended: idle", "idle"),
    ],
)
def test_no_session_is_a_failure_that_says_what_to_do(error):
    """Without a session the helper fails with advice, because pnpm reports no answer as broken."""
    refused = pnpm.refuse(error, ASKED)

    assert (b"", 1, True) == (refused.reply, refused.exit_code, refused.always)
    assert refused.message.endswith("keylease login --tool pnpm https://registry.example/\n")


def test_what_is_no_miss_has_its_own_advice():
    """A locked keychain is reported as such, because a login would not help."""
    refused = pnpm.refuse(KeychainUnavailableError("locked"), ASKED)

    assert (1, True) == (refused.exit_code, refused.always)
    assert "keylease login" not in refused.message
