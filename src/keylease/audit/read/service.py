"""The audit log as a program has it: write a line, find lines, follow them, and judge the whole."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Final

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
"""How long who follows the log waits before the next look."""
_LOCK: Final = "lock"
_TRIES: Final = 3


class AuditService:
    """The audit log of one state directory.

    Args:
        log: Writes.
        clock: Tells the time.
        place: Returns the path of the audit directory. It is not made by reading.
        state: Opens the state directory.
        pin: Where the pin is kept.
        keys: Returns the audit keys, the present one first, or raises `KeychainUnavailableError`.
        deadline: How long to wait for the log's lock.

    New in version 0.1.0.
    """

    def __init__(  # noqa: PLR0913, PLR0917 - the collaborators, each for one operation
        self,
        log: AuditLog,
        clock: Clock,
        place: Callable[[], str],
        state: Callable[[], Directory],
        pin: PinStore,
        keys: Callable[[], Sequence[Secret]],
        deadline: Deadline,
    ) -> None:
        self._log = log
        self._clock = clock
        self._place = place
        self._state = state
        self._pin = pin
        self._keys = keys
        self._deadline = deadline

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
        """Append one line, which is on the disk on return. Do what it tells only then.

        Raises:
            AuditError: the line is not in the log.
            KeychainUnavailableError: the audit key cannot be had, so nobody could vouch for it.
            ValueError: an event, an outcome or a reason that is not in the lists of docs/audit.md.
        """
        entry = Entry(event, outcome, reason, session, target, username)
        entry.check()
        self._log.key = next(iter(self._keys()), None)
        self._log.log(entry, self._clock.now())

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
        """Return the lines that fit, to be gone through once; `trust()` of it says what they prove.

        Args:
            since: A time as `keylease audit query` takes it, or nanoseconds since the Unix epoch.
            until: The same, for the end, which is not in the range itself.
            events: Any of these.
            target: A host or a URL, in which `*` stands for anything.
            username: Whose.
            session: A session's id, or its beginning.
            outcome: `ok` or `refused`.
            reason: One of the lists of docs/audit.md.
            reverse: Newest first.
            limit: How many at most.

        Raises:
            UsageError: a time that makes no sense.
        """
        wanted = Filter(
            self._moment(since),
            self._moment(until),
            tuple(events),
            # As it comes from a browser.
            target and target.rstrip("/"),
            username,
            session,
            outcome,
            reason,
        )
        keys, _ = self._keys_at_hand()
        return Search(self._place(), wanted, keys, reverse=reverse, limit=limit)

    def tail(
        self,
        count: int = 10,
        *,
        follow: bool = False,
        pause: Callable[[], None] = lambda: time.sleep(PAUSE_SECONDS),
    ) -> Iterator[Record]:
        """Yield the last lines, oldest first, and with `follow` what is appended, for ever.

        Nothing is verified: a line is given as soon as it stands there.

        Args:
            count: How many lines of the end.
            follow: Whether to go on with new lines.
            pause: Waits before the next look.

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
        """Yield what `tail` does, each with the line as it stands in the log."""
        place = self._place()
        found, places = last(place, count)
        yield from found
        follower = Follower(place, places) if follow else None
        while follower is not None:
            for line in follower.look():
                try:
                    yield Match(parse(line.data), line)
                except LineError:
                    continue  # `verify` says where; who follows waits for the next
            pause()

    def verify(
        self,
        *,
        since: str | None = None,
        witness: Iterable[str] = (),
        more_keys: Iterable[Secret] = (),
    ) -> Verdict:
        """Return what the log is found to be.

        Args:
            since: The day, as in `2026-11-22`, before which nothing is looked at.
            witness: Lines of the system log, if checkpoints are sent there.
            more_keys: Audit keys beside those of the keychain.

        Raises:
            StateError: it cannot be read.
        """
        keys, why = self._keys_at_hand()
        keys = (*keys, *more_keys)
        # Only a checkpoint is kept of what may be a whole system log, for a second try.
        witness = [line for line in witness if parse_checkpoint(line)]
        for tries in range(_TRIES):
            seen, pin = self._extent()
            try:
                return judge.verify(
                    self._place(),
                    keys,
                    pin,
                    since=since,
                    witness=witness,
                    boot=self._clock.now().boot,
                    seen=seen,
                    why=why,
                )
            except StateMissingError:
                # Retention has removed a day in between. The next look does not see it.
                if tries == _TRIES - 1:
                    raise
        raise AssertionError  # pragma: no cover - the last try returns or raises

    def export_keys(self) -> Sequence[Secret]:
        """Return the audit keys of the keychain, after a line that says so; none if there are none.

        Raises:
            AuditError: the line is not in the log, so nothing is handed out.
            KeychainUnavailableError: the keychain cannot be read.
        """
        keys = self._keys()
        if keys:
            self._log.key = keys[0]
            self._log.log(Entry("key.exported"), self._clock.now())
        return keys

    def _extent(self) -> tuple[judge.Extent, bytes | None]:
        """Return how far the log goes and what the pin says, both of one moment."""
        place = self._place()
        if not os.path.isdir(place):
            return judge.extent(place), self._pin.read()
        with (
            self._state() as state,
            state.child(os.path.basename(place)) as directory,
            directory.lock(_LOCK, self._deadline),
        ):
            return judge.extent(place), self._pin.read()

    def _keys_at_hand(self) -> tuple[Sequence[Secret], str]:
        """Return the audit keys, or why there are none."""
        try:
            return self._keys(), "there is none in the keychain"
        except KeychainUnavailableError as error:
            return (), str(error)

    def _moment(self, given: str | int | None) -> int | None:
        return parse_time(given, self._clock.now().wall_ns) if isinstance(given, str) else given
