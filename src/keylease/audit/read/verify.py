"""Verify that the log is complete, in order and unchanged.

One pass over the lines in the order of the chain, in constant memory. Nothing is trusted because of
its place: keys, head, pin and witness may each be wrong or missing, and the verdict shows it. Lines
that no available key verifies are never ok.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from keylease.audit.head import HEAD_BYTES
from keylease.audit.line import LONGEST_LINE, NO_LINE, LineError, digest, parse
from keylease.audit.read import reader
from keylease.audit.read.ending import HEAD, PIN, End
from keylease.audit.read.links import Ties, by_id, fits, ties
from keylease.audit.read.verdict import EXIT_CODES, MOST_FINDINGS, Observation, Result, Verdict

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from keylease.audit.read.reader import Line
    from keylease.secrets.secret import Secret

_DAY: Final = slice(len("2026-11-22"))
_UNVOUCHED: Final = "audit.unvouched"
_TOLD: Final = ("audit.gap", "audit.recovered", "audit.rotated", "audit.truncated", _UNVOUCHED)
_MOST_KEYS: Final = 16


class Extent(NamedTuple):
    """The extent of the log at one moment. Hold the lock to read it consistently."""

    files: Mapping[str, int]
    """The size of each day file."""
    head: bytes | None


def extent(directory: str) -> Extent:
    """Return the present extent of the log.

    Raises:
        StateError: the directory cannot be read.
    """
    # Read the head first, so a line that is appended now can only leave it behind, never ahead.
    head = reader.content(directory, "head", HEAD_BYTES)
    return Extent(reader.sizes(directory), head)


def verify(  # noqa: PLR0913 - each is a separate source, and any may be missing
    directory: str,
    keys: Iterable[Secret],
    pin: bytes | None,
    *,
    since: str | None = None,
    witness: Iterable[str] = (),
    boot: str | None = None,
    seen: Extent | None = None,
    why: str = "",
) -> Verdict:
    """Verify the log.

    Args:
        directory: The audit directory, or a copy of it.
        keys: The available audit keys.
        pin: The content of the pin.
        since: Skip the days before this one, such as `2026-11-22`.
        witness: Lines of the system log; other lines are ignored.
        boot: The boot of this machine, if the log is from this machine.
        seen: The extent to verify. Later lines are left out.
        why: Why no key is available, if so.

    Raises:
        StateError: a file cannot be read.
    """
    seen = seen or extent(directory)
    known = by_id(keys)
    end = End(known, boot)
    end.add(HEAD, seen.head)
    end.add(PIN, pin)
    for text in witness:
        end.add_witness(text)
    files = seen.files
    if since is not None:
        # If no line is newer, verify at least the last day.
        since = min(since, max(files, default=since)[_DAY])
        files = _from(directory, files, since)
    chain = _ChainCheck(known, end, since)
    for number, line in reader.in_sequence(directory, files):
        chain.add(number, line)
    return chain.verdict(len(files), why)


def _from(directory: str, files: Mapping[str, int], since: str) -> dict[str, int]:
    """Return the files from that day on, and older ones with later lines (clock set back)."""
    later = {name: size for name, size in files.items() if name[_DAY] >= since}
    firsts = [next(reader.forward(directory, *each), None) for each in later.items()]
    start = min((line.seq for line in firsts if line and line.seq), default=0)
    for name, size in files.items():
        if start and name not in later:
            last = next((x.seq for x in reader.backward(directory, name, size) if x.seq), 0)
            if last > start:
                later[name] = size
    return later


class _ChainCheck:
    """Check the lines, one after the other."""

    def __init__(self, keys: Mapping[str, Secret], end: End, since: str | None) -> None:
        self._keys = keys
        self._end = end
        self._since = since
        self._findings: list[Observation] = []
        self._results: Counter[Result] = Counter()
        self._told: Counter[str] = Counter()
        self._first: Ties | None = None
        self._start: Observation | None = None
        """The finding that the log does not begin with line 1, until a line explains it."""
        self._last = (0, NO_LINE)
        """Number and digest of the last line in order."""
        self._unvouched = 0
        self._unknown: set[str] = set()
        self._lines = self._without = self._torn = 0

    def add(self, number: int, line: Line) -> None:
        """Check the next line."""
        if not line.whole and len(line.data) <= LONGEST_LINE:
            self._torn += 1
            return
        found = ties(line.data)
        seq = line.seq if found is None else found.seq
        place = Observation("edited", "", line.file, number, seq)
        early = found is not None and self._since is not None and found.time[_DAY] < self._since
        if early and self._first is None:
            return  # an early line of an older file, which is read only for its later lines
        self._lines += 1
        if found is None:
            self._find(place, "it is not a line that keylease writes")
            return
        if found.time[_DAY] != line.file[_DAY]:
            self._find(place, "it is not in the file of its day")
        own = self._judge(place, found, line.data)
        if found.event == _UNVOUCHED:
            message = "when it was written, neither head nor pin knew the end of the log before it"
            self._find(place._replace(result="pin-missing"), message)
        digested = digest(line.data)
        if self._first is None:
            self._begin(place, found)
        else:
            self._follow(place, found, own)
        if own and found.event == "audit.rotated":
            self._explain(own)
        name = self._end.refuted(found.seq, digested)
        if name is not None:
            self._find(place, f"{name} says that line {found.seq} is another one")
        if found.seq > self._last[0]:
            self._last = (found.seq, digested)

    def verdict(self, days: int, why: str) -> Verdict:
        """Return the verdict after the last line."""
        if self._start is not None:
            self._find(self._start)
        no_place = Observation("key-missing", "")
        if not self._keys:
            because = f" ({why})" if why else ""
            message = f"no audit key is at hand{because}, so only the links were checked"
            self._find(no_place, message)
        for name in sorted(self._unknown) if self._keys else ():
            message = f"the audit key {name}, under which lines were written, is not at hand"
            self._find(no_place, message)
        if self._unvouched:
            many = "s" if self._unvouched > 1 else ""
            message = f"the last {self._unvouched} line{many} were written without the audit key"
            self._find(no_place, message)
        for each in self._end.close(self._last[0]):
            self._find(each)
        return Verdict(
            result=max(self._results, key=EXIT_CODES.__getitem__, default="ok"),
            findings=tuple(self._findings),
            total=self._results.total(),
            lines=self._lines,
            days=days,
            first=self._first and self._first.seq,
            last=self._last[0] or None,
            without_mac=self._without,
            torn=self._torn,
            told={name: self._told[name] for name in _TOLD},
            since=self._since,
        )

    def _judge(self, place: Observation, found: Ties, line: bytes) -> dict[str, Any]:
        """Check the MAC. For a line about the log itself return the event's own fields."""
        key = self._keys.get(found.key or "")
        told = found.event in _TOLD
        if told:
            self._told[found.event] += 1
        try:
            # A valid MAC proves every byte, so only other lines need parsing.
            own = parse(line).extra if told or found.key is None else {}
        except LineError:
            self._find(place, "it is not a line that keylease writes")
            return {}
        if found.key is None:
            self._without += 1
            self._unvouched += 1
            return {}
        self._unvouched = 0
        if key is None:
            if len(self._unknown) < _MOST_KEYS:
                self._unknown.add(found.key)
        elif not fits(found, line, key):
            self._find(place, "it does not have the MAC that the audit key gives it")
            return {}
        return own

    def _begin(self, place: Observation, found: Ties) -> None:
        self._first = found
        if found.seq == 1:
            if found.prev != NO_LINE:
                self._find(place, "it is line 1 and follows another")
        elif self._since is None:
            message = f"lines 1 to {found.seq - 1} are missing, and no line reports their removal"
            self._start = place._replace(result="gap", message=message)

    def _follow(self, place: Observation, found: Ties, own: dict[str, Any]) -> None:
        seq, digested = self._last
        missing = found.seq - seq - 1
        if missing < 0:
            self._find(place, f"it says it is line {found.seq}, and comes after line {seq}")
        elif missing:
            lost = f"{missing} line{'s are' if missing > 1 else ' is'} missing before it"
            if found.event == "audit.truncated" and own.get("lost") == missing:
                place = place._replace(result="truncated")
                self._find(place, f"{lost}, as was noticed when it was written")
            else:
                self._find(place._replace(result="gap"), lost)
        elif found.prev != digested:
            self._find(place, f"it was not written after the line {seq} that is there")

    def _explain(self, own: dict[str, Any]) -> None:
        """Accept an `audit.rotated` line as the reason why the log does not begin with line 1."""
        removed = own.get("removed")
        if not isinstance(removed, dict) or self._first is None or self._start is None:
            return
        through, before = removed.get("through"), self._first.seq - 1
        # After a crash during the removal, the log begins within the removed range.
        within = type(through) is int and through > before
        if within or (through == before and removed.get("digest") == self._first.prev):
            self._start = None

    def _find(self, finding: Observation, message: str = "") -> None:
        self._results[finding.result] += 1
        if len(self._findings) < MOST_FINDINGS:
            self._findings.append(finding._replace(message=message or finding.message))
