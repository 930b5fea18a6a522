"""The `tokenHelper` of pnpm: the Authorization header for one registry.

The rules are those of config/npmrc_auth.rs and network/token_helper.rs in pnpm 12. The only input
is the argument in ~/.npmrc, because pnpm does not say which registry it asks for.

This protocol has no miss: an answer without a token is a failure. pnpm 12 then asks the registry
without a token. It does not show the reason; run the line of ~/.npmrc by hand to see it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from keylease.errors import UsageError
from keylease.model import Refusal, Reply, Request, Target
from keylease.protocols.base import explained, misused
from keylease.protocols.http import authorization, split

if TYPE_CHECKING:
    from keylease.errors import KeyleaseError
    from keylease.model import Answer
    from keylease.protocols.base import Call

NAMESPACE = "npm"
MAX_REQUEST = 0
OPTIONS = False
GREETING = b""
USAGE = "usage: keylease-pnpm URL"


def complete(call: Call) -> bool:  # noqa: ARG001 - no call has input on stdin
    """Return true: stdin is not read."""
    return True


def parse(call: Call) -> Request:
    """Return the request for the registry that the configuration names.

    Raises:
        UsageError: it names none.
    """
    if len(call.arguments) != 1:
        msg = f"expected the URL of a registry, found {len(call.arguments)} arguments"
        raise UsageError(msg)
    if call.arguments[0].startswith("-"):
        msg = "expected the URL of a registry, found an option"
        raise UsageError(msg)
    return Request("get", target(call.arguments[0]))


def target(name: str) -> Target:
    """Return the target of a registry: a URL, or its form in ~/.npmrc, `//registry.example/`.

    Raises:
        UsageError: the URL is not valid.
    """
    if name.startswith("//"):
        name = f"https:{name}"
    # No path is an empty path, because one host can have many registries.
    return Target(NAMESPACE, *split(name if "://" in name else f"https://{name}"))


def render(
    request: Request,  # noqa: ARG001 - every request is a `get`
    answer: Answer,
) -> list[bytes | memoryview]:
    """Return the header's value, with its scheme: pnpm reads the first word as the scheme.

    Raises:
        RequestError: the credential does not fit into a header.
    """
    return [authorization(answer.credential), b"\n"] if isinstance(answer, Reply) else []


def refuse(error: KeyleaseError, request: Request | None = None) -> Refusal:
    """Return the reason for stderr."""
    if isinstance(error, UsageError):
        return misused(error, USAGE)
    asked = request.target if request else None
    login = f"keylease login --tool pnpm {asked.url}" if asked else ""
    return Refusal(b"", explained(error, login), 1, always=True)
