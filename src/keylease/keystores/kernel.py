"""The Linux kernel keyring, for machines without a desktop.

A key of type `user` in the user keyring `@u`: every session of the same user in the same user
namespace finds it, no daemon is involved, and a reboot forgets it. There is no lock and no prompt.

Never the session keyring: adding a key to a session keyring that does not exist makes one of this
process alone, and with it the process loses the possession of `@u`. Never a fallback: a filter that
forbids the calls (as container engines do by default) is an answer, and it is said.
"""

from __future__ import annotations

import ctypes
import errno
import os
import sys
from typing import TYPE_CHECKING, Final, NamedTuple, NoReturn

from keylease.errors import KeychainMissingError, KeychainUnavailableError
from keylease.keystores.base import KEY_BYTES, Item
from keylease.secret import Secret, wipe

if TYPE_CHECKING:
    from collections.abc import Sequence

    from keylease.clock import Deadline
    from keylease.keystores.base import KeyStore

# keyctl(2) and linux/keyctl.h.
PROCESS_KEYRING: Final = -2
USER_KEYRING: Final = -4
KEYCTL_SETPERM: Final = 5
KEYCTL_LINK: Final = 8
KEYCTL_UNLINK: Final = 9
KEYCTL_SEARCH: Final = 10
KEYCTL_READ: Final = 11
KEYCTL_INVALIDATE: Final = 21

# keyctl_setperm(3): everything for whoever possesses the key and for every process of the same
# user. Without the second half, a process in a session keyring of its own (a systemd service, some
# logins by ssh) gets EACCES. Nothing is given away by it: such a process could link `@u` and
# possess the key anyway. Group and others have nothing.
PERMISSIONS: Final = 0x3F3F0000


class _Syscalls(NamedTuple):
    """The numbers of add_key(2) and keyctl(2) on one architecture."""

    add_key: int
    keyctl: int


_GENERIC: Final = _Syscalls(217, 219)
_X86_32: Final = _Syscalls(286, 288)
_ARM: Final = _Syscalls(309, 311)
_POWER: Final = _Syscalls(269, 271)
_S390: Final = _Syscalls(278, 280)
_MIPS_O32: Final = _Syscalls(4280, 4282)
_MIPS_N64: Final = _Syscalls(5239, 5241)

# syscall(2); the numbers are those of arch/*/**/syscall*.tbl and asm-generic/unistd.h. What counts
# is the process: a 32-bit Python on a 64-bit kernel uses the 32-bit numbers, and uname(2) may still
# name the 64-bit machine.
SYSCALLS: Final = {
    ("x86_64", 64): _Syscalls(248, 250),
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

REASONS: Final = {
    errno.ENOSYS: "this kernel, or the sandbox, has no key management",
    errno.EPERM: "a sandbox forbids the calls of key management (seccomp, as in most containers)",
    errno.EOPNOTSUPP: "this kernel's key management is too old",
    errno.EACCES: "the permissions of the key do not let this process use it",
    errno.EDQUOT: "the user's quota of keys is used up (see /proc/key-users)",
    errno.ENOMEM: "the kernel is out of memory",
}


class KernelKeyStore:
    """The kernel's keyring of this user.

    Nothing here waits: the calls are answered by the kernel at once, so the deadline is not used.
    """

    name = "kernel"
    title = "Linux kernel keyring"
    survives_reboot = False

    def instance(self) -> str:
        """Return the user namespace and the user.

        user_namespaces(7) and user-keyring(7): each user namespace has user keyrings of its own, so
        that in a rootless container every key of outside is simply not there.

        Raises:
            KeychainMissingError: this is not Linux.
            KeychainUnavailableError: /proc does not tell the user namespace.
        """
        if sys.platform != "linux":
            _refuse_platform()
        try:
            namespace = os.stat("/proc/self/ns/user").st_ino
        except OSError as error:
            msg = f"the user namespace cannot be told: /proc/self/ns/user: {error.strerror}"
            raise KeychainUnavailableError(msg, "mount /proc, then try again") from error
        # The kernel goes by the real user, not the effective one.
        return f"user-namespace={namespace} uid={os.getuid()}"

    def probe(self) -> None:
        """Put a key into the process keyring, which ends with this process.

        Raises:
            KeychainMissingError: the calls are not there or are forbidden.
            KeychainUnavailableError: they are there, and no key can be put.
        """
        calls = _Calls()
        try:
            calls.possess()
            serial = calls.add(b"keylease:probe", bytearray(1), PROCESS_KEYRING)
            calls.keyctl(KEYCTL_UNLINK, serial, PROCESS_KEYRING)
        except OSError as error:
            _refuse(error, missing=KeychainMissingError)

    def read(self, items: Sequence[Item]) -> list[Secret | None]:
        """Return each key, or `None` where there is none, or one that has expired or was revoked.

        Raises:
            KeychainUnavailableError: a call failed, or a key is not one of keylease's.
        """
        calls = _Calls()
        keys: list[Secret | None] = []
        try:
            calls.possess()
            keys.extend(calls.read(item) for item in items)
        except OSError as error:
            _refuse(error)
        return keys

    def add(self, item: Item, key: Secret) -> None:
        """Put the key into `@u` with permissions for all sessions of the user, and read it back.

        add_key(2) would update a key of the same name in place. The search before it is no lock:
        the callers that share a vault hold the vault's own.

        Raises:
            KeychainUnavailableError: it is there already, or was not put.
        """
        calls = _Calls()
        try:
            calls.possess()
            if calls.find(item) is not None:
                msg = f"{item.service} is in the kernel keyring already; it is never overwritten"
                raise KeychainUnavailableError(msg)
            serial = calls.add(item.service.encode("ascii"), key.reveal(), USER_KEYRING)
            calls.keyctl(KEYCTL_SETPERM, serial, PERMISSIONS)
            stored = calls.read(item)
        except OSError as error:
            _refuse(error)
        if stored is None or not stored.matches(key):
            msg = f"{item.service} was put into the kernel keyring and is not read back as it was"
            raise KeychainUnavailableError(msg)

    def delete(self, item: Item) -> bool:
        """Invalidate the key, so that it is gone at once and not when the kernel collects it.

        Raises:
            KeychainUnavailableError: a call failed, or the key is still there.
        """
        calls = _Calls()
        try:
            calls.possess()
            serial = calls.find(item)
            if serial is None:
                return False
            # keyctl_invalidate(3): unlike a revoked key it is not found any more, by anybody.
            calls.keyctl(KEYCTL_INVALIDATE, serial)
            left = calls.find(item)
        except OSError as error:
            _refuse(error)
        if left is not None:
            msg = f"{item.service} was deleted from the kernel keyring and is still there"
            raise KeychainUnavailableError(msg)
        return True

    def removal_command(self, item: Item) -> str:
        """Return the keyctl(1) command.

        NOTE: not `keyctl purge`, which finds nothing in a session with a keyring of its own.
        """
        return f"keyctl invalidate %user:{item.service}"


class _Calls:
    """The system calls. Each raises `OSError` as the C library's wrappers would."""

    def __init__(self) -> None:
        self._syscalls = _syscalls()
        self._syscall = ctypes.CDLL(None, use_errno=True).syscall
        self._syscall.restype = ctypes.c_long

    def possess(self) -> None:
        """Link `@u` into the process keyring, so that this thread possesses what is in it.

        No other process sees that link. It is made for each operation because a thread has it only
        if it was started later, and a forked child never has.
        """
        self.keyctl(KEYCTL_LINK, USER_KEYRING, PROCESS_KEYRING)

    def find(self, item: Item) -> int | None:
        """Return the serial number of the item's key, or `None` if there is none alive."""
        name = item.service.encode("ascii")
        try:
            return self.keyctl(KEYCTL_SEARCH, USER_KEYRING, b"user", name, 0)
        except OSError as error:
            if error.errno in ABSENT:
                return None
            raise

    def read(self, item: Item) -> Secret | None:
        """Return the item's key, or `None` if there is none alive."""
        serial = self.find(item)
        if serial is None:
            return None
        # One byte more than a key, to tell a longer value; keyctl_read(3) returns the whole length.
        buffer = bytearray(KEY_BYTES + 1)
        try:
            length = self.keyctl(KEYCTL_READ, serial, _address(buffer), len(buffer))
            if length != KEY_BYTES:
                msg = f"{item.service} in the kernel keyring holds no key of {KEY_BYTES} bytes"
                raise KeychainUnavailableError(msg, "it was not put there by keylease: look at it")
            with memoryview(buffer) as view:
                return Secret(view[:KEY_BYTES])
        except OSError as error:
            # It can go between the search and the read; then it is absent like any other.
            if error.errno in ABSENT:
                return None
            raise
        finally:
            wipe(buffer)

    def add(self, name: bytes, payload: bytearray | memoryview, keyring: int) -> int:
        """Add a key of type `user` and return its serial number."""
        number = self._syscalls.add_key
        return self._call(number, b"user", name, _address(payload), len(payload), keyring)

    def keyctl(self, operation: int, *arguments: int | bytes | ctypes.Array[ctypes.c_char]) -> int:
        """Do one operation on a key or a keyring."""
        return self._call(self._syscalls.keyctl, operation, *arguments)

    def _call(self, *arguments: int | bytes | ctypes.Array[ctypes.c_char]) -> int:
        # syscall(2) is variadic: every number has to be widened here, or its upper half is junk.
        words = [ctypes.c_long(word) if isinstance(word, int) else word for word in arguments]
        result = int(self._syscall(*words))
        if result < 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
        return result


def _address(buffer: bytearray | memoryview) -> ctypes.Array[ctypes.c_char]:
    """Lend the buffer itself to a call: no copy of a key is made."""
    return (ctypes.c_char * len(buffer)).from_buffer(buffer)


def _syscalls() -> _Syscalls:
    """Return the numbers of the running process.

    Raises:
        KeychainMissingError: this is not Linux, or a machine whose numbers are not known here.
    """
    if sys.platform != "linux":
        _refuse_platform()
    machine, bits = os.uname().machine, 64 if sys.maxsize > 2**32 else 32
    syscalls = SYSCALLS.get((machine, bits))
    if syscalls is None:
        msg = f"the system call numbers of {bits}-bit {machine} are not known to keylease"
        raise KeychainMissingError(msg)
    return syscalls


def _refuse_platform() -> NoReturn:
    msg = f"the Linux kernel keyring is not on this platform ({sys.platform})"
    raise KeychainMissingError(msg)


def _refuse(
    error: OSError, missing: type[KeychainUnavailableError] = KeychainUnavailableError
) -> NoReturn:
    """Say why, as our own error. `missing` is raised where the whole keyring is not there."""
    number = error.errno or 0
    reason = REASONS.get(number, error.strerror)
    kind = missing if number in MISSING else KeychainUnavailableError
    msg = f"the Linux kernel keyring cannot be used: {reason}"
    raise kind(msg) from error


def open_keystore(name: str, deadline: Deadline) -> KeyStore:
    """Return the kernel keyring. There is one, and it never waits."""
    del name, deadline
    return KernelKeyStore()
