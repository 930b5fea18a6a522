"""Waits for a state of another process, each with a deadline.

`/proc/PID/wchan` would say what a process waits for, but an ordinary user gets `0` there for a
process that is not dumpable, as ours are. Its state in `/proc/PID/stat` and what is left in a pipe
can be seen by every user.
"""

from __future__ import annotations

import os
import struct
import sys
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

WAIT_SECONDS = 60
"""Enough for every step of a test on a machine that is busy with other things."""
_PAUSE_SECONDS = 0.001


def polls(what: str, seconds: float = WAIT_SECONDS) -> Iterator[None]:
    """Yield until the caller leaves the loop, with a short pause after each time.

        for _ in polls("the file"):
            if path.exists():
                break

    Args:
        what: What is waited for, for the message.
        seconds: How long.

    Raises:
        TimeoutError: the time is over; the message names `what`.
    """
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        yield
        time.sleep(_PAUSE_SECONDS)  # between two looks: the loop waits for the state, not for this
    msg = f"waited {seconds} s in vain: {what}"
    raise TimeoutError(msg)


def wait_until(condition: Callable[[], object], what: str, seconds: float = WAIT_SECONDS) -> None:
    """Return when `condition` holds.

    Raises:
        TimeoutError: it did not hold in time; the message names `what`.
    """
    for _ in polls(what, seconds):
        if condition():
            return


def process_state(pid: int) -> str:
    """Return the letter of proc_pid_stat(5): `R` runs, `S` sleeps, `T` is stopped, `Z` is over."""
    with open(f"/proc/{pid}/stat", "rb") as file:  # noqa: PTH123 - as short as what it reads
        # The name before it is in parentheses and may have any character, spaces too.
        return file.read().rpartition(b")")[2].split()[0].decode("ascii")


def wait_until_it_wants_more(pid: int, pipe: int, seconds: float = WAIT_SECONDS) -> None:
    """Return when a process has read all that is in the pipe and sleeps: it waits for the rest.

    Write a part of the message first. A process that has not yet come to read sleeps at times too,
    but then the part is still in the pipe.

    Args:
        pid: The process.
        pipe: An end of the pipe that it reads, the writing one too.
        seconds: How long.

    Raises:
        TimeoutError: it did not come to that in time.
        AssertionError: the process ended instead.
    """
    for _ in polls(f"process {pid} reads what it was sent and asks for more", seconds):
        # In this order: what has been read stays read, so it sleeps after reading.
        if _unread(pipe) == 0:
            state = process_state(pid)
            assert state not in "ZX", f"process {pid} has ended instead of reading on"
            if state == "S":
                return
        else:
            assert process_state(pid) not in "ZX", f"process {pid} has ended without reading"


def _unread(pipe: int) -> int:
    if sys.platform == "win32":
        msg = "Windows does not tell what is in a pipe this way"
        raise NotImplementedError(msg)
    import fcntl  # noqa: PLC0415 - the deadlines of this module are for every platform
    import termios  # noqa: PLC0415

    count: int = struct.unpack("i", fcntl.ioctl(pipe, termios.FIONREAD, b"\0" * 4))[0]
    return count


def ended(pid: int) -> bool:
    """Return whether the process is gone, or is dead and only not yet collected by its parent."""
    try:
        os.kill(pid, 0)
        return process_state(pid) in "ZX"
    except (ProcessLookupError, FileNotFoundError):
        return True
