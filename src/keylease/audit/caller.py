"""Who called: the parent process and its parent, as far as the system tells.

Advisory, and said to be so: a process can choose its own parent and name. It helps a person who
reads the log, and decides nothing.
"""

from __future__ import annotations

import os
import sys
from typing import NamedTuple


class Caller(NamedTuple):
    """The process that asked, and the one that started it."""

    pid: int
    executable: str | None
    parent: str | None


if sys.platform == "linux":

    def caller() -> Caller:
        """Return the caller of this process."""
        pid = os.getppid()
        return Caller(pid, _executable(pid), _executable(_parent(pid)))

    def _executable(pid: int | None) -> str | None:
        # proc(5): /proc/PID/exe is not readable across users, nor for what already ended.
        try:
            return None if pid is None else os.readlink(f"/proc/{pid}/exe")
        except OSError:
            return None

    def _parent(pid: int) -> int | None:
        # proc(5): the fourth field of /proc/PID/stat; the second, the name, may hold anything but
        # ends at the last parenthesis.
        try:
            with open(f"/proc/{pid}/stat", "rb") as file:
                return int(file.read().rpartition(b")")[2].split()[1])
        except (OSError, IndexError, ValueError):
            return None

else:

    def caller() -> Caller:
        """Return the caller of this process; this platform tells its id only."""
        return Caller(os.getppid(), None, None)
