"""The token helper of Vault and OpenBao, rule by rule."""

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
from keylease.model import Credential, Moment, Refusal, Reply, Request, Session, Target
from keylease.protocols import vault
from keylease.protocols.base import Call
from keylease.secrets.secret import Secret

ADDRESS = {"VAULT_ADDR": "https://vault.example:8200"}
ASKED = Request("get", Target("vault", "https", "vault.example:8200", ""))


def parse(action, message=b"", environment=ADDRESS):
    """Parse a client's message."""
    return vault.parse(Call((action,), environment, bytearray(message)))


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, ("https", "127.0.0.1:8200", "")),
        ({"VAULT_ADDR": ""}, ("https", "127.0.0.1:8200", "")),
        ({"VAULT_ADDR": "http://127.0.0.1:8200/"}, ("http", "127.0.0.1:8200", "")),
        ({"BAO_ADDR": "https://b.example/x/"}, ("https", "b.example", "x")),
        (
            {"BAO_ADDR": "https://b.example", "VAULT_ADDR": "https://b.example/"},
            ("https", "b.example", ""),
        ),
    ],
)
def test_the_environment_names_the_server(environment, expected):
    """The variables of both programs count; without them the client's default address does."""
    assert Target("vault", *expected) == parse("get", environment=environment).target


@pytest.mark.parametrize(
    "environment",
    [
        {"BAO_ADDR": "https://a.example", "VAULT_ADDR": "https://b.example"},
        {"VAULT_ADDR": "https://bob:hunter2@vault.example"},
        {"VAULT_ADDR": "unix:///run/vault.sock"},
        {"VAULT_ADDR": "https://a.example\nhttps://b.example"},
    ],
)
@pytest.mark.parametrize("action", ["get", "store", "erase"])
def test_a_server_in_doubt_gets_no_token(environment, action):
    """Two servers, or an invalid one, are refused in a message that repeats nothing."""
    with pytest.raises(RequestError) as caught:
        parse(action, b"token", environment)

    assert "hunter2" not in str(caught.value)
    assert "unset" in caught.value.hint or "write it as" in caught.value.hint


@pytest.mark.parametrize("message", [b"hvs.token", b"hvs.token\n", b"hvs.token\r\n"])
def test_a_login_is_kept_as_the_only_one(message):
    """A server has one token, and the line end that a user typed is not part of it."""
    request = parse("store", message)

    assert ("store", ASKED.target, None) == request[:3]
    assert request.credential.secret.matches(Secret(b"hvs.token"))
    assert request.replace_other_users
    assert request.is_login


@pytest.mark.parametrize(
    "message", [b"", b"\n", b"two words", b"a\nb", b"a\n\n", b"\xff", b"a\0", b"x" * 65537]
)
def test_what_is_no_token_is_refused(message):
    """A token that no header can carry is refused."""
    with pytest.raises(RequestError):
        parse("store", message)


@pytest.mark.parametrize("arguments", [(), ("fetch",), ("get", "get"), ("--help",)])
def test_a_wrong_command_line_is_told_how_it_should_be(arguments):
    """A wrong command line gets the usage on stderr, and the helper does not wait for input."""
    call = Call(arguments, ADDRESS, bytearray())
    assert vault.complete(call)

    with pytest.raises(UsageError) as caught:
        vault.parse(call)
    refused = vault.refuse(caught.value)

    assert (b"", 2, True) == (refused.reply, refused.exit_code, refused.always)
    assert refused.message.endswith(f"{vault.USAGE}\n")


def test_only_a_store_is_read():
    """`get` answers without reading stdin, which may stay open."""
    assert vault.complete(Call(("get",), ADDRESS, bytearray()))
    assert not vault.complete(Call(("store",), ADDRESS, bytearray(b"hvs.token\n")))


def test_the_token_is_the_whole_answer():
    """The answer is the token alone: the client takes every byte as part of it, even a line end."""
    now = Moment(1, 1, "boot")
    held = Session("0" * 32, ASKED.target, None, None, None, 1, now, now, None, 900, 28800)
    reply = Reply(held, Credential(None, Secret(b"hvs.token")), 2_000_000_000)

    assert b"hvs.token" == b"".join(vault.render(ASKED, reply))
    assert [] == vault.render(ASKED, None)


@pytest.mark.parametrize(
    "error",
    [
        SessionNotFoundError("there is none"),
        SessionEndedError("it has ended: idle", "idle"),
        VaultRevokedError("the vault key is gone"),
        PolicyError("the policy forbids it"),
    ],
)
def test_no_session_is_no_token(error):
    """Without a session the client gets no token, and stderr says how to log in."""
    refused = vault.refuse(error, ASKED)

    assert (b"", 0, False) == (refused.reply, refused.exit_code, refused.always)
    assert Refusal(b"", "", 0) == vault.refuse(error, ASKED._replace(action="erase"))


@pytest.mark.parametrize("action", ["get", "store"])
def test_the_advice_fits_the_end(action):
    """A login by the client cannot make a new vault, so after a revocation the advice differs."""
    asked = ASKED._replace(action=action)
    ended = vault.refuse(SessionEndedError("it has ended: idle", "idle"), asked).message
    revoked = vault.refuse(VaultRevokedError("the vault key is gone"), asked).message

    assert ended.endswith("keylease: hint: start one with: vault login, or: bao login\n")
    assert revoked.endswith("keylease login --tool vault https://vault.example:8200/\n")


def test_a_login_that_was_not_kept_is_no_success():
    """A login that is not stored fails, and the client shows the reason."""
    refused = vault.refuse(PolicyError("the policy forbids it"), ASKED._replace(action="store"))

    assert (1, True) == (refused.exit_code, refused.always)


@pytest.mark.parametrize("error", [KeychainUnavailableError("locked"), AuditError("disk full")])
def test_what_is_no_miss_is_told(error):
    """A locked keychain is an error with its reason, which the client shows."""
    refused = vault.refuse(error, ASKED)

    assert (b"", 1, True) == (refused.reply, refused.exit_code, refused.always)
    assert f"keylease: error: {error}\n" in refused.message


def test_a_person_may_leave_the_scheme_out():
    """`keylease login --tool vault vault.example:8200` names the same target as VAULT_ADDR."""
    assert ASKED.target == vault.target("vault.example:8200")
