"""One day's file: its first number, its last line, and the repair after a crash.

The caller holds the audit lock.
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
"""Follows the name of the day file in the name of a torn piece of it."""
_LARGEST_SEQ: Final = 1 << 62
"""A larger number is forged. The next number still fits into a head."""
_SEQ_BYTES: Final = len(LINE_PREFIX) + 21


class LastLine(NamedTuple):
    """The last line of a file, or of all files."""

    seq: int
    digest: str


def mend(
    directory: Directory, name: str, in_time: Callable[[], None]
) -> tuple[LastLine | None, int]:
    """Return the file's last line, and the number of half-written lines set aside.

    A crash leaves at most the beginning of one line, and any number of zeros after it. Both go into
    one file, with the zeros as a hole.

    Args:
        directory: The audit directory.
        name: The day file.
        in_time: Called repeatedly; raises when the time is over.

    Raises:
        StateError: the last line is not one of keylease's, or the system refuses.
    """
    size, end = directory.size(name) or 0, directory.content_end(name, in_time)
    tail = directory.read_tail(name, LONGEST_LINE, end=end) or b""
    torn = tail[tail.rfind(b"\n") + 1 :]
    whole = end - len(torn)
    if whole and torn == tail:
        # This is longer than any line, so no crash left it.
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
    """Move a torn line and the zeros after it into a separate file."""
    # The name has a digest of the content. After a crash before the truncation this step repeats
    # with the same name; the piece of another crash gets another name.
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
