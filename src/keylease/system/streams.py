"""A helper's streams: a message from stdin, an answer to stdout, a word to who looks at stderr.

A secret goes from the descriptor into the memory for secrets, and from there to the other one,
without a copy on the way. What is meanwhile printed by others reaches nobody.
"""

from __future__ import annotations

import io
import math
import os
import select
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from keylease.errors import StateError
from keylease.secrets.memory import allocate, joined, secure_clear

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from keylease.model import Refusal

STDOUT: Final = 1
_STDIN: Final = 0
_STDERR: Final = 2
_FIRST_ROOM: Final = 4096
"""Bytes; what most peers send fits in, and more room is made for more."""
_MOST_PARTS: Final = 1024
"""IOV_MAX of Linux, macOS and the BSDs: what one writev(2) takes."""


class PeerGoneError(StateError):
    """The peer's stdin or stdout is not there, or not any more."""

    hint = "nothing was released or stored"


def read(limit: int, complete: Callable[[memoryview], bool]) -> memoryview:
    """Return the peer's message, which the caller clears.

    Args:
        limit: The most bytes that are read.
        complete: Returns whether what was read needs no more, though the peer's end is still open.

    Raises:
        PeerGoneError: stdin cannot be read.
    """
    room, length = allocate(_FIRST_ROOM), 0
    try:
        stdin = io.FileIO(_STDIN, closefd=False)
        while length < limit and not complete(room[:length]):
            if length == len(room):
                room = _doubled(room)
            count = stdin.readinto(room[length:limit])
            if count is None:
                # Somebody made the pipe non-blocking: nothing yet is not the end. Half a message
                # that is taken for a whole one can name another host.
                select.select([_STDIN], [], [])
            elif not count:
                break
            else:
                length += count
    except OSError as error:
        secure_clear(room)
        msg = f"the request cannot be read from stdin: {error.strerror}"
        raise PeerGoneError(msg) from None
    return room[:length]


def _doubled(room: memoryview) -> memoryview:
    """Return twice the room with what is in it, and clear the smaller one."""
    larger = allocate(2 * len(room))
    larger[: len(room)] = room
    secure_clear(room)
    return larger


@contextmanager
def undisturbed() -> Iterator[int]:
    """Yield a descriptor for the answer that nobody else knows, and silence the usual ones.

    git believes each line that it reads. A keychain library that prints, or a browser that is
    started by one, would else name another host or add a line to the password.

    Raises:
        PeerGoneError: there is no stdout.
    """
    try:
        stdout = os.dup(STDOUT)
    except OSError as error:
        msg = f"the answer cannot be written to stdout: {error.strerror}"
        raise PeerGoneError(msg, "") from None
    saved = {STDOUT: stdout}
    null = os.open(os.devnull, os.O_WRONLY)
    try:
        if sys.stderr is not None and not _is_read_by_a_person():
            saved[_STDERR] = os.dup(_STDERR)
        for descriptor in saved:
            os.dup2(null, descriptor)
        yield stdout
    finally:
        for descriptor, original in saved.items():
            os.dup2(original, descriptor)
            os.close(original)
        os.close(null)


def tell(refusal: Refusal) -> None:
    """Tell a person why, if one looks or the peer shows it to one.

    Other programs are told nothing: git's t0303 compares stderr too.
    """
    if sys.stderr is not None and (refusal.always or _is_read_by_a_person()):
        try:
            sys.stderr.write(refusal.message)
            sys.stderr.flush()
        except OSError:
            # Nobody is there to be told, and the peer goes by the exit code all the same. What is
            # left in the buffer would be written once more at the end, and change that code.
            with open(os.devnull, "wb") as null:
                os.dup2(null.fileno(), _STDERR)


def await_reader(stdout: int, seconds: float | None) -> None:
    """Return when the peer takes something of an answer, or when the time for it is over.

    A write into a full pipe cannot be called back: it goes on once there is room, however late.

    Args:
        stdout: Where the answer goes.
        seconds: How long to wait; not at all if not given.
    """
    if seconds is not None and sys.platform != "win32":
        poll = select.poll()
        poll.register(stdout, select.POLLOUT)
        poll.poll(math.ceil(seconds * 1000))


def write(parts: Sequence[bytes | memoryview], stdout: int) -> None:
    """Write the whole answer, in one call as far as the system lets it be one.

    Raises:
        PeerGoneError: stdout does not take it.
    """
    left = [memoryview(part) for part in parts if part]
    try:
        while left:
            try:
                written = _write_some(stdout, left)
            except BlockingIOError:
                select.select([], [stdout], [])
                continue
            while left and written >= len(left[0]):
                written -= len(left.pop(0))
            if written:
                left[0] = left[0][written:]
    except OSError as error:
        msg = f"the answer cannot be written to stdout: {error.strerror}"
        raise PeerGoneError(msg, "") from None


if sys.platform == "win32":

    def _write_some(stdout: int, parts: Sequence[memoryview]) -> int:
        """Write what the system takes of a copy, for it takes one piece only."""
        whole = joined(parts)
        try:
            return os.write(stdout, whole)
        finally:
            secure_clear(whole)

else:

    def _write_some(stdout: int, parts: Sequence[memoryview]) -> int:
        """Write what the system takes, out of the parts themselves."""
        return os.writev(stdout, parts[:_MOST_PARTS])


def _is_read_by_a_person() -> bool:
    return sys.stderr is not None and sys.stderr.isatty()
