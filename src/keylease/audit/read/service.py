"""The audit log for programs: write a line, find lines, follow them, and verify the log."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Final, NamedTuple

from keylease.audit.events import Entry
from keylease.audit.line import LineError, parse
from keylease.audit.read import verify as judge
from keylease.audit.read.query import Filter, Match, Search, last
from keylease.audit.read.reader import Follower
from keylease.audit.read.times import parse_time
from keylease.audit.witness import parse as parse_checkpoint
from keylease.errors import KeychainUnavailableError, StateMissingError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from keylease.audit.events import Event, Outcome, RefusalReason
    from keylease.audit.line import Record
    from keylease.audit.log import AuditLog
    from keylease.audit.pin import PinStore
    from keylease.audit.read.verdict import Verdict
    from keylease.model import Reason, Target
    from keylease.secrets.secret import Secret
    from keylease.statefile import Directory
    from keylease.system.clock import Clock, Deadline

PAUSE_SECONDS: Final = 0.5
"""Seconds between two reads while following the log."""
_LOCK: Final = "lock"
_TRIES: Final = 3


class Reading(NamedTuple):
    """What one operation on the audit log works with."""

    log: AuditLog
    """Writes."""
    clock: Clock
    deadline: Deadline
    """How long to wait for the log's lock."""
    pin: PinStore
    """Where the pin is kept."""
    place: Callable[[], str]
    """Returns the path of the audit directory. Reading does not create it."""
    state: Callable[[], Directory]
    """Opens the state directory."""
    keys: Callable[[], Sequence[Secret]]
    """Returns the audit keys, the present one first, or raises `KeychainUnavailableError`."""


class AuditService:
    """The audit log of one state directory. It keeps nothing: threads may share it.

    Args:
        begin: Returns what one operation works with.

    New in version 0.1.0.
    """

    def __init__(self, begin: Callable[[], Reading]) -> None:
        self._begin = begin

    def log(  # noqa: PLR0913 - the fields of a line, and all have names
        self,
        event: Event,
        *,
        outcome: Outcome = "ok",
        reason: Reason | RefusalReason | None = None,
        session: str | None = None,
        target: Target | None = None,
        username: str | None = None,
    ) -> None:
        """Append one line. On return it is on the disk; only then do what it records.

        Raises:
            AuditError: the line is not in the log.
            KeychainUnavailableError: the audit key cannot be read, so the line would have no MAC.
            ValueError: an event, an outcome or a reason that is not in the lists of docs/audit.md.
        """
        entry = Entry(event, outcome, reason, session, target, username)
        entry.check()
        reading = self._begin()
        reading.log.key = next(iter(reading.keys()), None)
        reading.log.log(entry, reading.clock.now())

    def query(  # noqa: PLR0913 - each narrows the search, and all have names
        self,
        *,
        since: str | int | None = None,
        until: str | int | None = None,
        events: Iterable[str] = (),
        target: str | None = None,
        username: str | None = None,
        session: str | None = None,
        outcome: str | None = None,
        reason: str | None = None,
        reverse: bool = False,
        limit: int | None = None,
    ) -> Search:
        """Return the matching lines: a single-use iterator. Call `trust()` afterwards.

        Args:
            since: A time as `keylease audit query` takes it, or nanoseconds since the Unix epoch.
            until: The same for the end, exclusive.
            events: Any of these.
            target: A host or a URL, in which `*` matches anything.
            username: The user name.
            session: A session's id, or its beginning.
            outcome: `ok` or `refused`.
            reason: One of the lists of docs/audit.md.
            reverse: Newest first.
            limit: Maximum number of lines.

        Raises:
            UsageError: a time is not valid.
        """
        reading = self._begin()
        wanted = Filter(
            _moment(reading, since),
            _moment(reading, until),
            tuple(events),
            # A URL from a browser ends with a slash.
            target and target.rstrip("/"),
            username,
            session,
            outcome,
            reason,
        )
        keys, _ = _keys_at_hand(reading)
        return Search(reading.place(), wanted, keys, reverse=reverse, limit=limit)

    def tail(
        self,
        count: int = 10,
        *,
        follow: bool = False,
        pause: Callable[[], None] = lambda: time.sleep(PAUSE_SECONDS),
    ) -> Iterator[Record]:
        """Yield the last lines, oldest first, and with `follow` new lines without end.

        Nothing is verified: a line is yielded as soon as it is in the file.

        Args:
            count: Number of last lines.
            follow: Whether to continue with new lines.
            pause: Waits before the next read.

        Raises:
            StateError: a file cannot be read.
        """
        return (found.record for found in self.tail_lines(count, follow=follow, pause=pause))

    def tail_lines(
        self,
        count: int = 10,
        *,
        follow: bool = False,
        pause: Callable[[], None] = lambda: time.sleep(PAUSE_SECONDS),
    ) -> Iterator[Match]:
        """Yield the same as `tail`, each with its line in the log."""
        place = self._begin().place()
        found, places = last(place, count)
        yield from found
        follower = Follower(place, places) if follow else None
        while follower is not None:
            for line in follower.look():
                try:
                    yield Match(parse(line.data), line)
                except LineError:
                    continue  # skip an invalid line; `verify` reports it
            pause()

    def verify(
        self,
        *,
        since: str | None = None,
        witness: Iterable[str] = (),
        more_keys: Iterable[Secret] = (),
    ) -> Verdict:
        """Verify the log and return the verdict.

        Args:
            since: Skip the days before this one, such as `2026-11-22`.
            witness: Lines of the system log, if checkpoints are sent there.
            more_keys: Audit keys beside those of the keychain.

        Raises:
            StateError: the log cannot be read.
        """
        reading = self._begin()
        keys, why = _keys_at_hand(reading)
        keys = (*keys, *more_keys)
        # The witness may be a whole system log. Keep only the checkpoints, for a second try.
        witness = [line for line in witness if parse_checkpoint(line)]
        for tries in range(_TRIES):
            seen, pin = _extent(reading)
            try:
                return judge.verify(
                    reading.place(),
                    keys,
                    pin,
                    since=since,
                    witness=witness,
                    boot=reading.clock.now().boot,
                    seen=seen,
                    why=why,
                )
            except StateMissingError:
                # Retention has removed a day in between. The next try does not list it.
                if tries == _TRIES - 1:
                    raise
        raise AssertionError  # pragma: no cover - the last try returns or raises

    def export_keys(self) -> Sequence[Secret]:
        """Record the export and return the audit keys of the keychain; empty if there are none.

        Raises:
            AuditError: the line is not in the log, so no key is returned.
            KeychainUnavailableError: the keychain cannot be read.
        """
        reading = self._begin()
        keys = reading.keys()
        if keys:
            reading.log.key = keys[0]
            reading.log.log(Entry("key.exported"), reading.clock.now())
        return keys


def _extent(reading: Reading) -> tuple[judge.Extent, bytes | None]:
    """Return the extent of the log and the pin, both of the same moment."""
    place = reading.place()
    if not os.path.isdir(place):
        return judge.extent(place), reading.pin.read()
    with (
        reading.state() as state,
        state.child(os.path.basename(place)) as directory,
        directory.lock(_LOCK, reading.deadline),
    ):
        return judge.extent(place), reading.pin.read()


def _keys_at_hand(reading: Reading) -> tuple[Sequence[Secret], str]:
    """Return the audit keys, or why there are none."""
    try:
        return reading.keys(), "there is none in the keychain"
    except KeychainUnavailableError as error:
        return (), str(error)


def _moment(reading: Reading, given: str | int | None) -> int | None:
    return parse_time(given, reading.clock.now().wall_ns) if isinstance(given, str) else given
