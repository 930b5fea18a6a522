"""Echoes: a credential that comes back from a tool that was given it, which revives nothing.

Secrets are compared by keyed digests, in constant time; only extra secrets of a live session are
opened for it, and wiped at once.
"""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING

from keylease.audit.events import Entry
from keylease.rules import answers, echo_may_come
from keylease.store.echoes import Echo

if TYPE_CHECKING:
    from collections.abc import Iterable

    from keylease.model import Credential, Moment, Request
    from keylease.secrets.secret import Secret
    from keylease.session.judge import Live
    from keylease.store.format import Touch
    from keylease.store.opened import Found, Sessions


def echoed(sessions: Sessions, live: list[Live], request: Request, now: Moment) -> Entry | None:
    """Return the line for a credential that comes back; `None` if it comes for the first time.

    A session that lives recognises its own secret at any time. One that has ended does so
    for two minutes after its last release, whatever ended it: its record outlives the vault key.
    After that the session id in the request does. Where the peer sends nothing back, what an ended
    session held is a new login.

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
    if request.is_login:
        # Whoever logs out and in again with the same password means it.
        return None
    mark = sessions.mark(target, username, credential.secret)
    records = sessions.remembered()
    left = sessions.left(target)
    ended = _ended(sessions, records, left, mark, now)
    if ended is None:
        known.update(record.id for record in records)
        known.update(touch.id for touch in left)
        ended = next((each for each in request.echoes if each not in known), None)
    if ended is None:
        return None
    return Entry("session.confirmed", "refused", None, ended, target, username)


def _ended(
    sessions: Sessions,
    records: Iterable[Echo],
    left: Iterable[Touch],
    mark: bytes | None,
    now: Moment,
) -> str | None:
    """Return the id of a session that has ended, and whose credential may come back now."""
    for record in records:
        if record.fits(mark):
            touch = sessions.recall(record)
            if touch is not None and echo_may_come(touch.released, now):
                return record.id
    for touch in left:
        if Echo(touch.mark, touch.id).fits(mark) and echo_may_come(touch.released, now):
            return touch.id
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
