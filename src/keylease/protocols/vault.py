"""The token helper of HashiCorp Vault and OpenBao.

The rules are those of internal/command/token/helper_external.go in OpenBao (df6ce2c) and of
api/tokenhelper in HashiCorp Vault. Nothing is read or written but bytes.

The token is the whole answer, without a line end; nothing at all is the answer where there is none,
and the client then goes on without a token. Which server it is for stands in the environment alone.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from keylease.errors import RequestError, UsageError, VaultRevokedError
from keylease.model import Credential, Refusal, Reply, Request, Target
from keylease.protocols.base import ENDED, demand_bounded, explained, misused, operation
from keylease.protocols.http import split
from keylease.secrets.secret import Secret

if TYPE_CHECKING:
    from collections.abc import Mapping

    from keylease.errors import KeyleaseError
    from keylease.model import Answer
    from keylease.protocols.base import Call

NAMESPACE = "vault"
# A batch token is a few hundred bytes, a JWT some KiB.
MAX_REQUEST = 1 << 16
OPTIONS = False
GREETING = b""
USAGE = "usage: keylease-vault get|store|erase"

VARIABLES: Final = ("BAO_ADDR", "VAULT_ADDR")
"""What names the server. OpenBao sets both for its helper, `-address` included."""
DEFAULT: Final = "https://127.0.0.1:8200"
"""What the clients ask where neither names one."""

# The token is sent as a header. A line end after it is that of whoever typed it.
_TOKEN: Final = re.compile(rb"([\x21-\x7e]+)\r?\n?")


def complete(call: Call) -> bool:
    """Return whether nothing more has to be read: only `store` brings something, up to its end."""
    return call.arguments != ("store",)


def parse(call: Call) -> Request:
    """Return what the client asks.

    Raises:
        UsageError: there is not one operation that is known.
        RequestError: what was sent is no token, or the environment names no server.
    """
    action = operation(call.arguments)
    if action == "get":
        return Request("get", _asked(call.environment))
    if action == "erase":
        return Request("erase", _asked(call.environment))
    if action != "store":
        msg = f"unknown operation {action!a}"
        raise UsageError(msg)
    demand_bounded(call.message, MAX_REQUEST, "the token is")
    asked, found = _asked(call.environment), _TOKEN.fullmatch(call.message)
    if found is None:
        msg = "the token is empty, or has a blank or a character that no header can say"
        raise RequestError(msg)
    token = Secret(memoryview(call.message)[slice(*found.span(1))])
    return Request(
        "store", asked, credential=Credential(None, token), replace_other_users=True, is_login=True
    )


def target(name: str) -> Target:
    """Return the target of a server's address, as VAULT_ADDR has it; `https://` may be left out.

    Raises:
        UsageError: it is no address.
    """
    place = split(name if "://" in name else f"https://{name}")
    # No path is a path that no other equals.
    return Target(NAMESPACE, *place)


def render(
    request: Request,  # noqa: ARG001 - the answer says itself what it is to
    answer: Answer,
) -> list[memoryview]:
    """Return the token and nothing else: a line end would be taken for a part of it."""
    return [answer.credential.secret.reveal()] if isinstance(answer, Reply) else []


def refuse(error: KeyleaseError, request: Request | None = None) -> Refusal:
    """Return silence where there is no token, and otherwise the reason, which the client shows.

    It shows stderr only where the exit code is not 0.
    """
    if isinstance(error, UsageError):
        return misused(error, USAGE)
    why = explained(error, _login(error, request))
    if isinstance(error, ENDED) and request is not None and request.action != "store":
        return Refusal(b"", why if request.action == "get" else "", 0)
    return Refusal(b"", why, 1, always=True)


def _login(error: KeyleaseError, request: Request | None) -> str:
    """Return the command that starts a session again."""
    if isinstance(error, VaultRevokedError) and request is not None and request.target is not None:
        # A login by the client makes no new vault key; only a person can.
        return f"keylease login --tool vault {request.target.url}"
    return "vault login, or: bao login"


def _asked(environment: Mapping[str, str]) -> Target:
    """Return the server that the client talks to."""
    named = {environment[name] for name in VARIABLES if environment.get(name)}
    try:
        found = {target(each) for each in named or {DEFAULT}}
    except UsageError:
        msg = f"{' or '.join(VARIABLES)} is no address of a server"
        raise RequestError(msg, f"write it as {DEFAULT}") from None
    if len(found) > 1:
        # Which of the two programs asks cannot be told, and the token of one is not the other's.
        msg = f"{' and '.join(VARIABLES)} name two servers"
        raise RequestError(msg, "unset one of them")
    return found.pop()
