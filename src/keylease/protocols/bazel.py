"""The credential helper of Bazel, and of whatever else speaks EngFlow's protocol.

The rules are those of github.com/EngFlow/credential-helper-spec (7df9bef), and of CredentialHelper
and GetCredentialsResponse in Bazel. Nothing is read or written but bytes.

No headers are the answer where nothing is known: the helper may be asked for servers that need no
credential, too. Bazel keeps each answer until it expires, so it is told to ask again in time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from keylease.errors import RequestError, UsageError
from keylease.model import NANOSECONDS, Refusal, Reply, Request, rfc3339
from keylease.protocols.base import ENDED, demand_bounded, explained, misused, operation
from keylease.protocols.http import WEB, authorization, https_target
from keylease.secrets import jsontext
from keylease.secrets.memory import secure_clear

if TYPE_CHECKING:
    from keylease.errors import KeyleaseError
    from keylease.model import Answer
    from keylease.protocols.base import Call

# The servers are those that git clones from, or others of the web.
NAMESPACE = WEB
target = https_target
MAX_REQUEST = 1 << 16
OPTIONS = False
GREETING = b""
USAGE = "usage: keylease-bazel get"

NOTHING: Final = b'{"headers":{}}\n'
"""The answer where nothing is known. It has no `expires`: some versions of Bazel take one that has
passed for one that is as far ahead."""


def complete(call: Call) -> bool:
    """Return whether nothing more has to be read: the question is read to its end."""
    return call.arguments != ("get",)


def parse(call: Call) -> Request:
    """Return what the client asks.

    Raises:
        UsageError: there is not the one operation.
        RequestError: the message names no server that may be sent a credential.
    """
    action = operation(call.arguments)
    if action != "get":
        msg = f"unknown operation {action!a}"
        raise UsageError(msg)
    demand_bounded(call.message, MAX_REQUEST)
    # Other members may come with later versions of the protocol, and mean nothing here.
    with jsontext.opened(call.message) as members:
        uri = jsontext.name(members, "uri")
    try:
        asked = target(uri or "")
    except UsageError as error:
        msg = f"the uri cannot be answered: {error}"
        raise RequestError(msg) from None
    return Request("get", asked, capabilities=frozenset({"authtype"}), closest=True)


def render(
    request: Request,  # noqa: ARG001 - there is one question, and one kind of answer
    answer: Answer,
) -> list[bytes | memoryview]:
    """Return the header, and when to ask again.

    Raises:
        RequestError: no header can say it.
    """
    if not isinstance(answer, Reply):
        return []
    header = authorization(answer.credential)
    try:
        value = jsontext.quoted(header, "the header")
    finally:
        secure_clear(header)
    end = b'"%b"' % rfc3339(answer.halfway * NANOSECONDS).encode("ascii")
    return [b'{"headers":{"Authorization":[', value, b']},"expires":', end, b"}\n"]


def refuse(error: KeyleaseError, request: Request | None = None) -> Refusal:
    """Return no headers where nothing is known, and otherwise the reason, which Bazel shows."""
    if isinstance(error, UsageError):
        return misused(error, USAGE)
    if isinstance(error, ENDED):
        asked = request.place if request else None
        login = f"keylease login {asked.url}" if asked else ""
        return Refusal(NOTHING, explained(error, login), 0)
    return Refusal(b"", explained(error), 1, always=True)
