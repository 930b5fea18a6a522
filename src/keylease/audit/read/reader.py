"""Read the day files: forwards, backwards, in the order of the chain, and as they grow.

Bytes only, and never more of them at once than a few blocks. Nothing is locked and nothing is
judged; that a line is what somebody wrote is for `verify` to say. It also reads a copy that lies
anywhere, so owner and mode do not matter here: whoever could change a file is found by its MACs.
"""

from __future__ import annotations

import os
import re
import stat
from contextlib import contextmanager, suppress
from heapq import heapify, heappop, heappush
from math import inf
from typing import TYPE_CHECKING, Final, NamedTuple

from keylease.audit.line import LONGEST_LINE, format_time
from keylease.errors import StateError, StateMissingError, UnsafeStateError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

BLOCK: Final = 1 << 18
"""How much is read at once."""
DAY_FILE: Final = re.compile(r"\d{4}-\d\d-\d\d\.jsonl", re.ASCII)
"""The name of a day file. Whatever else is in the directory holds no lines that count."""
_DAY_DIGITS: Final = len("2026-11-22")
_SEQ: Final = re.compile(rb'\{"seq":([1-9][0-9]{0,18}),')
# open(2): a link is not followed, and a FIFO does not hold up who opens it. Windows knows neither,
# and would translate line ends.
_FLAGS: Final = (
    os.O_RDONLY
    | getattr(os, "O_NOFOLLOW", 0)
    | getattr(os, "O_NONBLOCK", 0)
    | getattr(os, "O_CLOEXEC", 0)
    | getattr(os, "O_BINARY", 0)
)


class Line(NamedTuple):
    """One line as it stands in its file."""

    file: str
    start: int
    """The place of its first byte in the file."""
    data: bytes
    """All of it, line feed included. Without one it is torn, or longer than any line is."""

    @property
    def whole(self) -> bool:
        """Whether it ends as a line does."""
        return self.data.endswith(b"\n")

    @property
    def seq(self) -> int | None:
        """The number that it says it has."""
        found = _SEQ.match(self.data)
        return int(found[1]) if found else None


def sizes(directory: str) -> dict[str, int]:
    """Return the size of each day file, oldest day first.

    Raises:
        StateError: the directory cannot be read.
    """
    found = {}
    try:
        for name in sorted(filter(DAY_FILE.fullmatch, os.listdir(directory))):
            with suppress(FileNotFoundError):
                found[name] = os.lstat(os.path.join(directory, name)).st_size
    except FileNotFoundError:
        return {}
    except OSError as error:
        msg = f"the audit log cannot be listed: {error.strerror}"
        raise StateError(msg) from error
    return found


def days(
    directory: str, *, since_ns: int | None = None, until_ns: int | None = None
) -> dict[str, int]:
    """Return the size of each day file that can have lines of the range, oldest day first.

    A line is in the file of the UTC day of its own time.

    Raises:
        StateError: the directory cannot be read.
    """
    first = "" if since_ns is None else format_time(since_ns)[:_DAY_DIGITS]
    last = "9999-12-31" if until_ns is None else format_time(until_ns)[:_DAY_DIGITS]
    found = sizes(directory)
    return {name: found[name] for name in found if first <= name[:_DAY_DIGITS] <= last}


def lines(
    directory: str,
    *,
    since_ns: int | None = None,
    until_ns: int | None = None,
    reverse: bool = False,
) -> Iterator[Line]:
    """Yield the lines of the days of a range, by day and then as they stand in the file.

    Args:
        directory: The audit directory.
        since_ns: The beginning, as the wall clock was; whole days are read, so look at the times.
        until_ns: The end.
        reverse: Newest first.

    Raises:
        StateError: a file cannot be read.
    """
    found = days(directory, since_ns=since_ns, until_ns=until_ns)
    for name, size in sorted(found.items(), reverse=reverse):
        yield from (backward if reverse else forward)(directory, name, size)


def content(directory: str, name: str, limit: int) -> bytes | None:
    """Return the first bytes of a small file, or `None` if it is not there.

    Raises:
        StateError: it cannot be read.
    """
    with suppress(StateMissingError), _opened(directory, name) as fd:
        return os.read(fd, limit)
    return None


def forward(directory: str, name: str, size: int, start: int = 0) -> Iterator[Line]:
    """Yield the lines between two places of a file. The last may be torn.

    Raises:
        StateError: the file cannot be read.
    """
    with _opened(directory, name) as fd:
        os.lseek(fd, start, os.SEEK_SET)
        place, rest, excess = start, b"", False
        while block := os.read(fd, min(BLOCK, max(0, size - place - len(rest)))):
            *whole, rest = (rest + block).split(b"\n")
            for each in whole:
                if not excess:
                    yield Line(name, place, each + b"\n")
                excess = False
                place += len(each) + 1
            if len(rest) > LONGEST_LINE:
                # No line is as long. It is given once, and what follows is passed over.
                if not excess:
                    yield Line(name, place, rest)
                excess, place, rest = True, place + len(rest), b""
        if rest and not excess:
            yield Line(name, place, rest)


def backward(directory: str, name: str, size: int) -> Iterator[Line]:
    """Yield the lines before a place of a file, last line first, which may be torn.

    Raises:
        StateError: the file cannot be read.
    """
    with _opened(directory, name) as fd:
        place, rest = size, b""
        while place > 0:
            length = min(BLOCK, place)
            place -= length
            os.lseek(fd, place, os.SEEK_SET)
            data = os.read(fd, length) + rest
            end = len(data)
            # The line feed before the last line that is left, so the last byte is not looked at.
            while end and (cut := data.rfind(b"\n", 0, end - 1)) >= 0:
                yield Line(name, place + cut + 1, data[cut + 1 : end])
                end = cut + 1
            # No line is as long as two blocks: of such a one the end tells that it is none.
            rest = data[max(0, end - BLOCK) : end]
        if rest:
            yield Line(name, 0, rest)


def span(directory: str, name: str, size: int) -> tuple[int, int]:
    """Return the first and the last number in a file, 0 for each if there is none.

    Raises:
        StateError: the file cannot be read.
    """
    each = (reading(directory, name, size) for reading in (forward, backward))
    first, last = (next((line.seq for line in lines if line.seq), 0) for lines in each)
    return first, last


def in_sequence(directory: str, files: Mapping[str, int]) -> Iterator[tuple[int, Line]]:
    """Yield each line with its number in the file, in the order of the chain.

    A wall clock that was set back has left its lines in an older day's file, so the files take
    turns. Within a file nothing is moved: a line that somebody moved is found where it was put.

    Args:
        directory: The audit directory.
        files: Each day file, and how much of it is read.

    Raises:
        StateError: a file cannot be read.
    """
    turns = []
    for name, size in files.items():
        first = next(forward(directory, name, min(size, LONGEST_LINE)), None)
        if first is not None:
            turns.append((first.seq or 0, name, 0, 0))
    heapify(turns)
    while turns:
        _, name, start, number = heappop(turns)
        limit = turns[0][0] if turns else inf
        for line in forward(directory, name, files[name], start):
            seq = line.seq
            if seq is not None and seq > limit:
                heappush(turns, (seq, name, line.start, number))
                break
            number += 1
            yield number, line


class Follower:
    """What is appended to the log from now on.

    Args:
        directory: The audit directory.
        places: Where to go on in each day file; a file that is not there is read from its start.
    """

    def __init__(self, directory: str, places: Mapping[str, int]) -> None:
        self._directory = directory
        self._places = dict(places)

    def look(self) -> Iterator[Line]:
        """Yield the whole lines that are new. A line that is not finished yet waits.

        Files take turns as their lines do. One that became shorter is gone on with at its end.

        Raises:
            StateError: a file cannot be read.
        """
        found = sizes(self._directory)
        self._places = {name: min(self._places.get(name, 0), found[name]) for name in found}
        grown = {name: size for name, size in found.items() if size > self._places[name]}
        firsts = {}
        for name, size in grown.items():
            first = next(forward(self._directory, name, size, self._places[name]), None)
            firsts[name] = 0 if first is None else first.seq or 0
        for name in sorted(grown, key=firsts.__getitem__):
            for line in forward(self._directory, name, found[name], self._places[name]):
                if not line.whole:
                    break
                self._places[name] = line.start + len(line.data)
                yield line


@contextmanager
def _opened(directory: str, name: str) -> Iterator[int]:
    """Open one day file, for reading only and for nothing but a regular file."""
    try:
        fd = os.open(os.path.join(directory, name), _FLAGS)
    except FileNotFoundError as error:
        msg = f"audit/{name} was removed meanwhile"
        raise StateMissingError(msg, "try again") from error
    except OSError as error:
        msg = f"audit/{name} cannot be read: {error.strerror}"
        raise StateError(msg) from error
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            msg = f"audit/{name} is no regular file"
            raise UnsafeStateError(msg, "find out who put it there, then move it away")
        yield fd
    except OSError as error:
        msg = f"audit/{name} cannot be read: {error.strerror}"
        raise StateError(msg) from error
    finally:
        os.close(fd)
