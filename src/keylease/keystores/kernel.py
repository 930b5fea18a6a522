"""The Linux kernel keyring, for machines without a desktop.

Keys have type `user` and are in the user keyring `@u`. Every login of the same user in the same
user namespace finds them. There is no daemon, lock or prompt, and a reboot erases them. If a filter
forbids the calls, as container engines do by default, this store says so and never falls back.
"""

from __future__ import annotations

import errno
import os
import sys
from typing import TYPE_CHECKING, Final, NoReturn

from keylease.errors import KeychainMissingError, KeychainUnavailableError
from keylease.keystores.base import KEY_BYTES, MEMORY, answering
from keylease.system.keyctl import (
    KEYCTL_INVALIDATE,
    KEYCTL_SETPERM,
    KEYCTL_UNLINK,
    MISSING,
    PERMISSIONS,
    PROCESS_KEYRING,
    UNKNOWN,
    USER_KEYRING,
    Calls,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from keylease.keystores.base import Item, KeyStore
    from keylease.secrets.secret import Secret
    from keylease.system.clock import Deadline

REASONS: Final = {
    errno.ENOSYS: "this kernel, or the sandbox, has no key management",
    errno.EPERM: "a sandbox forbids the calls of key management (seccomp, as in most containers)",
    errno.EOPNOTSUPP: "this kernel's key management is too old",
    errno.EACCES: "the permissions of the key do not let this process use it",
    errno.EDQUOT: "the user's quota of keys is used up (see /proc/key-users)",
    errno.ENOMEM: "the kernel is out of memory",
}


@answering
class KernelKeyStore:
    """The kernel's keyring of this user.

    The kernel answers every call at once, so this needs no deadline.
    """

    name = "kernel"
    title = "Linux kernel keyring"
    survives_reboot = False

    def instance(self) -> str:
        """Return the user namespace, the user, and the serial number of the user's keyring.

        user_namespaces(7) and user-keyring(7): each user namespace has its own user keyrings, so a
        rootless container sees no key from outside. Before Linux 5.3 the keyring ended with the
        user's last process, and the next keyring has another number.

        Raises:
            KeychainMissingError: this is not Linux.
            KeychainUnavailableError: /proc does not show the user namespace.
        """
        if sys.platform != "linux":
            msg = f"the Linux kernel keyring is not on this platform ({sys.platform})"
            raise KeychainMissingError(msg)
        try:
            namespace = os.stat("/proc/self/ns/user").st_ino
        except OSError as error:
            msg = f"the user namespace is unknown: /proc/self/ns/user: {error.strerror}"
            raise KeychainUnavailableError(msg, "mount /proc, then try again") from error
        # The kernel uses the real user id, not the effective one.
        return f"user-namespace={namespace} uid={os.getuid()}{_memory()}"

    def probe(self) -> None:
        """Add a key to the process keyring, which ends with this process.

        Raises:
            KeychainMissingError: the calls are missing or forbidden.
            KeychainUnavailableError: the calls exist, but no key can be added.
        """
        try:
            calls = Calls()
            calls.possess()
            serial = calls.add("keylease:probe", bytearray(1), PROCESS_KEYRING)
            calls.keyctl(KEYCTL_UNLINK, serial, PROCESS_KEYRING)
        except OSError as error:
            _refuse(error, missing=KeychainMissingError)

    def read(self, items: Sequence[Item]) -> list[Secret | None]:
        """Return each key, or `None` if it is missing, expired or revoked.

        Raises:
            KeychainUnavailableError: a call failed, or a key is not one of keylease's.
        """
        try:
            calls = Calls()
            return [_read(calls, item) for item in items]
        except OSError as error:
            _refuse(error)

    def add(self, item: Item, key: Secret) -> None:
        """Add the key to `@u` with permissions for all logins of the user, and read it back.

        add_key(2) would update a key of the same name in place, so this searches first. That is no
        lock: callers that share a vault hold the vault's lock.

        Raises:
            KeychainUnavailableError: the key exists already, or was not added.
        """
        try:
            calls = Calls()
            if calls.find(item.service) is not None:
                msg = f"{item.service} is in the kernel keyring already; it is never overwritten"
                raise KeychainUnavailableError(msg)
            serial = calls.add(item.service, key.reveal(), USER_KEYRING)
            calls.keyctl(KEYCTL_SETPERM, serial, PERMISSIONS)
            stored = _read(calls, item)
        except OSError as error:
            _refuse(error)
        if stored is None or not stored.matches(key):
            msg = f"{item.service} was added to the kernel keyring but is not read back unchanged"
            raise KeychainUnavailableError(msg)

    def delete(self, item: Item) -> bool:
        """Invalidate the key, which removes it at once, not when the kernel collects it.

        Raises:
            KeychainUnavailableError: a call failed, or the key is still there.
        """
        try:
            calls = Calls()
            serial = calls.find(item.service)
            if serial is None:
                return False
            # keyctl_invalidate(3): unlike a revoked key, an invalidated one is never found again.
            calls.keyctl(KEYCTL_INVALIDATE, serial)
            left = calls.find(item.service)
        except OSError as error:
            _refuse(error)
        if left is not None:
            msg = f"{item.service} was deleted from the kernel keyring and is still there"
            raise KeychainUnavailableError(msg)
        return True

    def removal_command(self, item: Item) -> str:
        """Return the keyctl(1) command.

        NOTE: `keyctl purge` would find no key in a login with its own session keyring.
        """
        return f"keyctl invalidate %user:{item.service}"


def _memory() -> str:
    """Return the keyring's serial number as a part of `instance`, or "" if it is unknown."""
    try:
        return f"{MEMORY}{Calls().keyring()}"
    except OSError:
        return ""


def _read(calls: Calls, item: Item) -> Secret | None:
    try:
        return calls.read(item.service, KEY_BYTES)
    except ValueError:
        msg = f"{item.service} in the kernel keyring holds no key of {KEY_BYTES} bytes"
        hint = "keylease did not put it there: find out which program did"
        raise KeychainUnavailableError(msg, hint) from None


def _refuse(
    error: OSError, missing: type[KeychainUnavailableError] = KeychainUnavailableError
) -> NoReturn:
    """Raise our own error with the reason; `missing` if the machine has no kernel keyring."""
    number = error.errno
    if number == UNKNOWN:
        raise KeychainMissingError(str(error.strerror)) from error
    reason = REASONS.get(number or 0, error.strerror)
    kind = missing if number in MISSING else KeychainUnavailableError
    msg = f"the Linux kernel keyring cannot be used: {reason}"
    raise kind(msg) from error


def open_keystore(name: str, deadline: Deadline) -> KeyStore:
    """Return the kernel keyring. There is only one, and it never waits."""
    del name, deadline
    return KernelKeyStore()
