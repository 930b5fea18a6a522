"""Compile the content of a report: refusals, sessions, releases by the hour, callers.

Records in, a `Report` out: no files, no clock, no HTML (that is `page`). It needs one pass, and its
size is bounded for a log of any length: rows beyond a limit are counted, and the report says how
many are not shown.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from keylease.audit.read.stats import RELEASED, Stats, Tally, name_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from keylease.audit.line import Record

MOST_SESSIONS: Final = 120
"""Maximum number of sessions that are shown, the latest ones."""
MOST_ROWS: Final = 40
"""Maximum number of rows of any other table."""
_MOST_HELD: Final = 4 * MOST_SESSIONS
"""Maximum number of sessions in memory: a session may end long after later ones began."""
_HOURS: Final = 24

ROUTINE: Final = frozenset(
    {"not_found", "idle", "cap", "credential_expired", "ephemeral", "logout", "replaced", None}
)
"""Routine refusals: a tool asked and there was no session. A refusal without a reason is an echo
from an ended session."""

NOTABLE: Final = frozenset(
    {
        "vault.created",
        "vault.revoked",
        "key.rotated",
        "key.deleted",
        "key.exported",
        "config.changed",
        "audit.gap",
        "audit.recovered",
        "audit.rotated",
        "audit.truncated",
        "audit.unvouched",
    }
)
"""Events about the vault or the log itself."""


class Verification(NamedTuple):
    """The result of verifying the log, in words for the top of the page."""

    verdict: str
    meaning: str
    details: tuple[tuple[str, str], ...] = ()


class Period(NamedTuple):
    """The requested range, RFC 3339; `None` for an open end."""

    since: str | None = None
    until: str | None = None


class RefusalCount:
    """The refusals with the same reason, target and user."""

    __slots__ = ("caller", "first", "last", "times")

    def __init__(self) -> None:
        self.times = 0
        self.first = ""
        self.last = ""
        self.caller: str | None = None
        """The executable of the last refusal; advisory."""

    def add(self, record: Record) -> None:
        """Count one refusal."""
        self.times += 1
        self.first = self.first or record.time
        self.last = record.time
        self.caller = text(record.caller.get("executable"))


class Span:
    """One session, with its beginning and end as far as they are in the log."""

    __slots__ = ("began", "ended", "id", "last", "reason", "releases", "target", "used", "username")

    def __init__(self, record: Record) -> None:
        self.id = record.session
        self.target: str | None = None
        self.username: str | None = None
        self.began: str | None = None
        """When it was created; `None` if that was before the first line that was read."""
        self.used = record.time
        """When it was last used."""
        self.last = record.time
        """The time of its last line."""
        self.ended: str | None = None
        """When its end was noticed; `None` if there is no line about it."""
        self.reason: str | None = None
        self.releases = 0

    def add(self, record: Record) -> None:
        """Add one line about this session."""
        self.last = record.time
        self.target = self.target or name_of(record)
        self.username = record.username if self.username is None else self.username
        if record.event == "session.created":
            self.began = self.used = record.time
        elif record.event == RELEASED:
            self.releases += 1
            self.used = record.time
        elif record.event == "session.extended":
            self.used = record.time
        elif record.event == "session.ended":
            self.ended, self.reason = record.time, record.reason


class Notice(NamedTuple):
    """Something that happened to the vault, the configuration or the log."""

    time: str
    event: str
    outcome: str
    details: str


class Report(NamedTuple):
    """Everything that a page shows, and the numbers of what it does not show."""

    stats: Stats
    refusals: list[tuple[tuple[str, str | None, str | None, str | None], RefusalCount]]
    """By event, reason, target and user; routine ones last."""
    refusals_left: int
    sessions: list[Span]
    """The latest sessions, in the order of their start."""
    sessions_left: int
    hours: list[tuple[str, list[int]]]
    """Releases in each hour of the day (UTC) by target, the busiest first."""
    hours_left: tuple[int, int]
    """Numbers of targets and of releases that are not in `hours`."""
    callers: list[tuple[tuple[str | None, str | None], list[int]]]
    """Lines, releases and refusals by executable and parent executable."""
    callers_left: int
    notices: list[Notice]
    notices_left: int


class _Compiler:
    """Collect the lines of a report."""

    def __init__(self) -> None:
        self._stats = Stats()
        self._refusals: Tally[tuple[str, str | None, str | None, str | None], RefusalCount] = Tally(
            RefusalCount
        )
        self._sessions: dict[str, Span] = {}
        self._forgotten = 0
        self._hours: Tally[str, list[int]] = Tally(lambda: [0] * _HOURS)
        self._callers: Tally[tuple[str | None, str | None], list[int]] = Tally(lambda: [0] * 3)
        self._notices: list[Notice] = []
        self._notices_left = 0

    def add(self, record: Record) -> None:
        """Add one line."""
        self._stats.add(record)
        target = name_of(record)
        released, refused = record.event == RELEASED, record.outcome == "refused"
        asked_by = record.caller.get("executable"), record.caller.get("parent")
        caller = self._callers[text(asked_by[0]), text(asked_by[1])]
        for number, counts in enumerate((True, released, refused)):
            caller[number] += counts
        if refused:
            self._refusals[record.event, record.reason, target, record.username].add(record)
        hour = int(record.time[11:13])
        if released and target is not None and hour < _HOURS:
            self._hours[target][hour] += 1
        if record.session is not None:
            self._session(record, record.session)
        if record.event in NOTABLE:
            self._notice(record)

    def finish(self) -> Report:
        """Return the report."""
        # The dictionary keeps the order of the lines.
        sessions = list(self._sessions.values())[-MOST_SESSIONS:]
        refusals = sorted(self._refusals.values.items(), key=lambda each: each[1].last)[::-1]
        refusals.sort(key=lambda each: each[0][1] in ROUTINE)
        hours = sorted(self._hours.values.items(), key=lambda each: (-sum(each[1]), each[0]))
        callers = sorted(self._callers.values.items(), key=lambda each: -each[1][0])
        beyond = [sum(row) for _, row in hours[MOST_ROWS:]]
        return Report(
            self._stats,
            refusals[:MOST_ROWS],
            self._refusals.others.times + sum(each.times for _, each in refusals[MOST_ROWS:]),
            sessions,
            self._forgotten + len(self._sessions) - len(sessions),
            hours[:MOST_ROWS],
            (len(beyond), sum(beyond) + sum(self._hours.others)),
            callers[:MOST_ROWS],
            self._callers.others[0] + sum(counts[0] for _, counts in callers[MOST_ROWS:]),
            self._notices,
            self._notices_left,
        )

    def _session(self, record: Record, session: str) -> None:
        span = self._sessions.get(session)
        if span is None:
            # A refusal may name an unknown session, such as one from another machine.
            if record.outcome == "refused":
                return
            span = self._sessions[session] = Span(record)
            if len(self._sessions) > _MOST_HELD:
                del self._sessions[next(iter(self._sessions))]
                self._forgotten += 1
        span.add(record)

    def _notice(self, record: Record) -> None:
        details = ", ".join(f"{key} {_told(value)}" for key, value in record.extra.items())
        self._notices.append(Notice(record.time, record.event, record.outcome, details))
        if len(self._notices) > MOST_ROWS:
            del self._notices[0]
            self._notices_left += 1


def compile_report(records: Iterable[Record]) -> Report:
    """Return the report about the records, given in the order of the log."""
    compiler = _Compiler()
    for record in records:
        compiler.add(record)
    return compiler.finish()


def text(value: object) -> str | None:
    """Return a field of the caller as text. In an edited line it can have any type."""
    return None if value is None else str(value)


def _told(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {_told(inner)}" for key, inner in value.items())
    if isinstance(value, list):
        return " ".join(map(str, value)) or "none"
    return "unknown" if value is None else str(value)
