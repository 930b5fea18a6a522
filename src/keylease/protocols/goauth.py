"""What the go command asks of a command in GOAUTH, since Go 1.24.

The rules are those of `go help goauth` and of cmd/go/internal/auth in Go 1.27. The command line is
all that is read; the response of the server on stdin is left there.

The go command first asks without a URL. An answer to that would have to be every session there is,
so it is asked nothing of; only the second call, for one URL that a server refused, has an answer.
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

# Modules come from the servers that git clones from: a login to one is a login to the other.
NAMESPACE = WEB
target = https_target
MAX_REQUEST = 0
OPTIONS = False
GREETING = b""
USAGE = "usage: keylease-goauth [URL]"

_SAYABLE: Final = re.compile(r"[!-~]+")


def complete(call: Call) -> bool:  # noqa: ARG001 - whatever the call is, stdin tells nothing
    """Return true: nothing is read."""
    return True


def parse(call: Call) -> Request:
    """Return the question for one URL, or one that is answered with nothing.

    Raises:
        UsageError: there is more than a URL, or it is none.
    """
    if len(call.arguments) > 1:
        msg = f"expected at most a URL, found {len(call.arguments)} arguments"
        raise UsageError(msg)
    if not call.arguments or call.arguments[0].startswith("http://"):
        # `go help goauth`: an answer is for URLs that start with https:// and for no others.
        return Request("ignore")
    asked = target(call.arguments[0])
    return Request("get", asked, capabilities=frozenset({"authtype"}), closest=True)


def render(
    request: Request,  # noqa: ARG001 - the answer says itself what it is to
    answer: Answer,
) -> list[bytes | memoryview]:
    """Return what the session is for, and the header: Go sends it to what begins so, only there.

    Raises:
        RequestError: the URL or the header cannot be said.
    """
    if not isinstance(answer, Reply):
        return []
    url = answer.session.target.url.rstrip("/")
    if _SAYABLE.fullmatch(url) is None:
        msg = "the session is for a URL that cannot be told in one line of ASCII"
        raise RequestError(msg)
    header = authorization(answer.credential)
    return [f"{url}\n\nAuthorization: ".encode("ascii"), header, b"\n\n"]


def refuse(error: KeyleaseError, request: Request | None = None) -> Refusal:
    """Return silence where there is nothing, and otherwise the reason, which `go -x` shows."""
    if isinstance(error, UsageError):
        return misused(error, USAGE)
    if isinstance(error, ENDED):
        asked = request.place if request else None
        return Refusal(b"", explained(error, f"keylease login {asked.url}" if asked else ""), 0)
    return Refusal(b"", explained(error), 1, always=True)
