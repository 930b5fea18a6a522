"""Which session answers a service of the `keyring` library, and which service becomes a session.

A service is whatever a program calls the place of its password: the URL of a package index, the
`host:port` of it, a host, or any word. pip asks for the whole URL and then for the host; uv and
poetry ask for more than one URL of the same index. So here, unlike in git's question, a session
answers for what lies below its path too, and a host stands for every path of it.

Nothing is opened here: names in, names out.
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
"""Whose sessions these are. No other tool's token comes out of the `keyring` library."""

_HTTP: Final = frozenset({"http", "https"})
# RFC 3986, 3.2.2 and 3.2.3. Without a dot or a port a word is the name of some program, not a host.
_PORT: Final = re.compile(r"(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]):[0-9]{1,5}")
_HOST: Final = re.compile(r"[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)+|localhost|\[[0-9A-Fa-f:.]+\]")

# RFC 3986, 3.2. git's reader takes whatever stands before the first slash for user and host, so to
# it https://evil.example?@good.example is a URL of good.example; to the program that asks it is one
# of evil.example. What two readers could understand in two ways is no name of a session.
_URL: Final = re.compile(
    r"[A-Za-z][A-Za-z0-9+.-]*://(?:[^/?#@\\\s]*@)?"
    r"(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?(?:/[^\\\s]*)?"
)


def is_server(service: str) -> bool:
    """Return whether the service can mean nothing but a server: a URL, or a host with its port."""
    return "://" in service or _PORT.fullmatch(service) is not None


def may_be_server(service: str) -> bool:
    """Return whether a session could answer: a host without a port may be a program's name, too."""
    return is_server(service) or _HOST.fullmatch(service) is not None


def kept(service: str, username: str) -> Address | None:
    """Return what a password that is set for the service would be a session for.

    `None` is for whatever is not surely a server's: an application that keeps the only copy of a
    key under its own name must find it again tomorrow.

    NOTE: `host:port` is kept as https. pip saves under it what it asked its user for, and asks for
    the host again later; a server without encryption is asked for by its URL and not answered.
    """
    if not is_server(service):
        return None
    address = _parsed(service if "://" in service else f"https://{service}", username)
    return address if address and address.target.protocol in _HTTP else None


def answering(sessions: Iterable[Session], service: str, username: str | None) -> Session | None:
    """Return the session that answers best: the longest path that fits, then the newest.

    Args:
        sessions: Live ones, oldest first.
        service: What the program asks for.
        username: Whose password; the one whom the URL names, or anybody's, if not given.
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
    """Return the sessions that are ended when the password of a service is deleted.

    A deletion names its place: it ends what lies there and, without a path, on the whole host, but
    never what answers from above.
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
    """Return what is asked for; the protocol is empty where the service does not say it."""
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
        # It names two users, has a password in it, or half a character: a name like any other.
        return None


def _fit(session: Session, asked: Target) -> int:
    """Return how much of the path fits, or -1 if the session is not for that."""
    held = session.target
    same = (held.namespace, held.host) == (asked.namespace, asked.host)
    if not same or asked.protocol not in {"", held.protocol} or session.authtype is not None:
        return -1
    return 0 if asked.path is None else reach(held.path, asked.path)


def _path(target: Target) -> str:
    return (target.path or "").strip("/")
