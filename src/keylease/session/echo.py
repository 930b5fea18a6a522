"""Echoes: recognise a credential that a tool received and sends back. An echo revives nothing.

Secrets are compared by keyed digests, in constant time. Only the extra secrets of a live session
are opened for the comparison, and then wiped.
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
    """Return the audit entry for an echo; `None` if the credential is no echo.

    A live session recognises its own secret at any time. An ended session recognises it for two
    minutes after the last release, whatever ended it, because its record outlives the vault key.
    Later, only a session id in the request tells an echo. A peer that sends no ids, such as
    `docker login`, announces a login: then the secret of an ended session starts a new one.

    Raises:
        StateError: a record cannot be read.
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
        # A login with the password of an ended session is meant as a new session.
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
    """Return the id of an ended session whose echo this may be."""
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
    """Return whether the session already holds every extra secret of the credential.

    A new refresh token beside an unchanged password is a new grant of the server. A missing one
    proves nothing: an old git drops attributes that it does not know.
    """
    if not credential.fields:
        return True
    held = sessions.open(found)
    try:
        pairs = [(value, held.field(name)) for name, value in credential.fields]
        return all(mine is not None and mine.matches(value) for value, mine in pairs)
    finally:
        held.wipe()
