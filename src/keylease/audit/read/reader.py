"""Read the day files: forwards, backwards, in the order of the chain, and as they grow.

Bytes only, at most a few blocks at a time. Nothing is locked or verified here. It also reads a copy
in any directory, so owner and mode do not matter: the MACs show whether a file was changed.
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
"""Bytes of one read."""
DAY_FILE: Final = re.compile(r"\d{4}-\d\d-\d\d\.jsonl", re.ASCII)
"""The name of a day file. Other files in the directory are ignored."""
_DAY_DIGITS: Final = len("2026-11-22")
_SEQ: Final = re.compile(rb'\{"seq":([1-9][0-9]{0,18}),')
# open(2): do not follow a link, and do not wait for a FIFO. Windows has neither flag, but needs
# O_BINARY to keep line ends.
_FLAGS: Final = (
    os.O_RDONLY
    | getattr(os, "O_NOFOLLOW", 0)
    | getattr(os, "O_NONBLOCK", 0)
    | getattr(os, "O_CLOEXEC", 0)
    | getattr(os, "O_BINARY", 0)
)


class Line(NamedTuple):
    """One line in its file."""

    file: str
    start: int
    """The offset of its first byte in the file."""
    data: bytes
    """The line with its line feed. Without a line feed it is torn or too long."""

    @property
    def whole(self) -> bool:
        """Whether it ends with a line feed."""
        return self.data.endswith(b"\n")

    @property
    def seq(self) -> int | None:
        """The number in the line, not verified."""
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
        msg = f"cannot list the audit log: {error.strerror}"
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
    """Yield the lines of the days of a range, by day and then in the order of the file.

    Args:
        directory: The audit directory.
        since_ns: The beginning by the wall clock. Whole days are read, so check the times.
        until_ns: The end.
        reverse: Newest first.

    Raises:
        StateError: a file cannot be read.
    """
    found = days(directory, since_ns=since_ns, until_ns=until_ns)
    for name, size in sorted(found.items(), reverse=reverse):
        yield from (backward if reverse else forward)(directory, name, size)


def content(directory: str, name: str, limit: int) -> bytes | None:
    """Return the first bytes of a small file, or `None` if it does not exist.

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
                # Too long for a line. Yield its beginning once, and skip the rest.
                if not excess:
                    yield Line(name, place, rest)
                excess, place, rest = True, place + len(rest), b""
        if rest and not excess:
            yield Line(name, place, rest)


def backward(directory: str, name: str, size: int) -> Iterator[Line]:
    """Yield the lines before an offset of a file, last first. The first one yielded may be torn.

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
            # Find the line feed before the last line, so skip the last byte.
            while end and (cut := data.rfind(b"\n", 0, end - 1)) >= 0:
                yield Line(name, place + cut + 1, data[cut + 1 : end])
                end = cut + 1
            # No line is as long as two blocks, so the end of such data is enough to refuse it.
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

    After a wall clock was set back, lines are in an older day's file, so this alternates between
    files. Within a file the order is kept, so a line that was moved is yielded where it is now.

    Args:
        directory: The audit directory.
        files: Each day file, and how many bytes of it to read.

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
    """Read the lines that are appended to the log.

    Args:
        directory: The audit directory.
        places: The offset in each day file to start at; 0 for other files.
    """

    def __init__(self, directory: str, places: Mapping[str, int]) -> None:
        self._directory = directory
        self._places = dict(places)

    def look(self) -> Iterator[Line]:
        """Yield the new complete lines. A half-written line is left for the next call.

        Files are read in the order of their first new lines. A file that became shorter is followed
        from its new end.

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
    """Open one day file for reading. Refuse anything but a regular file."""
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
            msg = f"audit/{name} is not a regular file"
            raise UnsafeStateError(msg, "find out who put it there, then move it away")
        yield fd
    except OSError as error:
        msg = f"audit/{name} cannot be read: {error.strerror}"
        raise StateError(msg) from error
    finally:
        os.close(fd)
