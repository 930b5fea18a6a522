"""The `exec` plugin of kubectl and the client libraries: ExecCredential, v1 and v1beta1.

The rules are those of the Kubernetes documentation ("Authenticating", "client-go credential
plugins") and of github.com/kubernetes/client-go at 32ce75a (plugin/pkg/client/auth/exec/exec.go).
The input is `KUBERNETES_EXEC_INFO` and one argument; stdin is not read.

A session is for the URL of a server. Its secret is a bearer token; or the key of a client
certificate, with the certificate as an extra field.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from keylease.errors import RequestError, UsageError
from keylease.model import NANOSECONDS, Refusal, Reply, Request, Target, name_bytes, rfc3339
from keylease.protocols.base import (
    UNFIT,
    demand_bounded,
    explained,
    misused,
    one_spelling,
)
from keylease.secrets import jsontext
from keylease.secrets.memory import secure_clear

if TYPE_CHECKING:
    from collections.abc import Mapping

    from keylease.errors import KeyleaseError
    from keylease.model import Answer
    from keylease.protocols.base import Call

NAMESPACE = "kubernetes"
# It contains the cluster's CA bundle. Linux limits a variable to 128 KiB.
MAX_REQUEST = 1 << 18
OPTIONS = False
GREETING = b""
USAGE = "usage: keylease-kubernetes [SERVER]"

EXEC_INFO: Final = "KUBERNETES_EXEC_INFO"
CERTIFICATE: Final = "certificate"
"""The field with the client certificate. The secret is then its key."""

_GROUP: Final = "client.authentication.k8s.io/"
_VERSIONS: Final = frozenset({"v1", "v1beta1"})
_NEWEST: Final = "v1"

_SERVER: Final = re.compile(r"(https?)://([^/?#\\@]+)((?:/[^?#]*)?)", re.IGNORECASE)
_EXAMPLE: Final = "write it as the kubeconfig has it: https://cluster.example:6443"


def complete(call: Call) -> bool:  # noqa: ARG001 - no call has input on stdin
    """Return true: stdin is not read."""
    return True


def parse(call: Call) -> Request:
    """Return the request for the client's server.

    Raises:
        UsageError: no server is named.
        RequestError: the variable is not valid, or it and the argument name different servers.
    """
    if len(call.arguments) > 1:
        msg = f"expected at most one server, found {len(call.arguments)}"
        raise UsageError(msg)
    version, server = _asked(call.environment)
    named = target(call.arguments[0]) if call.arguments else None
    if named is None and server is None:
        msg = "the client names no cluster"
        raise UsageError(msg, "set provideClusterInfo: true, or put the server under args")
    if None not in {named, server} and named != server:
        msg = "the client talks to another server than the one in its arguments"
        raise RequestError(msg, "put the cluster's server under args, or no server")
    return Request("get", named or server, capabilities=frozenset({version}))


def render(request: Request, answer: Answer) -> list[bytes | memoryview]:
    """Return an ExecCredential of the requested version.

    It expires halfway to the end of its session. A client keeps it until then; at the very end, it
    would find no session.

    Raises:
        RequestError: the credential is not text.
    """
    if not isinstance(answer, Reply):
        return []
    credential = answer.credential
    version = next(iter(request.capabilities & _VERSIONS), _NEWEST)
    certificate = credential.field(CERTIFICATE)
    secret, *certificates = jsontext.all_quoted(
        (credential.secret.reveal(), "the secret"),
        *(() if certificate is None else ((certificate.reveal(), "the certificate"),)),
    )
    held: list[bytes | memoryview] = [b'"token":', secret]
    for said in certificates:
        held = [b'"clientCertificateData":', said, b',"clientKeyData":', secret]
    return [
        b'{"apiVersion":"%b","kind":"ExecCredential","status":{' % f"{_GROUP}{version}".encode(),
        *held,
        b',"expirationTimestamp":"%b"}}\n' % rfc3339(answer.halfway * NANOSECONDS).encode(),
    ]


def refuse(error: KeyleaseError, request: Request | None = None) -> Refusal:
    """Return the reason for stderr, which the client passes on to its own."""
    if isinstance(error, UsageError):
        return misused(error, USAGE)
    asked = request.target if request else None
    login = f"keylease login --tool kubernetes {asked.url.rstrip('/')}" if asked else ""
    return Refusal(b"", explained(error, login), 1, always=True)


def target(name: str) -> Target:
    """Return the target of a server's URL.

    Raises:
        UsageError: the URL is not valid.
    """
    found = _SERVER.fullmatch(name)
    if found is None or UNFIT.search(name):
        msg = "the server is not a valid URL: expected http or https, no user, query or blank"
        raise UsageError(msg, _EXAMPLE)
    protocol = found[1].lower()
    host = one_spelling(protocol, found[2])
    # No path is an empty path, because a cluster manager has one cluster behind each path.
    return Target(NAMESPACE, protocol, host, found[3][1:].rstrip("/"))


def _asked(environment: Mapping[str, str]) -> tuple[str, Target | None]:
    """Return the client's version, and its server if it names one."""
    info = environment.get(EXEC_INFO)
    if not info:
        return _NEWEST, None
    message = bytearray(name_bytes(info))
    try:
        demand_bounded(message, MAX_REQUEST, f"{EXEC_INFO} is")
        with jsontext.opened(message) as members:
            return _version(jsontext.name(members, "apiVersion")), _server(members.get("spec"))
    finally:
        secure_clear(message)


def _version(api: str | None) -> str:
    if api is None:
        return _NEWEST
    group, version = api[: len(_GROUP)], api[len(_GROUP) :]
    if group != _GROUP or version not in _VERSIONS:
        expected = " or ".join(f"{_GROUP}{each}" for each in sorted(_VERSIONS))
        msg = f"the client asks for an unsupported version: expected {expected}"
        raise RequestError(msg, "put that into apiVersion of the kubeconfig")
    return version


def _server(spec: jsontext.Value) -> Target | None:
    cluster = spec.get("cluster") if isinstance(spec, dict) else None
    server = jsontext.name(cluster, "server") if isinstance(cluster, dict) else None
    if server is None:
        return None
    try:
        return target(server)
    except UsageError as error:
        raise RequestError(str(error)) from None
