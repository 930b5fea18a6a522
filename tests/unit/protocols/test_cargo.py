"""Cargo's protocol, rule by rule. tests/transcripts has whole conversations."""

import json

import pytest

from keylease.errors import (
    AuditError,
    KeychainUnavailableError,
    PolicyError,
    RequestError,
    SessionEndedError,
    SessionNotFoundError,
    UsageError,
    VaultRevokedError,
)
from keylease.model import NANOSECONDS, Credential, Moment, Reply, Request, Session, Target
from keylease.protocols import cargo
from keylease.protocols.base import Call
from keylease.secrets.secret import Secret

INDEX = "sparse+https://registry.example/index/"
ASKED = Request("get", cargo.target(INDEX))
USED = 1_700_000_000


def call(**members):
    """Return the call with cargo's message for the registry."""
    line = {"v": 1, "registry": {"index-url": INDEX}, **members}
    return Call(("--cargo-plugin",), {}, bytearray(json.dumps(line).encode()))


def parse(**members):
    """Parse what cargo writes for the registry."""
    return cargo.parse(call(**members))


def answer(token, seconds=900):
    """Return cargo's answer for a session that was just used."""
    now = Moment(USED * NANOSECONDS, 1, "boot")
    held = Session("0" * 32, ASKED.target, None, None, None, 1, now, now, now, seconds, 28800)
    reply = Reply(held, Credential(None, Secret(token)), USED + seconds)
    return json.loads(b"".join(cargo.render(ASKED, reply)))


def refused(error, request=ASKED):
    """Return cargo's answer to a refusal, and the message for its user."""
    refusal = cargo.refuse(error, request)
    assert 0 == refusal.exit_code, "cargo takes no answer of a provider that fails"
    return json.loads(refusal.reply)["Err"], refusal.message


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (INDEX, ("https", "registry.example", "index")),
        ("https://registry.example/index", ("https", "registry.example", "index")),
        ("registry+https://registry.example/index", ("https", "registry.example", "index")),
        ("sparse+HTTPS://Registry.Example:443/a/B/", ("https", "registry.example", "a/B")),
        ("sparse+http://127.0.0.1:8080/", ("http", "127.0.0.1:8080", "")),
        ("https://registry.example:80", ("https", "registry.example:80", "")),
        ("https://\u212aube.example", ("https", "\u212aube.example", "")),
        ("https://registry.example//index", ("https", "registry.example", "/index")),
        ("ssh://git@Registry.example/index.git", ("ssh", "git@Registry.example", "index.git")),
        ("crates-io", ("https", "github.com", "rust-lang/crates.io-index")),
        ("crates.io", ("https", "github.com", "rust-lang/crates.io-index")),
    ],
)
def test_a_registry_is_its_index(name, expected):
    """The session belongs to the server and path of the index, as cargo writes them."""
    assert Target("cargo", *expected) == cargo.target(name)


@pytest.mark.parametrize(
    "name",
    [
        "",
        "registry.example",
        "mine",
        "https://",
        "https:///index",
        "file:///index",
        "https://u:p@registry.example/index",
        "ssh://u:p@registry.example/index",
        "https://registry.example?index",
        "https://registry.example\\@evil.example/",
        "https://registry example/",
        "https://registry.example/\n",
        "https://registry.example\x85/",
    ],
)
def test_what_is_no_index_is_refused(name):
    """A name that is not an index URL is refused with an example, and is not repeated."""
    with pytest.raises(UsageError) as caught:
        cargo.target(name)

    assert "sparse+https://" in caught.value.hint
    assert "u:p" not in str(caught.value)


def test_a_login_is_a_login_whatever_was_given_out():
    """Every login stores its token: cargo never sends back a token, and has one per registry."""
    request = parse(kind="login", token="abc")

    assert ("store", cargo.target(INDEX), None) == request[:3]
    assert (True, True) == (request.replace_other_users, request.is_login)
    assert request.credential.secret.matches(Secret(b"abc"))


def test_a_login_without_a_token_is_a_question():
    """On a terminal cargo lets the provider ask for the token, and null is not a token."""
    for members in ({}, {"token": None}):
        asked = call(kind="login", **members)

        assert "Token for https://registry.example/index: " == cargo.question(asked)
        assert cargo.parse(asked).credential is None

        typed = asked._replace(typed=Secret(b"typed"))
        assert "" == cargo.question(typed)
        assert cargo.parse(typed).credential.secret.matches(Secret(b"typed"))


def test_a_login_that_nobody_answered_is_no_login():
    """A login without a token is an error, so cargo does not report a login."""
    with pytest.raises(RequestError, match="no token"):
        cargo.render(parse(kind="login"), None)


@pytest.mark.parametrize("line", [b'{"v":1,"kind":"get"}', b"login", b'"login"', b"{"])
def test_what_is_no_login_asks_nobody(line):
    """Only a complete login message without a token leads to a question."""
    assert "" == cargo.question(Call(("--cargo-plugin",), {}, bytearray(line)))


def test_cargo_asks_again_before_the_session_ends():
    """cargo keeps the token for half of the time, so an active user's session is used again."""
    said = answer(b"abc")["Ok"]

    assert {
        "kind": "get",
        "token": "abc",
        "cache": "expires",
        "expiration": USED + 450,
        "operation_independent": True,
    } == said


def test_a_token_that_is_no_text_is_refused():
    """A token that is not UTF-8 is refused, because JSON cannot express it."""
    with pytest.raises(RequestError, match="the token is not UTF-8"):
        answer(b"\xff")


@pytest.mark.parametrize("version", [True, 1.0, "1", None, 2])
def test_another_version_is_refused(version):
    """Only the number 1 is accepted as version 1."""
    with pytest.raises(RequestError, match="version 1"):
        parse(v=version, kind="get")


@pytest.mark.parametrize(
    "members",
    [
        {"kind": "get", "registry": None},
        {"kind": "get", "registry": "https://registry.example/index"},
        {"kind": "get", "registry": {}},
        {"kind": "get", "registry": {"index-url": ["https://registry.example/index"]}},
        {"kind": "get", "registry": {"index-url": "https://registry.example/\n"}},
        {"kind": ["get"]},
        {"kind": "login", "token": ["abc"]},
        {"kind": "login", "token": ""},
    ],
)
def test_a_line_that_cargo_would_not_write_is_refused(members):
    """A line outside the protocol is refused, not guessed at."""
    with pytest.raises(RequestError):
        parse(**members)


def test_a_line_that_is_too_long_is_refused():
    """A line that is too long is refused, so memory is bounded."""
    with pytest.raises(RequestError, match="longer than"):
        cargo.parse(Call(("--cargo-plugin",), {}, bytearray(cargo.MAX_REQUEST + 1)))


def test_a_message_is_a_line():
    """cargo keeps its pipe open and waits for the answer to each line."""
    assert not cargo.complete(Call(("--cargo-plugin",), {}, bytearray(b'{"v":1')))
    assert cargo.complete(Call(("--cargo-plugin",), {}, bytearray(b'{"v":1}\n')))
    assert cargo.complete(Call((), {}, bytearray())), "nobody is waited for who is not cargo"


@pytest.mark.parametrize(
    "error",
    [
        SessionEndedError("the session for https://registry.example/index has ended: idle", "idle"),
        VaultRevokedError("the vault key is gone"),
        PolicyError("the policy has revoked every session"),
    ],
)
def test_an_end_is_a_miss_and_explains_itself(error):
    """cargo says that there is no token and how to log in; the line above gives the reason."""
    said, why = refused(error)

    assert {"kind": "not-found"} == said
    assert why.startswith(f"keylease: error: {error}\n")


def test_a_plain_miss_has_nothing_to_explain():
    """A registry without a login is left to the next provider without a message."""
    assert ({"kind": "not-found"}, "") == refused(SessionNotFoundError("none", "x"))


@pytest.mark.parametrize("error", [KeychainUnavailableError("locked"), AuditError("disk full")])
def test_what_is_no_miss_stops_cargo(error):
    """A locked keychain stops cargo; it must not fall back to a provider with a plaintext file."""
    said, _ = refused(error)

    assert {"kind": "other", "message": f"keylease: {error}", "caused-by": [error.hint]} == said


def test_a_login_that_cannot_be_kept_is_no_success():
    """A login that keylease cannot store stops cargo, so no other provider writes the token."""
    login = parse(kind="login", token="abc")

    for error in (VaultRevokedError("gone"), PolicyError("forbidden")):
        assert "other" == refused(error, login)[0]["kind"]


@pytest.mark.parametrize("kind", ["get", "login"])
def test_after_a_revocation_nobody_is_sent_to_a_login_that_cannot_help(kind):
    """A login by cargo makes no new vault key, so the hint names the command that does."""
    revoked = VaultRevokedError("the vault key was revoked")
    members = {"token": "abc"} if kind == "login" else {}

    said, why = refused(revoked, parse(kind=kind, **members))

    assert "run: keylease init; then log in again" in why + "".join(said.get("caused-by", ()))
    assert "cargo login" not in why


def test_a_login_without_a_terminal_is_told_the_other_way():
    """Without a terminal the hint says how to pass the token on stdin."""
    said, _ = refused(UsageError("there is no terminal to ask on", "x"), parse(kind="login"))

    assert ["give the token on stdin"] == said["caused-by"]


def test_a_wrong_command_line_is_told_how_it_should_be():
    """A user who starts the helper by hand reads that cargo runs it."""
    with pytest.raises(UsageError) as caught:
        cargo.parse(Call(("get",), {}, bytearray()))

    refusal = cargo.refuse(caught.value)
    assert (b"", 2, True) == (refusal.reply, refusal.exit_code, refusal.always)
    assert refusal.message.endswith(f"{cargo.USAGE}\n")
