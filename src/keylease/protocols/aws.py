"""The `credential_process` of AWS programs: botocore, the AWS CLI and the SDKs.

The rules are those of "Sourcing credentials with an external process" in the AWS SDKs and Tools
Reference Guide, and of `ProcessProvider` in botocore 1.44.5. The only input is one argument.

A session's user name is the access key id, its secret is the secret access key, and the session
token is an extra field. This protocol has no miss: an answer without a credential is a failure, and
the program puts our stderr into its own error.
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
"""The field of a session with temporary credentials."""

# These characters need no quoting in ~/.aws/config, whose line is split like a shell's.
_NAME: Final = re.compile(r"[A-Za-z0-9_.@:+=,/-]{1,256}")


def complete(call: Call) -> bool:  # noqa: ARG001 - no call has input on stdin
    """Return true: stdin is not read."""
    return True


def parse(call: Call) -> Request:
    """Return the request for the session with the configured name.

    Raises:
        UsageError: there is no valid name.
    """
    if len(call.arguments) != 1:
        msg = f"expected one name, found {len(call.arguments)}"
        raise UsageError(msg)
    return Request("get", target(call.arguments[0]))


def render(
    request: Request,  # noqa: ARG001 - every request is a `get`
    answer: Answer,
) -> list[bytes | memoryview]:
    """Return the credential as JSON.

    The expiry is the latest possible end of the session, not its idle end. With less than 15
    minutes left, botocore asks again for each request that it signs. Without an expiry, it keeps
    the answer until its process ends.

    Raises:
        RequestError: the session has no access key id, or a value that is not text.
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
    """Return the reason for stderr, which these programs put into their own error."""
    if isinstance(error, UsageError):
        return misused(error, USAGE)
    asked = request.target if request else None
    login = f"keylease login --tool aws {asked.host}" if asked else ""
    return Refusal(b"", explained(error, login), 1, always=True)


def target(name: str) -> Target:
    """Return the target of a name, usually the profile's.

    Raises:
        UsageError: the name has characters that are not allowed.
    """
    name = name.removeprefix(f"{NAMESPACE}://")
    if _NAME.fullmatch(name) is None or name.startswith("-"):
        msg = f"{name[:64]!a} is not a valid name of an AWS session"
        raise UsageError(msg, "expected letters, digits and _ . @ : + = , / -, without blanks")
    return Target(NAMESPACE, NAMESPACE, name)
