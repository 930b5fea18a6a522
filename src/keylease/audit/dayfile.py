"""One day's file: the number it begins with, the line it ends with, and what a crash left of one.

The audit lock is held by the caller.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final, NamedTuple

from keylease.audit.line import LINE_PREFIX, LONGEST_LINE, digest
from keylease.errors import StateError

if TYPE_CHECKING:
    from collections.abc import Callable

    from keylease.statefile import Directory

TORN: Final = ".torn-"
"""What follows the name of a day file in that of a piece set aside of it."""
_LARGEST_SEQ: Final = 1 << 62
"""No line has a number as large, so one that has was made up. The next has room in a head."""
_SEQ_BYTES: Final = len(LINE_PREFIX) + 21


class LastLine(NamedTuple):
    """The last line of a file, or of all files."""

    seq: int
    digest: str


def mend(
    directory: Directory, name: str, in_time: Callable[[], None]
) -> tuple[LastLine | None, int]:
    """Return the file's last line, and how many half-written ones were set aside to find it.

    A crash leaves one beginning of a line at the most, and behind it any number of zeros. Both go
    into one file, in which the zeros are a hole.

    Args:
        directory: The audit directory.
        name: The day file.
        in_time: Called again and again meanwhile; it raises when that takes too long.

    Raises:
        StateError: the last line is not one of keylease's, or the system refuses.
    """
    size, end = directory.size(name) or 0, directory.content_end(name, in_time)
    tail = directory.read_tail(name, LONGEST_LINE, end=end) or b""
    torn = tail[tail.rfind(b"\n") + 1 :]
    whole = end - len(torn)
    if whole and torn == tail:
        # No crash has left as much: it is longer than any line.
        refusal = _foreign("last", name)
        raise refusal
    if whole < size:
        _set_aside(directory, name, torn, whole, size)
        tail = directory.read_tail(name, LONGEST_LINE, end=whole) or b""
    last = tail[tail.rfind(b"\n", 0, -1) + 1 :]
    return _last_line(name, last) if whole else None, int(whole < size)


def first_seq(directory: Directory, name: str) -> int:
    """Return the number of the file's first line.

    Raises:
        StateError: the first line is not one of keylease's, or the system refuses.
    """
    start = directory.read_start(name, _SEQ_BYTES) or b""
    number, comma, _ = start.removeprefix(LINE_PREFIX).partition(b",")
    if not start.startswith(LINE_PREFIX) or not comma or not number.isdigit():
        refusal = _foreign("first", name)
        raise refusal
    return int(number)


def _set_aside(directory: Directory, name: str, torn: bytes, start: int, size: int) -> None:
    """Move what a crash left from a place on, and the zeros behind it, into a file of its own."""
    # Named by what is in it: a crash before the next step repeats this one, and what another crash
    # left at the same place is kept beside it.
    aside = f"{name}{TORN}{start}-{digest(torn)[:16]}"
    directory.replace(aside, torn, zeros=size - start - len(torn))
    directory.truncate(name, start)


def _last_line(name: str, line: bytes) -> LastLine:
    try:
        seq = json.loads(line)["seq"]
    except (ValueError, TypeError, KeyError, RecursionError):
        seq = None
    if type(seq) is not int or not 0 < seq < _LARGEST_SEQ:
        refusal = _foreign("last", name)
        raise refusal
    return LastLine(seq, digest(line))


def _foreign(which: str, name: str) -> StateError:
    msg = f"the {which} line of audit/{name} is not one of keylease's"
    return StateError(msg, f"look at audit/{name}, then move it out of audit")
