"""Match services of the `keyring` library with sessions.

A service is a program's name for the place of its password: the URL of a package index, its
`host:port`, a host, or any word. pip asks for the whole URL and then for the host; uv and poetry
ask for several URLs of the same index. So, unlike in git's protocol, a session also answers for
paths below its own, and a host stands for all of its paths.

This module only compares names and opens nothing.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from keylease.errors import UsageError
from keylease.model import Target
from keylease.protocols.address import parse_url
from keylease.rules import reach

if TYPE_CHECKING:
    from collections.abc import Iterable

    from keylease.model import Session
    from keylease.protocols.address import Address

NAMESPACE: Final = "web"
"""The namespace of these sessions. The `keyring` library never gets the token of another one."""

_HTTP: Final = frozenset({"http", "https"})
# RFC 3986, 3.2.2 and 3.2.3. A word without a dot or a port is a program's name, not a host.
_PORT: Final = re.compile(r"(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]):[0-9]{1,5}")
_HOST: Final = re.compile(r"[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)+|localhost|\[[0-9A-Fa-f:.]+\]")

# RFC 3986, 3.2. git reads everything before the first slash as user and host: for git,
# https://evil.example?@good.example is a URL of good.example; for the program that asks, it is one
# of evil.example. So an ambiguous URL never names a session.
_URL: Final = re.compile(
    r"[A-Za-z][A-Za-z0-9+.-]*://(?:[^/?#@\\\s]*@)?"
    r"(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?(?:/[^\\\s]*)?"
)


def is_server(service: str) -> bool:
    """Return whether the service is certainly a server: a URL, or a host with its port."""
    return "://" in service or _PORT.fullmatch(service) is not None


def may_be_server(service: str) -> bool:
    """Return whether a session may answer: a host without a port may also be a program's name."""
    return is_server(service) or _HOST.fullmatch(service) is not None


def kept(service: str, username: str) -> Address | None:
    """Return the address of the session that stores a password for the service.

    `None` if the service is not certainly a server: an application that stores the only copy of a
    key under its own name must find it again tomorrow.

    NOTE: `host:port` is stored as https. pip saves its user's password under that name, and asks
    for the host later. For a server without encryption it asks by URL, and gets no answer.
    """
    if not is_server(service):
        return None
    address = _parsed(service if "://" in service else f"https://{service}", username)
    return address if address and address.target.protocol in _HTTP else None


def answering(sessions: Iterable[Session], service: str, username: str | None) -> Session | None:
    """Return the session with the longest path that fits; of several, the newest.

    Args:
        sessions: The live sessions, oldest first.
        service: The service.
        username: The user; the one in the URL, or any user, if not given.
    """
    asked = _asked(service)
    if asked is None:
        return None
    target, named = asked
    if username is None:
        username = named
    best, closest = None, -1
    for session in sessions:
        length = _fit(session, target)
        if length >= closest and length >= 0 and username in {None, session.username}:
            best, closest = session, length
    return best


def meant(sessions: Iterable[Session], service: str, username: str) -> list[Session]:
    """Return the sessions to end when the password of a service is deleted.

    These are the sessions for exactly that path or, without a path, for the whole host; never one
    that answers from a path above.
    """
    asked = _asked(service)
    if asked is None:
        return []
    target, _ = asked
    return [
        session
        for session in sessions
        if _fit(session, target) >= 0
        and username == session.username
        and target.path in {None, _path(session.target)}
    ]


def _asked(service: str) -> tuple[Target, str | None] | None:
    """Return the target and the user of a service; without a scheme, the protocol is empty."""
    if not may_be_server(service):
        return None
    if "://" not in service:
        return Target(NAMESPACE, "", service), None
    address = _parsed(service)
    if address is None:
        return None
    return address.target._replace(path=_path(address.target) or None), address.username


def _parsed(url: str, username: str | None = None) -> Address | None:
    if _URL.fullmatch(url) is None:
        return None
    try:
        return parse_url(url, username)
    except (UsageError, UnicodeEncodeError):
        # With two users, a password or half a character, it is not a URL but some other name.
        return None


def _fit(session: Session, asked: Target) -> int:
    """Return the length of the path that fits; -1 if the session does not fit."""
    held = session.target
    same = (held.namespace, held.host) == (asked.namespace, asked.host)
    if not same or asked.protocol not in {"", held.protocol} or session.authtype is not None:
        return -1
    return 0 if asked.path is None else reach(held.path, asked.path)


def _path(target: Target) -> str:
    return (target.path or "").strip("/")
