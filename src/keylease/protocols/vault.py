"""The token helper of HashiCorp Vault and OpenBao.

The rules are those of internal/command/token/helper_external.go in OpenBao (df6ce2c) and of
api/tokenhelper in HashiCorp Vault.

The answer is the bare token, without a line end. A miss is an empty answer; the client then
continues without a token. Only the environment names the server.
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
"""The variables with the server. OpenBao sets both for its helper, also for `-address`."""
DEFAULT: Final = "https://127.0.0.1:8200"
"""The clients' default server."""

# The token is sent as a header. Ignore a line end that was typed after it.
_TOKEN: Final = re.compile(rb"([\x21-\x7e]+)\r?\n?")


def complete(call: Call) -> bool:
    """Return whether stdin needs no reading: only the message of a `store` is read, to its end."""
    return call.arguments != ("store",)


def parse(call: Call) -> Request:
    """Return the client's request.

    Raises:
        UsageError: there is not exactly one known operation.
        RequestError: the token is not valid, or the environment names no valid server.
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
        msg = "the token is empty, or has a character that is not allowed in a header"
        raise RequestError(msg)
    token = Secret(memoryview(call.message)[slice(*found.span(1))])
    return Request(
        "store", asked, credential=Credential(None, token), replace_other_users=True, is_login=True
    )


def target(name: str) -> Target:
    """Return the target of a server's address, as in VAULT_ADDR. The `https://` is optional.

    Raises:
        UsageError: the address is not valid.
    """
    place = split(name if "://" in name else f"https://{name}")
    # No path is an empty path.
    return Target(NAMESPACE, *place)


def render(
    request: Request,  # noqa: ARG001 - every request with an answer is a `get`
    answer: Answer,
) -> list[memoryview]:
    """Return the bare token: a line end would become a part of it."""
    return [answer.credential.secret.reveal()] if isinstance(answer, Reply) else []


def refuse(error: KeyleaseError, request: Request | None = None) -> Refusal:
    """Return an empty answer for a miss; else the reason for stderr.

    The client shows stderr only if the exit code is not 0.
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
    """Return the target of the client's server."""
    named = {environment[name] for name in VARIABLES if environment.get(name)}
    try:
        found = {target(each) for each in named or {DEFAULT}}
    except UsageError:
        msg = f"{' or '.join(VARIABLES)} is not a valid address of a server"
        raise RequestError(msg, f"write it as {DEFAULT}") from None
    if len(found) > 1:
        # The helper cannot tell which program asks, and must not mix up their tokens.
        msg = f"{' and '.join(VARIABLES)} name two servers"
        raise RequestError(msg, "unset one of them")
    return found.pop()
