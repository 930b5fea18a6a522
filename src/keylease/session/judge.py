"""Judge: sort the session files into live and ended ones.

This module applies `keylease.rules` to files. It removes an ended session at once, and writes the
reason to the audit log.
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
    """A live session and its file."""

    found: Found
    session: Session
    """Its lifetime is already limited by the terms of today."""

    @property
    def age(self) -> tuple[int, int, str]:
        """A sort key: by creation, then by id."""
        created = self.session.created
        return (created.boot_ns, created.wall_ns, self.session.id)


class Judged(NamedTuple):
    """The files, sorted."""

    live: list[Live]
    over: list[tuple[Session | None, Reason]]
    """Ended sessions; their files were removed."""
    unknown: list[StateError]
    """The errors of files whose state is unknown; they may be live."""
    elsewhere: list[Live]
    """Sessions of another boot, which may be live there. Their user can end them from here."""

    def add_foreign(self, found: Found, error: ForeignBootError) -> None:
        """Add a file of another boot."""
        if found.session is None:
            self.unknown.append(error)
        else:
            self.elsewhere.append(Live(found, found.session))

    def demand_certainty(self) -> None:
        """Raise if the state of a session is unknown."""
        for error in self.doubts():
            raise error

    def doubts(self) -> list[StateError]:
        """Return an error for each session that may be live but is not released here."""
        foreign = (f"the session for {each.session.target.url}" for each in self.elsewhere)
        return [*self.unknown, *map(ForeignBootError, foreign)]


class Judge:
    """Sorts session files under the terms of today.

    Args:
        settings: The terms.
        audit: Records each end.
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
        """Sort the files and remove the ended sessions.

        Args:
            sessions: The opened sessions.
            found: The files to judge.
            now: The clock reading that decides.
            steps: Collects the failures of single files. Without it, they are raised at the end.

        Raises:
            StateError: an ended session could not be removed. All others were judged.
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
                # Its times do not end it. Without its share, a failure to open proves nothing.
                judged.unknown.append(each.unknown)
            elif reason is not None:
                end(each, reason)
            elif session is not None:
                # A crash between the new session and the end of the replaced one leaves both.
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
        """Remove a session, then record its end.

        Remove it first: the log can be slow or broken, and a line must not claim an end that has
        not happened.

        Raises:
            StateError: the file could not be removed.
        """
        session = found.session
        target, username = (session.target, session.username) if session else (None, None)
        entry = Entry("session.ended", "ok", reason, found.id, target, username)
        released = found.touch.released if found.touch else None
        try:
            sessions.remove(found, keep_touch=echo_may_come(released, now))
        finally:
            # Record it even if the file could not be removed: its share is destroyed.
            self._audit.log_or_gap(entry, now)

    def _judge(
        self, sessions: Sessions, found: Found, now: Moment
    ) -> tuple[Session | None, Reason | None]:
        """Return the session within the terms of today, and the reason if it has ended."""
        general = self._settings.general
        if found.session is None:
            # An unopened file does not tell its target. If its share is dead, it has ended anyway,
            # and the strictest terms choose the reason. If its share is unknown, apply only the
            # general terms, which hold for every target.
            every = () if found.unknown else self._settings.targets.values()
            terms = strictest((general, *every))
            return None, ended_unopened(found.header, found.touch, sessions.generation, now, terms)
        terms = terms_of(self._settings, found.session.target)
        session = within(found.session, terms)
        return session, "revoked" if terms.revoked else ended(session, now)
