"""Read lines from the log for a consumer: those of a time range, or those after a position.

Nothing is verified here and no key is needed: the consumer can check the links and MACs itself. A
position is a number and a digest, so that a consumer can continue after a restart, and notices if
its line was changed or removed.
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
"""Maximum bytes of a cursor file."""
_POSITION: Final = re.compile(rb"([1-9]\d{0,18}) ([0-9a-f]{64})\n", re.ASCII)
_TIME: Final = re.compile(rb'\{"seq":\d{1,19},"time":"([0-9T:.-]{26}Z)"', re.ASCII)
_LOST: Final = (
    "lines were removed or changed, see: keylease audit verify; to start with the oldest line, "
    "remove the cursor file"
)


class Position(NamedTuple):
    """The last line that a consumer has read."""

    seq: int
    digest: str | None = None
    """The digest of the line, if known."""

    def pack(self) -> bytes:
        """Return the content of a cursor file."""
        return f"{self.seq} {self.digest}\n".encode("ascii")


def read_position(data: bytes) -> Position:
    """Return the position in a cursor file.

    Raises:
        StateError: `Position.pack` did not write it.
    """
    found = _POSITION.fullmatch(data)
    if found is None:
        msg = "the cursor file is not valid: expected a number and a digest"
        raise StateError(msg, "remove it to start with the oldest line, or use --after SEQ")
    return Position(int(found[1]), found[2].decode("ascii"))


def position_of(line: Line) -> Position | None:
    """Return the position of that line, if it has a number."""
    return None if line.seq is None else Position(line.seq, digest(line.data))


class Lines:
    """Lines in the order of the chain.

    Args:
        directory: The audit directory.
        after: The last line that the consumer has read; `None` for all lines.
        since_ns: The beginning of the range, by the wall clock.
        until_ns: The end of the range, exclusive.
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
        """Number of lines after the position that were removed before the consumer read them."""

    def there(self) -> Iterator[Line]:
        """Yield the present lines, without one that is being written.

        Raises:
            StateError: a file cannot be read, or the log no longer has the position.
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
                self._places[line.file] = line.start  # half-written, now or by a crash

    def follow(self) -> Callable[[], Iterator[Line]]:
        """Return a function that yields, at each call, the lines that are new since `there`."""
        return reader.Follower(self._directory, self._places).look

    def _reaching(self, files: Mapping[str, int], seq: int) -> dict[str, int]:
        """Return the files with that line or a later one. Within a file the numbers grow."""
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
            msg = f"the log ends before line {after.seq}, which was exported already"
            raise StateError(msg, _LOST)

    def _check(self, after: Position, line: Line, seq: int) -> None:
        if seq > after.seq:
            self.missing = seq - after.seq - 1
        elif after.digest is not None and digest(line.data) != after.digest:
            msg = f"line {seq} is not the one that was exported under this number"
            raise StateError(msg, _LOST)

    def _within(self, line: Line) -> bool:
        """Return whether the line is in the range. A line without a time is."""
        if self._since is None and self._until is None:
            return True
        found = _TIME.match(line.data)
        return found is None or (
            (self._since is None or found[1] >= self._since)
            and (self._until is None or found[1] < self._until)
        )


class Records:
    """The records of lines. Invalid lines are counted and left out.

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
