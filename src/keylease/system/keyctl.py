"""The kernel's keyrings, by system calls: what keychain and shares of Linux have in common.

keyctl(2) and add_key(2) have no wrappers in the C library, and the ones of libkeyutils are not
installed everywhere. Nothing here decides: each call raises `OSError`, as a wrapper would.

Never the session keyring: adding a key to a session keyring that does not exist makes one of this
process alone, and with it the process loses the possession of `@u`.
"""

from __future__ import annotations

import ctypes
import errno
import os
import sys
from typing import Final, NamedTuple

from keylease.secrets.memory import allocate, secure_clear
from keylease.secrets.secret import Secret

# keyctl(2) and linux/keyctl.h.
PROCESS_KEYRING: Final = -2
USER_KEYRING: Final = -4
KEYCTL_GET_KEYRING_ID: Final = 0
KEYCTL_UPDATE: Final = 2
KEYCTL_SETPERM: Final = 5
KEYCTL_LINK: Final = 8
KEYCTL_UNLINK: Final = 9
KEYCTL_SEARCH: Final = 10
KEYCTL_READ: Final = 11
KEYCTL_SET_TIMEOUT: Final = 15
KEYCTL_INVALIDATE: Final = 21

UNKNOWN: Final = 0
"""The error number of a machine on which nothing was tried; the message says which."""

# keyctl_setperm(3): everything for whoever possesses the key and for every process of the same
# user. Without the second half, a process in a session keyring of its own (a systemd service, some
# logins by ssh) gets EACCES. Nothing is given away by it: such a process could link `@u` and
# possess the key anyway. Group and others have nothing.
PERMISSIONS: Final = 0x3F3F0000


class Syscalls(NamedTuple):
    """The numbers of add_key(2) and keyctl(2) on one architecture."""

    add_key: int
    keyctl: int


_GENERIC: Final = Syscalls(217, 219)
_X86_32: Final = Syscalls(286, 288)
_ARM: Final = Syscalls(309, 311)
_POWER: Final = Syscalls(269, 271)
_S390: Final = Syscalls(278, 280)
_MIPS_O32: Final = Syscalls(4280, 4282)
_MIPS_N64: Final = Syscalls(5239, 5241)

# syscall(2); the numbers are those of arch/*/**/syscall*.tbl and asm-generic/unistd.h. What counts
# is the process: a 32-bit Python on a 64-bit kernel uses the 32-bit numbers, and uname(2) may still
# name the 64-bit machine.
SYSCALLS: Final = {
    ("x86_64", 64): Syscalls(248, 250),
    ("x86_64", 32): _X86_32,
    ("i386", 32): _X86_32,
    ("i486", 32): _X86_32,
    ("i586", 32): _X86_32,
    ("i686", 32): _X86_32,
    ("aarch64", 64): _GENERIC,
    ("aarch64", 32): _ARM,
    ("armv8l", 32): _ARM,
    ("armv7l", 32): _ARM,
    ("armv6l", 32): _ARM,
    ("armv5tel", 32): _ARM,
    ("riscv64", 64): _GENERIC,
    ("riscv32", 32): _GENERIC,
    ("loongarch64", 64): _GENERIC,
    ("ppc64le", 64): _POWER,
    ("ppc64", 64): _POWER,
    ("ppc64", 32): _POWER,
    ("ppc", 32): _POWER,
    ("s390x", 64): _S390,
    ("mips64", 64): _MIPS_N64,
    ("mips", 32): _MIPS_O32,
}

# keyctl(2): an expired key and a revoked one are still found until the kernel collects them, and
# neither can ever be read again.
if sys.platform == "linux":
    ABSENT: Final = frozenset({errno.ENOKEY, errno.EKEYEXPIRED, errno.EKEYREVOKED})
else:
    ABSENT: Final = frozenset[int]()

# ENOSYS: a kernel without CONFIG_KEYS, or a sandbox that hides the calls. EPERM: a seccomp filter;
# the calls themselves report a lack of permission as EACCES.
MISSING: Final = frozenset({errno.ENOSYS, errno.EPERM, errno.EOPNOTSUPP})


class Calls:
    """The system calls. Each raises `OSError` as the C library's wrappers would."""

    def __init__(self) -> None:
        self._syscalls = syscalls()
        self._syscall = ctypes.CDLL(None, use_errno=True).syscall
        self._syscall.restype = ctypes.c_long

    def possess(self) -> None:
        """Link `@u` into the process keyring, so that this thread possesses what is in it.

        No other process sees that link. A thread that was started before and a forked child do not
        have it.
        """
        number = self._syscalls.keyctl
        self._call(number, KEYCTL_LINK, USER_KEYRING, PROCESS_KEYRING, possess=False)

    def keyring(self) -> int:
        """Return the serial number of `@u`, which is made if it is not there."""
        return self.keyctl(KEYCTL_GET_KEYRING_ID, USER_KEYRING, 1)

    def find(self, name: str) -> int | None:
        """Return the serial number of the key of that name in `@u`, or `None` if none is alive."""
        try:
            return self.keyctl(KEYCTL_SEARCH, USER_KEYRING, b"user", name.encode("ascii"), 0)
        except OSError as error:
            if error.errno in ABSENT:
                return None
            raise

    def read(self, name: str, length: int) -> Secret | None:
        """Return the key of that name in `@u`, or `None` if none is alive.

        Raises:
            ValueError: it is not `length` bytes long.
        """
        serial = self.find(name)
        return None if serial is None else self.read_serial(serial, length)

    def read_serial(self, serial: int, length: int) -> Secret | None:
        """Return the key of that serial number, as `read` does."""
        # One byte more than a key, to tell a longer value; keyctl_read(3) returns the whole length.
        buffer = allocate(length + 1)
        try:
            found = self.keyctl(KEYCTL_READ, serial, _address(buffer), len(buffer))
            if found != length:
                msg = f"a key of {found} bytes, expected {length}"
                raise ValueError(msg)
            return Secret(buffer[:length])
        except OSError as error:
            # It can go between the search and the read; then it is absent like any other.
            if error.errno in ABSENT:
                return None
            raise
        finally:
            secure_clear(buffer)

    def update(self, serial: int, payload: bytearray) -> bool:
        """Replace what a key holds, and return whether it is alive."""
        return self._if_alive(KEYCTL_UPDATE, serial, _address(payload), len(payload))

    def set_timeout(self, serial: int, seconds: int) -> bool:
        """Let a key die in so many seconds, and return whether it is alive."""
        return self._if_alive(KEYCTL_SET_TIMEOUT, serial, seconds)

    def add(self, name: str, payload: bytearray | memoryview, keyring: int) -> int:
        """Add a key of type `user` and return its serial number."""
        number = self._syscalls.add_key
        return self._call(
            number, b"user", name.encode("ascii"), _address(payload), len(payload), keyring
        )

    def keyctl(self, operation: int, *arguments: int | bytes | ctypes.Array[ctypes.c_char]) -> int:
        """Do one operation on a key or a keyring."""
        return self._call(self._syscalls.keyctl, operation, *arguments)

    def _if_alive(self, operation: int, *arguments: int | ctypes.Array[ctypes.c_char]) -> bool:
        try:
            self.keyctl(operation, *arguments)
        except OSError as error:
            if error.errno in ABSENT:
                return False
            raise
        return True

    def _call(
        self, *arguments: int | bytes | ctypes.Array[ctypes.c_char], possess: bool = True
    ) -> int:
        # syscall(2) is variadic: every number has to be widened here, or its upper half is junk.
        words = [ctypes.c_long(word) if isinstance(word, int) else word for word in arguments]
        result = int(self._syscall(*words))
        if result >= 0:
            return result
        number = ctypes.get_errno()
        if number == errno.EACCES and possess:
            # Keys with `PERMISSIONS` need no possession. A new key does, to be given these.
            self.possess()
            return self._call(*arguments, possess=False)
        raise OSError(number, os.strerror(number))


def _address(buffer: bytearray | memoryview) -> ctypes.Array[ctypes.c_char]:
    """Lend the buffer itself to a call: no copy of a key is made."""
    return (ctypes.c_char * len(buffer)).from_buffer(buffer)


def syscalls() -> Syscalls:
    """Return the numbers of the running process.

    Raises:
        OSError: `UNKNOWN`, if this is not Linux or a machine whose numbers are not known here.
    """
    if sys.platform != "linux":
        msg = f"the Linux kernel keyring is not on this platform ({sys.platform})"
        raise OSError(UNKNOWN, msg)
    machine, bits = os.uname().machine, 64 if sys.maxsize > 2**32 else 32
    numbers = SYSCALLS.get((machine, bits))
    if numbers is None:
        msg = f"the system call numbers of {bits}-bit {machine} are not known to keylease"
        raise OSError(UNKNOWN, msg)
    return numbers
