"""A helper's streams: the message on stdin, the answer on stdout, a refusal on stderr.

A secret goes from stdin into locked memory, and from there to stdout, without a copy elsewhere.
Output of libraries in between is discarded.
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

STDOUT: Final = 1
_STDIN: Final = 0
_STDERR: Final = 2
_FIRST_ROOM: Final = 4096
"""Bytes. Most messages fit; the buffer grows for longer ones."""
_MOST_PARTS: Final = 1024
"""IOV_MAX of Linux, macOS and the BSDs: the maximum for one writev(2)."""


class PeerGoneError(StateError):
    """The peer's end of stdin or stdout is closed."""

    hint = "nothing was released or stored"


def read(limit: int, complete: Callable[[memoryview], bool]) -> memoryview:
    """Return the peer's message. The caller clears it.

    Args:
        limit: Maximum number of bytes.
        complete: Returns whether the message is complete although the peer's end is still open.

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
                # The pipe is non-blocking and has nothing yet. This is not the end: half a message
                # that is taken for a whole one can name another host.
                select.select([_STDIN], [], [])
            elif not count:
                break
            else:
                length += count
    except OSError as error:
        secure_clear(room)
        msg = f"cannot read the request from stdin: {error.strerror}"
        raise PeerGoneError(msg) from None
    return room[:length]


def _doubled(room: memoryview) -> memoryview:
    """Return a copy in a buffer of twice the size, and clear the smaller one."""
    larger = allocate(2 * len(room))
    larger[: len(room)] = room
    secure_clear(room)
    return larger


@contextmanager
def undisturbed() -> Iterator[int]:
    """Yield a private descriptor for the answer, and send other output to the null device.

    git believes each line that it reads. Output of a keychain library, or of a browser that it
    starts, could name another host or add a line to the password.

    Raises:
        PeerGoneError: stdout is closed.
    """
    try:
        stdout = os.dup(STDOUT)
    except OSError as error:
        msg = f"cannot write the answer to stdout: {error.strerror}"
        raise PeerGoneError(msg, "") from None
    saved = {STDOUT: stdout}
    null = os.open(os.devnull, os.O_WRONLY)
    try:
        if sys.stderr is not None and not is_read_by_a_person():
            saved[_STDERR] = os.dup(_STDERR)
        for descriptor in saved:
            os.dup2(null, descriptor)
        yield stdout
    finally:
        for descriptor, original in saved.items():
            os.dup2(original, descriptor)
            os.close(original)
        os.close(null)


def tell(message: str) -> None:
    """Print the message to stderr, if there is one."""
    if sys.stderr is not None and message:
        try:
            sys.stderr.write(message)
            sys.stderr.flush()
        except OSError:
            # stderr is closed, and the peer needs only the exit code. Discard the buffer: Python
            # would write it again at the end, fail, and change the exit code.
            with open(os.devnull, "wb") as null:
                os.dup2(null.fileno(), _STDERR)


def await_reader(stdout: int, seconds: float | None) -> None:
    """Wait until the peer can take data, or until the time is over.

    A write into a full pipe cannot be cancelled: it continues when there is room, however late.

    Args:
        stdout: The descriptor of the answer.
        seconds: How long to wait; `None` for not at all.
    """
    if seconds is not None and sys.platform != "win32":
        poll = select.poll()
        poll.register(stdout, select.POLLOUT)
        poll.poll(math.ceil(seconds * 1000))


def write(parts: Sequence[bytes | memoryview], stdout: int) -> None:
    """Write the whole answer, in one call if the system allows it.

    Raises:
        PeerGoneError: the peer does not take it.
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
        msg = f"cannot write the answer to stdout: {error.strerror}"
        raise PeerGoneError(msg, "") from None


if sys.platform == "win32":

    def _write_some(stdout: int, parts: Sequence[memoryview]) -> int:
        """Write a joined copy as far as the system takes it; Windows has no writev(2)."""
        whole = joined(parts)
        try:
            return os.write(stdout, whole)
        finally:
            secure_clear(whole)

else:

    def _write_some(stdout: int, parts: Sequence[memoryview]) -> int:
        """Write the parts without a copy, as far as the system takes them."""
        return os.writev(stdout, parts[:_MOST_PARTS])


def is_read_by_a_person() -> bool:
    """Return whether stderr is a terminal, so that a person may read what is told there."""
    return sys.stderr is not None and sys.stderr.isatty()
