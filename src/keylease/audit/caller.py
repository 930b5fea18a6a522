"""The calling process and its parent, as far as the system reports them.

This is advisory, because a process can choose its own parent and name. It helps a reader of the
audit log and decides nothing. The entrances read it once for each call.
"""

from __future__ import annotations

import os
import sys
from typing import Final

from keylease.model import Caller

if sys.platform == "linux":
    # The kernel's Documentation/admin-guide/devices.txt: major 4 has the consoles and, from minor
    # 64 on, the serial lines; 136 to 143 have 256 pseudo terminals each.
    _CONSOLE: Final = 4
    _SERIAL: Final = 64
    _PSEUDO: Final = range(136, 144)

    def caller_of(pid: int) -> Caller:
        """Return a calling process."""
        numbers = stat_numbers(pid)
        parent, terminal = _origin(numbers)
        executables = _executable(pid), _executable(parent)
        return Caller(pid, *executables, terminal, _began(numbers))

    def _origin(numbers: list[int]) -> tuple[int | None, str | None]:
        """Return the parent and the terminal from the fourth and the seventh field."""
        match numbers:
            case [parent, _, _, device, *_]:
                return parent, _terminal(device)
        return None, None

    def _began(numbers: list[int]) -> str:
        # Empty if /proc is not mounted or the process has ended.
        return "".join(map(str, numbers[18:]))

    def _executable(pid: int | None) -> str | None:
        # proc(5): /proc/PID/exe is not readable for other users' processes or ended ones.
        try:
            return None if pid is None else os.readlink(f"/proc/{pid}/exe")
        except OSError:
            return None

    def stat_numbers(pid: int) -> list[int]:
        """Return fields 4 to 22 of /proc/PID/stat; an empty list if it cannot be read.

        proc_pid_stat(5): the fourth is the parent, the seventh the terminal, the 22nd the start
        time in ticks since boot. The second, the name, may contain anything; it ends at the last
        parenthesis.
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

    def caller_of(pid: int) -> Caller:
        """Return the caller; this platform reports only its id."""
        return Caller(pid, None, None, None)
