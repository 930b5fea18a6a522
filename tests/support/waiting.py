"""Waits for a state of another process, each with a deadline.

`/proc/PID/wchan` would name what a process waits for, but an ordinary user reads `0` there for a
process that is not dumpable, as ours are. Every user can see its state in `/proc/PID/stat` and what
is left in a pipe.
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
        what: The name of the awaited thing, for the message.
        seconds: How long.

    Raises:
        TimeoutError: the time is over; the message names `what`.
    """
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        yield
        time.sleep(_PAUSE_SECONDS)  # the pause between two checks of the state
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
    """Return the state letter of proc_pid_stat(5): `R`unning, `S`leeping, s`T`opped, `Z`ombie."""
    with open(f"/proc/{pid}/stat", "rb") as file:  # noqa: PTH123 - as short as what it reads
        # The name before it is in parentheses and may contain any character, even spaces.
        return file.read().rpartition(b")")[2].split()[0].decode("ascii")


def wait_until_it_wants_more(pid: int, pipe: int, seconds: float = WAIT_SECONDS) -> None:
    """Return when a process has emptied the pipe and sleeps, so it waits for more.

    Write a part of the message first. A process may also sleep before it reads, but then that part
    is still in the pipe.

    Args:
        pid: The process.
        pipe: Either end of the pipe that it reads.
        seconds: How long.

    Raises:
        TimeoutError: this did not happen in time.
        AssertionError: the process ended instead.
    """
    for _ in polls(f"process {pid} reads what it was sent and asks for more", seconds):
        # In this order: the pipe stays empty, so the process sleeps after reading.
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
    """Return whether the process is gone or a zombie."""
    try:
        os.kill(pid, 0)
        return process_state(pid) in "ZX"
    except (ProcessLookupError, FileNotFoundError):
        return True
