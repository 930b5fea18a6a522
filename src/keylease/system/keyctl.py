"""System calls for the kernel's keyrings, shared by the keychain and the shares of Linux.

keyctl(2) and add_key(2) have no wrappers in the C library, and libkeyutils is not installed
everywhere. Each call here raises `OSError`, as a wrapper would.

Never use the session keyring: adding a key to one that does not exist makes a session keyring for
this process alone, and the process loses possession of `@u`.
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
"""The error number on an unsupported machine, where no call is made; the message names it."""

# keyctl_setperm(3): all rights for the possessor and for every process of the same user. Without
# the user's rights, a process with a session keyring of its own (a systemd service, some logins by
# ssh) gets EACCES. They reveal nothing more: such a process could link `@u` and possess the key
# anyway. Group and others have no rights.
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

# syscall(2); the numbers are those of arch/*/**/syscall*.tbl and asm-generic/unistd.h. They depend
# on the process: a 32-bit Python on a 64-bit kernel uses the 32-bit numbers, and uname(2) may still
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

# keyctl(2): an expired or revoked key is still found until the kernel collects it, but it can never
# be read again.
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
        """Link `@u` into the process keyring, so that this thread possesses the keys in it.

        Other processes, threads that started before and forked children do not have the link.
        """
        number = self._syscalls.keyctl
        self._call(number, KEYCTL_LINK, USER_KEYRING, PROCESS_KEYRING, possess=False)

    def keyring(self) -> int:
        """Return the serial number of `@u`; make `@u` if it is missing."""
        return self.keyctl(KEYCTL_GET_KEYRING_ID, USER_KEYRING, 1)

    def find(self, name: str) -> int | None:
        """Return the serial number of the live key of that name in `@u`, or `None`."""
        try:
            return self.keyctl(KEYCTL_SEARCH, USER_KEYRING, b"user", name.encode("ascii"), 0)
        except OSError as error:
            if error.errno in ABSENT:
                return None
            raise

    def read(self, name: str, length: int) -> Secret | None:
        """Return the live key of that name in `@u`, or `None`.

        Raises:
            ValueError: it is not `length` bytes long.
        """
        serial = self.find(name)
        return None if serial is None else self.read_serial(serial, length)

    def read_serial(self, serial: int, length: int) -> Secret | None:
        """Return the key of that serial number, as `read` does."""
        # One more byte, to notice a longer value; keyctl_read(3) returns the whole length.
        buffer = allocate(length + 1)
        try:
            found = self.keyctl(KEYCTL_READ, serial, _address(buffer), len(buffer))
            if found != length:
                msg = f"a key of {found} bytes, expected {length}"
                raise ValueError(msg)
            return Secret(buffer[:length])
        except OSError as error:
            # A key that ends between the search and the read is absent like any other.
            if error.errno in ABSENT:
                return None
            raise
        finally:
            secure_clear(buffer)

    def update(self, serial: int, payload: bytearray) -> bool:
        """Replace a key's payload, and return whether the key is alive."""
        return self._if_alive(KEYCTL_UPDATE, serial, _address(payload), len(payload))

    def set_timeout(self, serial: int, seconds: int) -> bool:
        """Let a key expire in `seconds`, and return whether the key is alive."""
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
        # syscall(2) is variadic: without widening, the upper half of each number would be junk.
        words = [ctypes.c_long(word) if isinstance(word, int) else word for word in arguments]
        result = int(self._syscall(*words))
        if result >= 0:
            return result
        number = ctypes.get_errno()
        if number == errno.EACCES and possess:
            # Keys with `PERMISSIONS` need no possession, but setting these on a new key does.
            self.possess()
            return self._call(*arguments, possess=False)
        raise OSError(number, os.strerror(number))


def _address(buffer: bytearray | memoryview) -> ctypes.Array[ctypes.c_char]:
    """Pass the buffer itself to a call, without a copy of the key."""
    return (ctypes.c_char * len(buffer)).from_buffer(buffer)


def syscalls() -> Syscalls:
    """Return the numbers of the running process.

    Raises:
        OSError: `UNKNOWN`, if this is not Linux or the machine is not in `SYSCALLS`.
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
