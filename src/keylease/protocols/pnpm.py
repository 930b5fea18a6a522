"""What pnpm asks of a `tokenHelper`: the Authorization header for one registry.

The rules are those of config/npmrc_auth.rs and network/token_helper.rs in pnpm 12. Nothing is read
but the arguments, which are the user's own, from ~/.npmrc: pnpm says not which registry it asks.

There is no miss in this protocol, so whatever is no token is a failure. pnpm 12 then asks the
registry without one; its reason is told to whoever runs the line of ~/.npmrc by hand.
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


def complete(call: Call) -> bool:  # noqa: ARG001 - whatever the call is, stdin tells nothing
    """Return true: nothing is read."""
    return True


def parse(call: Call) -> Request:
    """Return the question for the registry that the configuration names.

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
    """Return the target of a registry: a URL, or what ~/.npmrc has of it, `//registry.example/`.

    Raises:
        UsageError: it is no registry.
    """
    if name.startswith("//"):
        name = f"https:{name}"
    # No path is a path that no other equals: one host can have many registries.
    return Target(NAMESPACE, *split(name if "://" in name else f"https://{name}"))


def render(
    request: Request,  # noqa: ARG001 - there is one question, and one kind of answer
    answer: Answer,
) -> list[bytes | memoryview]:
    """Return the header's value. With its scheme: pnpm takes a first word for one.

    Raises:
        RequestError: no header can say it.
    """
    return [authorization(answer.credential), b"\n"] if isinstance(answer, Reply) else []


def refuse(error: KeyleaseError, request: Request | None = None) -> Refusal:
    """Return the reason, on stderr."""
    if isinstance(error, UsageError):
        return misused(error, USAGE)
    asked = request.target if request else None
    login = f"keylease login --tool pnpm {asked.url}" if asked else ""
    return Refusal(b"", explained(error, login), 1, always=True)
