"""The GOAUTH command of the go command, since Go 1.24.

The rules are those of `go help goauth` and of cmd/go/internal/auth in Go 1.27. Only the command
line is read; the server's response on stdin is not.

The go command first asks without a URL. An answer would have to contain every session, so it is
empty. The second call asks for one URL that a server refused, and gets that session.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from keylease.errors import RequestError, UsageError
from keylease.model import Refusal, Reply, Request
from keylease.protocols.base import ENDED, explained, misused
from keylease.protocols.http import WEB, authorization, https_target

if TYPE_CHECKING:
    from keylease.errors import KeyleaseError
    from keylease.model import Answer
    from keylease.protocols.base import Call

# Modules come from the servers that git clones from, so a session for git also answers go.
NAMESPACE = WEB
target = https_target
MAX_REQUEST = 0
OPTIONS = False
GREETING = b""
USAGE = "usage: keylease-goauth [URL]"

_SAYABLE: Final = re.compile(r"[!-~]+")


def complete(call: Call) -> bool:  # noqa: ARG001 - no call has input on stdin
    """Return true: stdin is not read."""
    return True


def parse(call: Call) -> Request:
    """Return the request for one URL, or one with an empty answer.

    Raises:
        UsageError: the arguments are not at most one valid URL.
    """
    if len(call.arguments) > 1:
        msg = f"expected at most one URL, found {len(call.arguments)} arguments"
        raise UsageError(msg)
    if not call.arguments or call.arguments[0].startswith("http://"):
        # `go help goauth`: an answer applies only to URLs that start with https://.
        return Request("ignore")
    asked = target(call.arguments[0])
    return Request("get", asked, capabilities=frozenset({"authtype"}), closest=True)


def render(
    request: Request,  # noqa: ARG001 - every request with an answer is a `get`
    answer: Answer,
) -> list[bytes | memoryview]:
    """Return the session's URL and the header. Go sends the header only to URLs below it.

    Raises:
        RequestError: the URL or the header cannot be written in this format.
    """
    if not isinstance(answer, Reply):
        return []
    url = answer.session.target.url.rstrip("/")
    if _SAYABLE.fullmatch(url) is None:
        msg = "the URL of the session is not visible ASCII, which GOAUTH requires"
        raise RequestError(msg)
    header = authorization(answer.credential)
    return [f"{url}\n\nAuthorization: ".encode("ascii"), header, b"\n\n"]


def refuse(error: KeyleaseError, request: Request | None = None) -> Refusal:
    """Return an empty answer for a miss; else the reason, which `go -x` shows."""
    if isinstance(error, UsageError):
        return misused(error, USAGE)
    if isinstance(error, ENDED):
        asked = request.place if request else None
        return Refusal(b"", explained(error, f"keylease login {asked.url}" if asked else ""), 0)
    return Refusal(b"", explained(error), 1, always=True)
