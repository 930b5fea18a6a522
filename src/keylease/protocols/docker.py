"""Docker's credential-helper protocol, which podman, skopeo, buildah and docker-py speak as well.

The rules are those of github.com/docker/docker-credential-helpers (credentials/credentials.go,
credentials/error.go and client/command.go at 594c023).

Two answers must be exact. A miss is one sentence that clients compare with; any other error stops
them, even if they need no credential. An `erase` of an absent credential succeeds.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from keylease.errors import (
    KeyleaseError,
    RequestError,
    SessionEndedError,
    SessionNotFoundError,
    UsageError,
    VaultRevokedError,
    printable,
)
from keylease.model import Credential, Listing, Refusal, Reply, Request, Target
from keylease.protocols.base import AFRESH, ENDED, UNFIT, demand_bounded, explained, operation
from keylease.secrets import jsontext
from keylease.secrets.secret import Secret

if TYPE_CHECKING:
    from keylease.model import Answer, Session
    from keylease.protocols.base import Call

NAMESPACE = "docker"
# An identity token is a few KiB at most.
MAX_REQUEST = 1 << 18
OPTIONS = False
GREETING = b""
READS_LISTS = True
USAGE = "usage: docker-credential-keylease get|store|erase|list|version"

NOT_FOUND: Final = "credentials not found in native keychain"
NO_URL: Final = "no credentials server URL"
NO_USERNAME: Final = "no credentials username"
"""Clients compare with these three texts, and show any other as a failure of the helper."""

HUB: Final = Target(NAMESPACE, "https", "index.docker.io", "v1/")
"""Docker's own name for Docker Hub. A list must contain it under exactly this URL."""
HUB_ALIASES: Final = frozenset({"docker.io", "index.docker.io", "registry-1.docker.io"})
"""Other names of Docker Hub; podman uses the first."""
_HUB_PATHS: Final = frozenset({"", "v1", "v2"})

_DESCRIBING: Final = frozenset({"version", "--version", "-v"})
_HELPING: Final = frozenset({"--help", "-h"})
_MEMBERS: Final = ("ServerURL", "Username", "Secret")
_SCHEME: Final = re.compile(r"(?:(https?)://)?([^/]*)/*(.*)", re.DOTALL)
# Clients may put these around a name. Python strips more characters, which belong to the name.
_BLANKS: Final = " \t\r\n"


def complete(call: Call) -> bool:
    """Return whether stdin needs no reading. Otherwise read until the client closes its end.

    Clients send a message even for operations that need none, and may fail if it is not read.
    """
    return len(call.arguments) != 1 or call.arguments[0] in _DESCRIBING | _HELPING


def parse(call: Call) -> Request:
    """Return the client's request.

    Raises:
        UsageError: there is not exactly one known operation.
        RequestError: the message is not valid.
    """
    action = operation(call.arguments)
    if action in _DESCRIBING:
        return Request("describe")
    if action in _HELPING:
        return Request("ignore")
    demand_bounded(call.message, MAX_REQUEST)
    if action == "list":
        # NOTE: the message is ignored; clients send the word "unused".
        return Request("list", namespace=NAMESPACE)
    if action == "store":
        return _store(call.message)
    if action == "get":
        return Request("get", _asked(call.message))
    if action == "erase":
        return Request("erase", _asked(call.message))
    msg = f"unknown operation {action!a}"
    raise UsageError(msg)


def target(name: str) -> Target:
    """Return the target of a registry: `registry.example:5000`, a URL, or a name of Docker Hub.

    The path is part of the target, because docker keeps Docker Hub's own tokens beside the login,
    under longer paths.

    Raises:
        UsageError: it names no registry.
    """
    try:
        return _named(name)
    except RequestError as error:
        raise UsageError(str(error), "name it as docker does: registry.example:5000") from None


def render(request: Request, answer: Answer) -> list[bytes | memoryview]:
    """Return the credential, the list, the version, or nothing.

    Raises:
        RequestError: the credential does not fit into JSON, or has no user.
    """
    if isinstance(answer, Listing):
        return [_list(answer.sessions)]
    if isinstance(answer, Reply):
        return _credential(answer)
    if request.action == "describe":
        from keylease import __version__

        return [f"docker-credential-keylease (keylease) {__version__}\n".encode()]
    return [f"{USAGE}\n".encode()] if request.action == "ignore" else []


def refuse(error: KeyleaseError, request: Request | None = None) -> Refusal:
    """Return a miss in the form that clients know; else the reason, which they show.

    Clients pass stderr to their user's terminal, so the end of a session is explained there. A
    plain miss needs no explanation.
    """
    if isinstance(error, UsageError):
        return Refusal(f"{USAGE}\n".encode(), explained(error), 1, always=True)
    action = request.action if request else None
    if isinstance(error, ENDED) and action in {"get", "list", "erase"}:
        why = "" if type(error) is SessionNotFoundError else _why(error, request)
        if action == "list":
            return Refusal(b"{}\n", why, 0, always=True)
        if action == "erase":
            return Refusal(b"", "", 0)
        return Refusal(f"{NOT_FOUND}\n".encode(), why, 1, always=True)
    if str(error) in {NO_URL, NO_USERNAME}:
        return Refusal(f"{error}\n".encode(), "", 1)
    # The client puts stdout into its own error, so stderr would repeat it.
    hint = AFRESH if isinstance(error, VaultRevokedError) else error.hint
    told = f"keylease: {error} ({hint})" if hint else f"keylease: {error}"
    return Refusal(printable(told).encode() + b"\n", "", 1)


def _why(error: KeyleaseError, request: Request | None) -> str:
    """Return the explanation of a session's end for the client's user."""
    if isinstance(error, VaultRevokedError):
        return explained(VaultRevokedError(str(error), AFRESH))
    if not isinstance(error, SessionEndedError) or request is None or request.target is None:
        return explained(error)
    registry = "" if request.target == HUB else f" {_url(request.target)}"
    message = f"the session for{registry or ' Docker Hub'} has ended: {error.reason}"
    return explained(KeyleaseError(message, f"log in again, as with: docker login{registry}"))


def _asked(message: bytearray | memoryview) -> Target:
    """Return the target of a bare server URL."""
    try:
        return _named(str(message, "utf-8").strip(_BLANKS))
    except UnicodeDecodeError:
        msg = "the server URL is not UTF-8"
        raise RequestError(msg) from None


def _named(name: str) -> Target:
    found = _SCHEME.fullmatch(name)
    if not name or found is None or not found[2]:
        raise RequestError(NO_URL)
    scheme, host, path = found[1] or "https", found[2], found[3].rstrip("/")
    if UNFIT.search(name) or "@" in host or "://" in name[found.start(2) :]:
        msg = "the server URL has a blank, a control character, a user or another scheme than http"
        raise RequestError(msg)
    if scheme == "https" and host in HUB_ALIASES and path in _HUB_PATHS:
        return HUB
    # No path is an empty path: a session with a path must not answer a request without one.
    return Target(NAMESPACE, scheme, host, path)


def _store(message: bytearray | memoryview) -> Request:
    with jsontext.opened(message) as members:
        # Go ignores the case of members, and the last one wins. So refuse other spellings.
        known = {name.lower() for name in _MEMBERS}
        if any(name.lower() in known and name not in _MEMBERS for name in members):
            msg = f"the message has a member in another case: expected {', '.join(_MEMBERS)}"
            raise RequestError(msg)
        url, username = jsontext.name(members, "ServerURL"), jsontext.name(members, "Username")
        if not url:
            raise RequestError(NO_URL)
        if not username:
            raise RequestError(NO_USERNAME)
        named, secret = _named(url.strip(_BLANKS)), jsontext.string(members, "Secret")
        if secret is None:
            msg = "the message has no Secret"
            raise RequestError(msg)
        credential = Credential(username, Secret(secret))
        # NOTE: `docker login` without a password stores what it received, even if the registry
        # refused it. keylease cannot tell.
        return Request(
            "store", named, username, credential, replace_other_users=True, is_login=True
        )


def _credential(reply: Reply) -> list[bytes | memoryview]:
    credential = reply.credential
    if not credential.username:
        raise RequestError(NO_USERNAME)
    return [
        b'{"ServerURL":',
        jsontext.quoted(_url(reply.session.target), "the server URL"),
        b',"Username":',
        jsontext.quoted(credential.username, "the user name"),
        b',"Secret":',
        jsontext.quoted(credential.secret.reveal(), "the secret"),
        b"}\n",
    ]


def _list(sessions: tuple[Session, ...]) -> bytes:
    # Later sessions win, as in a `get`.
    newest = {_url(each.target): each.username for each in sessions if each.username}
    # It contains no secret, so ordinary memory will do.
    members = [b":".join(map(jsontext.quoted, names)) for names in newest.items()]
    return b"{%b}\n" % b",".join(members)


def _url(named: Target) -> str:
    """Return docker's name of a target."""
    if (named.protocol, named.host) == HUB[1:3]:
        return named.url
    scheme = "" if named.protocol == "https" else f"{named.protocol}://"
    return f"{scheme}{named.host}" + (f"/{named.path}" if named.path else "")
