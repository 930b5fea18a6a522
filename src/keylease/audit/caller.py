"""Who called: the parent process and its parent, as far as the system tells.

Advisory, and said to be so: a process can choose its own parent and name. It helps a person who
reads the log, and decides nothing.
"""

from __future__ import annotations

import os
import sys
from typing import Final, NamedTuple


class Caller(NamedTuple):
    """The process that asked, and the one that started it."""

    pid: int
    executable: str | None
    parent: str | None
    terminal: str | None
    """The terminal that the process that asked can be reached at."""


if sys.platform == "linux":
    # Documentation/admin-guide/devices.txt of the kernel: 4 are the consoles and, from 64 on,
    # the serial lines; 136 to 143 the pseudo terminals, 256 of them each.
    _CONSOLE: Final = 4
    _SERIAL: Final = 64
    _PSEUDO: Final = range(136, 144)

    def caller() -> Caller:
        """Return the caller of this process."""
        pid = os.getppid()
        parent, terminal = _stat(pid)
        return Caller(pid, _executable(pid), _executable(parent), terminal)

    def _executable(pid: int | None) -> str | None:
        # proc(5): /proc/PID/exe is not readable across users, nor for what already ended.
        try:
            return None if pid is None else os.readlink(f"/proc/{pid}/exe")
        except OSError:
            return None

    def _stat(pid: int) -> tuple[int | None, str | None]:
        """Return the process's parent and terminal, the fourth and the seventh field."""
        match stat_numbers(pid):
            case [parent, _, _, device, *_]:
                return parent, _terminal(device)
        return None, None

    def stat_numbers(pid: int) -> list[int]:
        """Return the fields 4 to 22 of /proc/PID/stat; none if the process does not tell them.

        proc_pid_stat(5): the fourth is the parent, the seventh the terminal, the 22nd when the
        process began, in ticks since boot. The second, the name, may hold anything but ends at the
        last parenthesis.
        """
        try:
            with open(f"/proc/{pid}/stat", "rb") as file:
                fields = file.read().rpartition(b")")[2].split()
            return list(map(int, fields[1:20]))
        except (OSError, ValueError):
            return []

    def _terminal(device: int) -> str | None:
        # proc(5): "The minor device number is contained in the combination of bits 31 to 20 and 7
        # to 0; the major device number is in bits 15 to 8". 0 is none.
        major, minor = device >> 8 & 0xFF, device >> 12 & 0xFFF00 | device & 0xFF
        if major in _PSEUDO:
            return f"/dev/pts/{(major - _PSEUDO.start) * 256 + minor}"
        if major == _CONSOLE:
            return f"/dev/tty{minor}" if minor < _SERIAL else f"/dev/ttyS{minor - _SERIAL}"
        return f"{major}:{minor}" if device else None

else:

    def caller() -> Caller:
        """Return the caller of this process; this platform tells its id only."""
        return Caller(os.getppid(), None, None, None)
