"""Echoes: a credential that comes back from a tool that was given it, which revives nothing.

Secrets are compared by keyed digests, in constant time; only extra secrets of a live session are
opened for it, and wiped at once.
"""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING

from keylease.audit.events import Entry
from keylease.rules import answers, echo_may_come

if TYPE_CHECKING:
    from keylease.clock import Moment
    from keylease.judgement import Live
    from keylease.model import Credential, Request
    from keylease.sealedsessions import Found, Sessions
    from keylease.secret import Secret


def echoed(sessions: Sessions, live: list[Live], request: Request, now: Moment) -> Entry | None:
    """Return the line for a credential that comes back; `None` if it comes for the first time.

    A session that lives recognises its own secret at any time. One that has ended does so
    for as long as its touch record is kept; after that the session id in the request does.

    Raises:
        StateError: a record that is of no use any more could not be removed.
        LockTimeoutError: the answer is late.
    """
    target, username, credential = request.target, request.username, request.credential
    if target is None or credential is None:
        return None
    digest = sessions.echo(target, username, credential.secret)
    known = set()
    for found, session in live:
        known.add(session.id)
        if (
            answers(session, target, username)
            and _is(found, digest)
            and _brings_nothing_new(sessions, found, credential)
        ):
            return Entry(
                "session.confirmed", "ok", None, session.id, session.target, session.username
            )
    for touch in sessions.ended(target):
        known.add(touch.id)
        if not echo_may_come(touch.released, now):
            sessions.forget(target, touch)
        elif hmac.compare_digest(touch.echo, digest):
            return Entry("session.confirmed", "refused", None, touch.id, target, username)
    for session_id in request.echoes:
        if session_id not in known:
            return Entry("session.confirmed", "refused", None, session_id, target, username)
    return None


def holds(sessions: Sessions, live: Live, secret: Secret) -> bool:
    """Return whether a live session holds this very secret."""
    found, session = live
    return _is(found, sessions.echo(session.target, session.username, secret))


def _is(found: Found, digest: bytes) -> bool:
    return found.opened is not None and hmac.compare_digest(found.opened.label.echo, digest)


def _brings_nothing_new(sessions: Sessions, found: Found, credential: Credential) -> bool:
    """Return whether every extra secret that was brought is held already.

    A new refresh token beside an unchanged password is a new grant of the server. An old git
    drops the attributes that it does not know, so what is missing says nothing.
    """
    if not credential.fields:
        return True
    held = sessions.open(found)
    try:
        pairs = [(value, held.field(name)) for name, value in credential.fields]
        return all(mine is not None and mine.matches(value) for value, mine in pairs)
    finally:
        held.wipe()
