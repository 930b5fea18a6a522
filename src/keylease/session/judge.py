"""Judge: which of the session files that were found are sessions, and which are over.

The words of the rules are in `keylease.rules`; here they are said of a file. What is over is
removed on the spot, with a line in the audit log that says why.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from keylease.audit.events import Entry
from keylease.errors import ForeignBootError
from keylease.faults import Steps
from keylease.rules import (
    echo_may_come,
    ended,
    ended_unopened,
    strictest,
    terms_of,
    within,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from keylease.audit.log import AuditLog
    from keylease.errors import StateError
    from keylease.model import Moment, Reason, Session, Settings, Target
    from keylease.store.opened import Found, Sessions


class Live(NamedTuple):
    """A live session, and the file that it was found in."""

    found: Found
    session: Session
    """With no longer a life than its terms of today allow."""

    @property
    def age(self) -> tuple[int, int, str]:
        """What orders sessions by their creation; two of the same instant by their ids."""
        created = self.session.created
        return (created.boot_ns, created.wall_ns, self.session.id)


class Judged(NamedTuple):
    """What was found, by what it is."""

    live: list[Live]
    over: list[tuple[Session | None, Reason]]
    """What has ended, and was removed."""
    unknown: list[StateError]
    """Why nothing can be said about a session that may be live."""
    elsewhere: list[Live]
    """What may be live in another boot. It is not released here; its user may end it."""

    def add_foreign(self, found: Found, error: ForeignBootError) -> None:
        """Take a file of another boot, which may be live there."""
        if found.session is None:
            self.unknown.append(error)
        else:
            self.elsewhere.append(Live(found, found.session))

    def demand_certainty(self) -> None:
        """Raise if there is a session about which nothing can be said."""
        for error in self.doubts():
            raise error

    def doubts(self) -> list[StateError]:
        """Return why something that may be a live session is none here."""
        foreign = (f"the session for {each.session.target.url}" for each in self.elsewhere)
        return [*self.unknown, *map(ForeignBootError, foreign)]


class Judge:
    """What is live at one moment, under the terms of today.

    Args:
        settings: The terms.
        audit: Where each end is written down.
    """

    def __init__(self, settings: Settings, audit: AuditLog) -> None:
        self._settings = settings
        self._audit = audit

    def sort(
        self,
        sessions: Sessions,
        found: Iterable[Found],
        now: Moment,
        steps: Steps | None = None,
    ) -> Judged:
        """Return what is live, and what is over after having removed it.

        Args:
            sessions: Where they are.
            found: What is to be judged.
            now: The clock reading that decides.
            steps: Takes what goes wrong with one file, and the others are judged.

        Raises:
            StateError: something that is over could not be removed, and nobody takes it. What else
                is over was removed all the same.
        """
        taken = steps or Steps()
        newest: dict[tuple[Target, str | None], Live] = {}
        judged = Judged([], [], [], [])

        def end(each: Found, reason: Reason) -> None:
            with taken.step():
                self.end(sessions, each, reason, now)
                judged.over.append((each.session, reason))

        def judge(each: Found) -> None:
            try:
                session, reason = self._judge(sessions, each, now)
            except ForeignBootError as error:
                judged.add_foreign(each, error)
                return
            if each.unknown is not None and reason == "tampered":
                # Its times do not end it, and that it cannot be opened here proves nothing.
                judged.unknown.append(each.unknown)
            elif reason is not None:
                end(each, reason)
            elif session is not None:
                # A crash between a new session and the end of the one that it replaces leaves both.
                newer = Live(each, session)
                other = newest.get((session.target, session.username))
                if other is not None:
                    older, newer = sorted((other, newer), key=lambda pair: pair.age)
                    end(older.found, "replaced")
                newest[session.target, session.username] = newer

        for each in found:
            with taken.step():
                judge(each)
        judged.live.extend(newest.values())
        if steps is None:
            with taken:
                taken.demand()
        return judged

    def end(self, sessions: Sessions, found: Found, reason: Reason, now: Moment) -> None:
        """Remove a session, and write down that it has ended.

        In this order: the log can be slow or broken, and no line says of a session that is still
        there that it has ended.

        Raises:
            StateError: its file could not be removed.
        """
        session = found.session
        target, username = (session.target, session.username) if session else (None, None)
        entry = Entry("session.ended", "ok", reason, found.id, target, username)
        released = found.touch.released if found.touch else None
        try:
            sessions.remove(found, keep_touch=echo_may_come(released, now))
        finally:
            # What could not be removed has lost its share where it had one.
            self._audit.log_or_gap(entry, now)

    def _judge(
        self, sessions: Sessions, found: Found, now: Moment
    ) -> tuple[Session | None, Reason | None]:
        """Return the session within its terms of today, and why it is over if it is."""
        general = self._settings.general
        if found.session is None:
            # What cannot be opened does not tell its target. Where its share is dead, the terms
            # only find the word; where that is not known, they hold for whatever it is for.
            every = () if found.unknown else self._settings.targets.values()
            terms = strictest((general, *every))
            return None, ended_unopened(found.header, found.touch, sessions.generation, now, terms)
        terms = terms_of(self._settings, found.session.target)
        session = within(found.session, terms)
        return session, "revoked" if terms.revoked else ended(session, now)
