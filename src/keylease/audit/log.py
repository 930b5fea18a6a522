"""Write the audit log: one JSON object a line, one file a UTC day, appended and never rewritten.

A line is there before what it tells takes effect. What releases a secret fails if the line cannot
be written; what ends a session goes on, and the gap is told once the log is back
(docs/decisions/0002-audit-fails-closed-for-release.md). No line holds a secret, its length or its
digest.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from time import gmtime, strftime
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from keylease.audit.caller import caller
from keylease.clock import NANOSECONDS, Deadline
from keylease.errors import AuditError, StateError

if TYPE_CHECKING:
    from collections.abc import Callable

    from keylease.audit.events import Entry
    from keylease.clock import Moment
    from keylease.secret import Secret
    from keylease.statefile import Directory

LONGEST_NAME: Final = 1024
"""Characters of a name that are kept; a longer one is cut and marked."""
_LOCK: Final = "lock"
_GAP: Final = "audit.gap"
_GAP_LOCK: Final = "audit.gap.lock"
_ENDING_SECONDS: Final = 0.5
"""How long a line about an end may wait for its turn: the end waits with it."""
_GAP_SECONDS: Final = 0.1
"""How long counting a lost line may wait, when everything else has used its time up."""
_GAP_DIGITS: Final = 20
_SUFFIX: Final = ".jsonl"
# A character is at most 12 bytes in JSON, a name has LONGEST_NAME of them, and a line eight names.
_LONGEST_LINE: Final = 128 * 1024
_BEFORE_MAC: Final = b',"mac":'


class _Tail(NamedTuple):
    """Where the chain stands: the last line's number and the digest of its bytes."""

    seq: int
    digest: str


class AuditLog:
    """The audit log of one state directory.

    Args:
        state: Opens the state directory; called at each line.
        deadline: How long the log may wait for its lock.
    """

    def __init__(self, state: Callable[[], Directory], deadline: Deadline) -> None:
        self._state = state
        self._deadline = deadline
        self._patience = _ENDING_SECONDS
        self.key: Secret | None = None
        """The audit key, once the keychain gave it. A line written without it has no `mac`; the
        next line that has one vouches for it through `prev`."""

    def log(self, entry: Entry, at: Moment) -> None:
        """Append one line about a release. It is on the disk on return, chained with the key.

        Args:
            entry: What is about to happen.
            at: The clock reading that decided it.

        Raises:
            AuditError: the line is not in the log, or there is no key to vouch for it.
            ValueError: an event, outcome or reason that is not in the fixed lists.
        """
        if self.key is None:
            msg = "the audit key was deleted from the keychain, so no line can be vouched for"
            raise AuditError(msg, "make a new one with: keylease login URL")
        self._write(entry, at, sync=True, deadline=self._deadline)

    def log_or_gap(self, entry: Entry, at: Moment) -> None:
        """Append one line about an end or a refusal, which nothing may hold up.

        If that cannot be done the lost lines are counted, and the next line that can be written
        is preceded by an `audit.gap` line with their number.
        """
        deadline = Deadline(min(self._patience, self._deadline.remaining()))
        try:
            self._write(entry, at, sync=False, deadline=deadline)
        except AuditError:
            # Who could not write one line will not wait for the next.
            self._patience = 0.0
            self._count_lost()

    def _write(self, entry: Entry, at: Moment, *, sync: bool, deadline: Deadline) -> None:
        entry.check()
        record = entry._asdict() | {
            "session": _cut(entry.session),
            "target": None if entry.target is None else _cut_all(entry.target._asdict()),
            "username": _cut(entry.username),
            "caller": _cut_all(caller()._asdict()),
        }
        try:
            with (
                self._state() as state,
                state.child("audit", create=True) as directory,
                directory.lock(_LOCK, deadline),
            ):
                day = _Day(directory, at, self.key)
                day.tell_gap(state, deadline)
                day.append(record, sync=sync)
        except StateError as error:
            msg = f"the audit log cannot be written: {error}"
            raise AuditError(msg) from error

    def _count_lost(self) -> None:
        try:
            with self._state() as state, state.lock(_GAP_LOCK, Deadline(_GAP_SECONDS)):
                # The count is rewritten in place in a file that is there from the first line on:
                # on a full disk there is no room for a new one.
                lost = int(state.read(_GAP, _GAP_DIGITS) or b"0") + 1
                state.rewrite(_GAP, b"%0*d" % (_GAP_DIGITS, lost))
        except (StateError, ValueError):
            # The whole state directory is out of reach, so there is no place for the count either.
            # Holding up the end of a session for it would be the worse of the two.
            return


class _Day:
    """The day's file, with the audit lock held."""

    def __init__(self, directory: Directory, at: Moment, key: Secret | None) -> None:
        self._directory = directory
        self._at = at
        self._key = key
        self._file = strftime("%Y-%m-%d", gmtime(at.wall_ns // NANOSECONDS)) + _SUFFIX
        self._days = sorted(name for name in directory.names() if name.endswith(_SUFFIX))
        self._tail, torn = self._find_tail()
        for _ in range(torn):
            self.append({"event": "audit.recovered", "outcome": "ok"}, sync=True)

    def append(self, record: dict[str, object], *, sync: bool) -> None:
        """Append one record, numbered, dated and chained."""
        seconds, rest = divmod(self._at.wall_ns, NANOSECONDS)
        line = {
            "seq": self._tail.seq + 1,
            "time": f"{strftime('%Y-%m-%dT%H:%M:%S', gmtime(seconds))}.{rest // 1000:06d}Z",
            "boottime_ns": self._at.boot_ns,
            "event": None,
            "outcome": None,
            "reason": None,
            "session": None,
            "target": None,
            "username": None,
            "caller": None,
            **record,
            "prev": self._tail.digest,
        }
        # Escaped ASCII, DEL too: whatever a name holds, no control character reaches a terminal.
        text = json.dumps(line, separators=(",", ":")).replace("\x7f", "\\u007f")
        packed = text.encode("ascii")[:-1]
        # The digest of the line before is in `prev`, and that line's own mac is in its digest: so
        # each mac vouches for all that came before it.
        mac = (
            f'"{hmac.digest(self._key.reveal(), packed, "sha256").hex()}"' if self._key else "null"
        )
        packed += _BEFORE_MAC + mac.encode("ascii") + b"}\n"
        # A file's name reaches the disk with its first line. A later line that is synced brings
        # only its bytes there, and a power cut could take the whole file.
        sync = sync or self._file not in self._days
        self._directory.append(self._file, packed, sync=sync)
        self._days.append(self._file)
        self._tail = _Tail(self._tail.seq + 1, hashlib.sha256(packed).hexdigest())

    def tell_gap(self, state: Directory, deadline: Deadline) -> None:
        """Append how many lines were lost since the last one, if any were."""
        none = b"0" * _GAP_DIGITS
        if state.read(_GAP, _GAP_DIGITS) == none:
            return
        with state.lock(_GAP_LOCK, deadline):
            count = state.read(_GAP, _GAP_DIGITS)
            if count not in {None, none}:
                lost = int(count) if count and count.isdigit() else None
                self.append({"event": _GAP, "outcome": "ok", "lost": lost}, sync=True)
            state.rewrite(_GAP, none)

    def _find_tail(self) -> tuple[_Tail, int]:
        """Return where the chain stands, and how many half-written lines were set aside."""
        last, torn = _Tail(0, "0" * 64), 0
        # The number decides, not the file's name: a wall clock that was set back for a while has
        # left its lines in an older file. Looking at 90 files takes 2 to 3 ms.
        for name in self._days:
            # More than once where a power cut left a long run of zeros behind the last line.
            while end := self._directory.read_tail(name, _LONGEST_LINE) or b"":
                whole = end[: end.rfind(b"\n") + 1]
                if whole == end:
                    break
                self._set_aside(name, end[len(whole) :])
                torn += 1
            if end:
                last = max(last, _tail(name, whole[whole.rfind(b"\n", 0, -1) + 1 :]))
        return last, torn

    def _set_aside(self, name: str, torn: bytes) -> None:
        """Move what a crash left after the last whole line into a file of its own."""
        start = (self._directory.size(name) or 0) - len(torn)
        # Named by what is in it: a crash before the next step repeats this one, and what another
        # crash left at the same place is kept beside it.
        digest = hashlib.sha256(torn).hexdigest()
        self._directory.replace(f"{name}.torn-{start}-{digest[:16]}", torn)
        self._directory.truncate(name, start)


def _tail(name: str, line: bytes) -> _Tail:
    try:
        seq = json.loads(line)["seq"]
    except (ValueError, TypeError, KeyError, RecursionError):
        seq = None
    if type(seq) is not int:
        msg = f"the last line of audit/{name} is not one of keylease's"
        raise StateError(msg, f"look at audit/{name}, then move it out of audit")
    return _Tail(seq, hashlib.sha256(line).hexdigest())


def _cut(value: object) -> object:
    """Return a name of any length as one that a line has room for."""
    if not isinstance(value, str) or len(value) <= LONGEST_NAME:
        return value
    return f"{value[:LONGEST_NAME]}[cut, {len(value)} characters]"


def _cut_all(names: dict[str, Any]) -> dict[str, object]:
    return {key: _cut(value) for key, value in names.items()}
