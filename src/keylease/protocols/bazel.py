"""The credential helper of Bazel, and of other programs with EngFlow's protocol.

The rules are those of github.com/EngFlow/credential-helper-spec (7df9bef), and of CredentialHelper
and GetCredentialsResponse in Bazel.

A miss is an answer without headers, because Bazel also asks for servers that need no credential.
Bazel keeps each answer until it expires, so the answer expires well before the session.
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

# A session for git also answers Bazel.
NAMESPACE = WEB
target = https_target
MAX_REQUEST = 1 << 16
OPTIONS = False
GREETING = b""
USAGE = "usage: keylease-bazel get"

NOTHING: Final = b'{"headers":{}}\n'
"""A miss. It has no `expires`: some versions of Bazel read a time in the past as one equally far in
the future."""


def complete(call: Call) -> bool:
    """Return whether stdin needs no reading: a `get` is read to its end."""
    return call.arguments != ("get",)


def parse(call: Call) -> Request:
    """Return the client's request.

    Raises:
        UsageError: the operation is not `get`.
        RequestError: the message names no server that may receive a credential.
    """
    action = operation(call.arguments)
    if action != "get":
        msg = f"unknown operation {action!a}"
        raise UsageError(msg)
    demand_bounded(call.message, MAX_REQUEST)
    # Ignore other members, which later versions of the protocol may add.
    with jsontext.opened(call.message) as members:
        uri = jsontext.name(members, "uri")
    try:
        asked = target(uri or "")
    except UsageError as error:
        msg = f"the uri is not valid: {error}"
        raise RequestError(msg) from None
    return Request("get", asked, capabilities=frozenset({"authtype"}), closest=True)


def render(
    request: Request,  # noqa: ARG001 - every request is a `get`
    answer: Answer,
) -> list[bytes | memoryview]:
    """Return the header, and the time to ask again.

    Raises:
        RequestError: the credential does not fit into a header.
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
    """Return no headers for a miss; else the reason, which Bazel shows."""
    if isinstance(error, UsageError):
        return misused(error, USAGE)
    if isinstance(error, ENDED):
        asked = request.place if request else None
        login = f"keylease login {asked.url}" if asked else ""
        return Refusal(NOTHING, explained(error, login), 0)
    return Refusal(b"", explained(error), 1, always=True)
