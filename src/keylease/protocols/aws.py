"""What AWS programs ask of their `credential_process`: botocore, the AWS CLI and the SDKs.

The rules are those of "Sourcing credentials with an external process" in the AWS SDKs and Tools
Reference Guide, and of `ProcessProvider` in botocore 1.44.5. Nothing is read but one argument.

A session's user name is the access key id, its secret the secret access key, and a session token
that belongs to them is a field. There is no miss in this protocol: whatever is no credential is a
failure, and its reason on stderr becomes part of the program's own error.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from keylease.errors import RequestError, UsageError
from keylease.model import NANOSECONDS, Refusal, Reply, Request, Target, rfc3339
from keylease.protocols.base import explained, misused
from keylease.secrets import jsontext

if TYPE_CHECKING:
    from keylease.errors import KeyleaseError
    from keylease.model import Answer
    from keylease.protocols.base import Call

NAMESPACE = "aws"
MAX_REQUEST = 0
OPTIONS = False
GREETING = b""
USAGE = "usage: keylease-aws NAME"

SESSION_TOKEN: Final = "session_token"  # noqa: S105 - the name of the field, not a token
"""The one field that a session may have beside the two halves of its key."""

# The line in ~/.aws/config is split as a shell would, and then run by none: no name needs more.
_NAME: Final = re.compile(r"[A-Za-z0-9_.@:+=,/-]{1,256}")


def complete(call: Call) -> bool:  # noqa: ARG001 - whatever the call is, stdin is not ours
    """Return true: nothing is read."""
    return True


def parse(call: Call) -> Request:
    """Return the question for the session of the name that the configuration gives.

    Raises:
        UsageError: it gives no name, or none that a session has.
    """
    if len(call.arguments) != 1:
        msg = f"expected one name, found {len(call.arguments)}"
        raise UsageError(msg)
    return Request("get", target(call.arguments[0]))


def render(
    request: Request,  # noqa: ARG001 - there is one question, and one kind of answer
    answer: Answer,
) -> list[bytes | memoryview]:
    """Return the credential as JSON.

    The expiry is the last moment of the session, not its idle end: botocore asks again as soon as
    less than 15 minutes are left, and would do so for each request that it signs. Without any
    expiry it would keep the answer for as long as its process lives.

    Raises:
        RequestError: the session has no access key id, or a value that is no text.
    """
    if not isinstance(answer, Reply):
        return []
    credential = answer.credential
    if not credential.username:
        msg = f"the session for {answer.session.target.url} has no access key id"
        raise RequestError(msg)
    token = credential.field(SESSION_TOKEN)
    key_id, key, *tokens = jsontext.all_quoted(
        (credential.username, "the access key id"),
        (credential.secret.reveal(), "the secret access key"),
        *(() if token is None else ((token.reveal(), "the session token"),)),
    )
    parts: list[bytes | memoryview] = [b'{"Version":1,"AccessKeyId":', key_id]
    parts += (b',"SecretAccessKey":', key)
    for said in tokens:
        parts += (b',"SessionToken":', said)
    return [*parts, b',"Expiration":"%b"}\n' % rfc3339(answer.last * NANOSECONDS).encode()]


def refuse(error: KeyleaseError, request: Request | None = None) -> Refusal:
    """Return the reason on stderr, which these programs put into their own error."""
    if isinstance(error, UsageError):
        return misused(error, USAGE)
    asked = request.target if request else None
    login = f"keylease login --tool aws {asked.host}" if asked else ""
    return Refusal(b"", explained(error, login), 1, always=True)


def target(name: str) -> Target:
    """Return the target of a name, which is the profile's if nothing speaks against it.

    Raises:
        UsageError: no session can be called so.
    """
    name = name.removeprefix(f"{NAMESPACE}://")
    if _NAME.fullmatch(name) is None or name.startswith("-"):
        msg = f"no session for AWS is called {name[:64]!a}"
        raise UsageError(msg, "expected letters, digits and _ . @ : + = , / -, without blanks")
    return Target(NAMESPACE, NAMESPACE, name)
