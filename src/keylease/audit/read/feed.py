"""Take lines out of the log: those of a time, or those after the last one that was taken.

Nothing is judged here and no key is asked for: what is taken says itself whether it fits, by the
links and MACs in it. A consumer keeps its place by number and digest, so that it goes on after a
restart where it was, and notices when that place is no more what it was.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NamedTuple

from keylease.audit.line import LineError, digest, format_time, parse
from keylease.audit.read import reader
from keylease.errors import StateError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from keylease.audit.line import Record
    from keylease.audit.read.reader import Line

POSITION_BYTES: Final = 128
"""No cursor file is longer."""
_POSITION: Final = re.compile(rb"([1-9]\d{0,18}) ([0-9a-f]{64})\n", re.ASCII)
_TIME: Final = re.compile(rb'\{"seq":\d{1,19},"time":"([0-9T:.-]{26}Z)"', re.ASCII)
_LOST: Final = (
    "lines were taken away or changed, see: keylease audit verify; to begin with the oldest line, "
    "remove the cursor file"
)


class Position(NamedTuple):
    """The last line that a consumer has taken."""

    seq: int
    digest: str | None = None
    """Of its bytes, if that is known."""

    def pack(self) -> bytes:
        """Return the content of a cursor file."""
        return f"{self.seq} {self.digest}\n".encode("ascii")


def read_position(data: bytes) -> Position:
    """Return what a cursor file says.

    Raises:
        StateError: it is not what `Position.pack` writes.
    """
    found = _POSITION.fullmatch(data)
    if found is None:
        msg = "the cursor file does not hold what keylease writes there: a number and a digest"
        raise StateError(msg, "remove it to begin with the oldest line, or use --after SEQ")
    return Position(int(found[1]), found[2].decode("ascii"))


def position_of(line: Line) -> Position | None:
    """Return the place after that line, if it has a number."""
    return None if line.seq is None else Position(line.seq, digest(line.data))


class Lines:
    """Lines in the order of the chain.

    Args:
        directory: The audit directory.
        after: The last line that was taken; `None` for all there are.
        since_ns: The beginning of the time that is asked for, as the wall clock was.
        until_ns: The end, which is not in it.
    """

    def __init__(
        self,
        directory: str,
        after: Position | None = None,
        since_ns: int | None = None,
        until_ns: int | None = None,
    ) -> None:
        self._directory = directory
        self._after = after
        self._range = (since_ns, until_ns)
        self._since = None if since_ns is None else format_time(since_ns).encode("ascii")
        self._until = None if until_ns is None else format_time(until_ns).encode("ascii")
        self._places: dict[str, int] = {}
        self.missing = 0
        """How many lines after the place are not in the log: removed before anybody took them."""

    def there(self) -> Iterator[Line]:
        """Yield the lines that are there now, without one that is being written.

        Raises:
            StateError: a file cannot be read, or the place is no more in the log.
        """
        self._places = reader.sizes(self._directory)
        since_ns, until_ns = self._range
        found = reader.days(self._directory, since_ns=since_ns, until_ns=until_ns)
        files = {name: self._places.get(name, 0) for name in found}
        after = self._after
        if after is not None and after.seq > 0:
            files = self._reaching(files, after.seq)
            lines = self._after_place(files, after)
        else:
            lines = (line for _, line in reader.in_sequence(self._directory, files))
        for line in lines:
            if line.whole or line.start + len(line.data) < self._places[line.file]:
                if self._within(line):
                    yield line
            else:
                self._places[line.file] = line.start  # it is being written, or a crash left it

    def follow(self) -> Callable[[], Iterator[Line]]:
        """Return what yields, at each call, the lines that are new since `there` was read."""
        return reader.Follower(self._directory, self._places).look

    def _reaching(self, files: Mapping[str, int], seq: int) -> dict[str, int]:
        """Return the files that have that line or a later one. Within a file numbers only grow."""
        kept = {}
        for name, size in files.items():
            ends = reader.backward(self._directory, name, size)
            last = next((line.seq for line in ends if line.whole and line.seq is not None), None)
            if last is None or last >= seq:
                kept[name] = size
        return kept

    def _after_place(self, files: Mapping[str, int], after: Position) -> Iterator[Line]:
        met = False
        for _, line in reader.in_sequence(self._directory, files):
            seq = line.seq
            if seq is not None and seq < after.seq:
                continue
            if seq is not None and not met:
                met = True
                self._check(after, line, seq)
            if seq != after.seq:
                yield line
        if not met:
            msg = f"the log ends before line {after.seq}, which was taken already"
            raise StateError(msg, _LOST)

    def _check(self, after: Position, line: Line, seq: int) -> None:
        if seq > after.seq:
            self.missing = seq - after.seq - 1
        elif after.digest is not None and digest(line.data) != after.digest:
            msg = f"line {seq} is not the one that was taken under this number"
            raise StateError(msg, _LOST)

    def _within(self, line: Line) -> bool:
        """Return whether the line is of the time that is asked for. What has no time is given."""
        if self._since is None and self._until is None:
            return True
        found = _TIME.match(line.data)
        return found is None or (
            (self._since is None or found[1] >= self._since)
            and (self._until is None or found[1] < self._until)
        )


class Records:
    """The records of lines. What is no line of the log is counted, and left out.

    Args:
        lines: The lines.
    """

    def __init__(self, lines: Iterator[Line]) -> None:
        self._lines = lines
        self.unreadable = 0

    def __iter__(self) -> Iterator[Record]:
        """Yield each record."""
        for line in self._lines:
            try:
                record = parse(line.data)
            except LineError:
                self.unreadable += 1
                continue
            yield record
