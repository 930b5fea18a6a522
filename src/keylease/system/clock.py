"""The two clocks of a session's deadlines, and the boot that it belongs to.

`time.monotonic` is wrong for sessions: on Linux it stops in suspend, so a laptop that sleeps over
night would wake with its sessions alive. The clocks here count through suspend.
"""

from __future__ import annotations

import sys
import time
from typing import Protocol

from keylease.errors import StateError
from keylease.model import NANOSECONDS, Moment


class Clock(Protocol):
    """The interface that the session rules need. Tests replace it."""

    def now(self) -> Moment:
        """Read both clocks once."""


class BootClock:
    """The machine's own clocks."""

    def __init__(self) -> None:
        self._boot = _boot()
        self._offset_ns = _offset_ns()

    def now(self) -> Moment:
        """Read both clocks once."""
        return Moment(time.time_ns(), _since_boot_ns() - self._offset_ns, self._boot)


class Deadline:
    """The time that is left for an answer, on the monotonic clock.

    It bounds waiting for locks and keychains within one process. Sessions never use it.

    Args:
        seconds: How long from now.
    """

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds

    def remaining(self) -> float:
        """Return the seconds that are left, never less than zero."""
        return max(0.0, self._end - time.monotonic())


if sys.platform == "linux":

    def _since_boot_ns() -> int:
        # clock_gettime(2): CLOCK_BOOTTIME is CLOCK_MONOTONIC that also counts suspend.
        return time.clock_gettime_ns(time.CLOCK_BOOTTIME)

    def _offset_ns() -> int:
        """Return how far the clock of this time namespace is ahead of the machine's own."""
        # time_namespaces(7): a user may make one, set its clocks, and run a program in it.
        try:
            with open("/proc/self/timens_offsets", "rb") as file:
                lines = [line.split() for line in file]
            offsets = {name: int(s) * NANOSECONDS + int(ns) for name, s, ns in lines}
        except (OSError, ValueError):
            return 0  # a kernel before 5.6 has no such namespaces
        return offsets.get(b"boottime", 0)

    def _boot() -> str:
        # random(4): the kernel makes a new boot_id at each boot.
        try:
            with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
                return file.read().strip().replace("-", "")
        except OSError as error:
            msg = f"cannot identify this boot: /proc/sys/kernel/random/boot_id: {error.strerror}"
            raise StateError(msg, "mount /proc, then try again") from error

elif sys.platform == "darwin":

    def _since_boot_ns() -> int:
        # clock_gettime(3) of macOS: CLOCK_MONOTONIC counts while the system sleeps.
        return time.clock_gettime_ns(time.CLOCK_MONOTONIC)

    def _offset_ns() -> int:
        return 0  # there are no time namespaces here

    def _boot() -> str:
        # sysctl kern.bootsessionuuid: 36 characters and a NUL, new at each boot.
        import ctypes

        libc = ctypes.CDLL(None, use_errno=True)
        size = ctypes.c_size_t(64)
        value = ctypes.create_string_buffer(size.value)
        if libc.sysctlbyname(b"kern.bootsessionuuid", value, ctypes.byref(size), None, 0) != 0:
            msg = "cannot identify this boot: sysctl kern.bootsessionuuid failed"
            raise StateError(msg)
        return value.value.decode("ascii").replace("-", "").lower()

else:  # Windows
    import ctypes
    from ctypes import wintypes

    def _since_boot_ns() -> int:
        # GetTickCount64 counts through sleep and hibernation, in steps of 10 to 16 ms.
        kernel32 = ctypes.WinDLL("kernel32")
        kernel32.GetTickCount64.restype = ctypes.c_ulonglong
        return int(kernel32.GetTickCount64()) * 1_000_000

    def _offset_ns() -> int:
        return 0  # there are no time namespaces here

    class _TimeOfDay(ctypes.Structure):
        """SYSTEM_TIMEOFDAY_INFORMATION in its documented size. Only the first field is read."""

        _fields_ = (("boot_time", wintypes.LARGE_INTEGER), ("reserved", ctypes.c_byte * 40))

    def _boot() -> str:
        # NtQuerySystemInformation(SystemTimeOfDayInformation = 3): the boot time, in 100 ns.
        # NOTE: setting the wall clock changes it and so ends every session, which is safe.
        value = _TimeOfDay()
        ntdll = ctypes.WinDLL("ntdll")
        size = ctypes.sizeof(value)
        if ntdll.NtQuerySystemInformation(3, ctypes.byref(value), size, None) != 0:
            msg = "cannot identify this boot: Windows does not return the boot time"
            raise StateError(msg)
        return f"{value.boot_time & (2**64 - 1):032x}"
