"""The credentials helper of Terraform and OpenTofu.

The rules are those of docs/internals/credentials-helpers.mdx and of
svcauthconfig/helper_program.go in OpenTofu (f831fa1).

A miss is an empty JSON object; the client then continues without a token. A failure needs a text on
stderr, which the client puts into its own error.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from keylease.errors import RequestError, UsageError, VaultRevokedError
from keylease.model import Credential, Refusal, Reply, Request, Target
from keylease.protocols.base import ENDED, demand_bounded, explained, misused, one_spelling
from keylease.secrets import jsontext
from keylease.secrets.secret import Secret

if TYPE_CHECKING:
    from keylease.errors import KeyleaseError
    from keylease.model import Answer
    from keylease.protocols.base import Call

NAMESPACE = "terraform"
MAX_REQUEST = 1 << 16
OPTIONS = False
GREETING = b""
USAGE = "usage: terraform-credentials-keylease get|store|forget HOST"

_WORDS: Final = 2
_SILENT: Final = frozenset({"get", "forget"})
# A host in Terraform's normal form: ASCII, IDNA if needed, with its port unless that is 443.
_HOST: Final = re.compile(r"(?:[a-z0-9_.-]+|\[[0-9a-f:.]+\])(?::[0-9]{1,5})?")


def complete(call: Call) -> bool:
    """Return whether stdin needs no reading. The message of a `store` is read to its end.

    So is that of an unknown operation: otherwise the client could fail while it writes.
    """
    return len(call.arguments) != _WORDS or call.arguments[0] in _SILENT


def parse(call: Call) -> Request:
    """Return the client's request.

    Raises:
        UsageError: the arguments are not a known operation and a host.
        RequestError: the credentials are not valid, or cannot be stored completely.
    """
    if len(call.arguments) != _WORDS:
        msg = f"expected an operation and a host, found {len(call.arguments)} arguments"
        raise UsageError(msg)
    action, host = call.arguments
    if action == "get":
        return Request("get", target(host))
    if action == "forget":
        return Request("erase", target(host))
    if action == "store":
        return _store(target(host), call.message)
    msg = f"unknown operation {action!a}"
    raise UsageError(msg)


def target(name: str) -> Target:
    """Return the target of a host, as Terraform names it: `app.terraform.io`, `host.example:8443`.

    Raises:
        UsageError: the name is not valid.
    """
    host = one_spelling("https", name.removesuffix("/")).removeprefix("https://")
    if _HOST.fullmatch(host) is None:
        msg = "the host is not written as Terraform writes it"
        raise UsageError(msg, "write it in ASCII, as in: registry.example:8443")
    return Target(NAMESPACE, "https", host, "")


def render(request: Request, answer: Answer) -> list[bytes | memoryview]:
    """Return the token as JSON; empty for `store` and `forget`.

    Raises:
        RequestError: the token is not text.
    """
    if request.action != "get" or not isinstance(answer, Reply):
        return []
    token = jsontext.quoted(answer.credential.secret.reveal(), "the token")
    return [b'{"token":', token, b"}\n"]


def refuse(error: KeyleaseError, request: Request | None = None) -> Refusal:
    """Return an empty object for a miss; else the reason, which the client shows."""
    if isinstance(error, UsageError):
        return misused(error, USAGE)
    why = explained(error, _login(error, request))
    if isinstance(error, ENDED) and request is not None and request.action == "get":
        return Refusal(b"{}\n", why, 0)
    if isinstance(error, ENDED) and request is not None and request.action == "erase":
        return Refusal(b"", "", 0)
    return Refusal(b"", why, 1, always=True)


def _login(error: KeyleaseError, request: Request | None) -> str:
    """Return the command that starts a session again."""
    host = request.target.host if request is not None and request.target is not None else "HOST"
    # A login by the client makes no new vault key; only a person can.
    words = "keylease login --tool terraform" if isinstance(error, VaultRevokedError) else ""
    return f"{words or 'terraform login'} {host}"


def _store(named: Target, message: bytearray | memoryview) -> Request:
    demand_bounded(message, MAX_REQUEST, "the credentials are")
    with jsontext.opened(message) as members:
        token = jsontext.string(members, "token")
        if not token:
            msg = "the credentials have no token"
            raise RequestError(msg)
        # The protocol forbids dropping unknown members, and a session cannot store them.
        if len(members) > 1:
            msg = "the credentials have more than a token, and a session cannot store that"
            raise RequestError(msg)
        brought = Credential(None, Secret(token))
    return Request("store", named, credential=brought, replace_other_users=True, is_login=True)
