"""The pin: a copy of the log's head outside the state directory.

Removing lines from the files does not change the pin. It is in a volatile store: the kernel's user
keyring, else the runtime directory of the login, on Windows the Credential Manager. If no store
keeps it, releases go on, and `keylease audit verify` reports that it is missing.

NOTE: a program of the same user can write the pin, but without the audit key it cannot make one
that verifies.
"""

from __future__ import annotations

import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Final, Protocol

from keylease.audit.head import HEAD_BYTES
from keylease.errors import StateError

if TYPE_CHECKING:
    from collections.abc import Callable

    from keylease.statefile import Directory
    from keylease.system.keyctl import Calls


class PinStore(Protocol):
    """A store for the pin. No call raises for a failure of the store."""

    def read(self) -> bytes | None:
        """Return the pin; `None` if there is none or it cannot be read."""

    def write(self, data: bytes) -> bool:
        """Replace the pin, and return whether it was stored."""


class Nowhere:
    """No store for a pin: macOS has no volatile one."""

    def read(self) -> bytes | None:
        """Return none."""
        return None

    def write(self, data: bytes) -> bool:
        """Keep none."""
        del data
        return False


class FirstOf:
    """Several stores, used in order.

    Args:
        stores: The stores, best first.
    """

    def __init__(self, *stores: PinStore) -> None:
        self._stores = stores

    def read(self) -> bytes | None:
        """Return the pin of the first store that has one."""
        return next((data for store in self._stores if (data := store.read()) is not None), None)

    def write(self, data: bytes) -> bool:
        """Write to the first store that keeps it."""
        return any(store.write(data) for store in self._stores)


class RuntimeDirPin:
    """The pin in a file of the login's runtime directory.

    Args:
        make: Opens the directory, creating it if needed, or raises `StateError`.
        find: Opens an existing directory, or raises `StateError`.
    """

    _NAME: Final = "audit.pin"

    def __init__(self, make: Callable[[], Directory], find: Callable[[], Directory]) -> None:
        self._make = make
        self._find = find

    def read(self) -> bytes | None:
        """Return what the file holds."""
        try:
            with self._find() as directory:
                return directory.read(self._NAME, HEAD_BYTES)
        except StateError:
            return None

    def write(self, data: bytes) -> bool:
        """Overwrite the file in place."""
        try:
            with self._make() as directory:
                directory.rewrite(self._NAME, data)
        except StateError:
            return False
        return True


if sys.platform == "linux":
    from keylease.system.keyctl import KEYCTL_INVALIDATE, KEYCTL_SETPERM, PERMISSIONS, USER_KEYRING

    class KernelPin:
        """The pin in the kernel's user keyring, without a timeout.

        Args:
            name: Identifies the log of the pin.
            calls: Makes the system calls; `keylease.system.keyctl.Calls`.
        """

        def __init__(self, name: str, calls: Callable[[], Calls]) -> None:
            self._name = f"keylease:audit-pin:{name}"
            self._open = calls
            self._calls: Calls | None = None
            self._serial: int | None = None

        def read(self) -> bytes | None:
            """Return what the key holds."""
            try:
                calls = self._kernel()
                self._serial = serial = calls.find(self._name)
                found = None if serial is None else calls.read_serial(serial, HEAD_BYTES)
            except (OSError, ValueError):
                return None
            return None if found is None else bytes(found.reveal())

        def write(self, data: bytes) -> bool:
            """Update the key, or add it."""
            try:
                calls = self._kernel()
                serial, self._serial = self._serial, None
                if serial is not None and calls.update(serial, bytearray(data)):
                    return True
                # add_key(2) updates an existing key of that name and keeps its permissions.
                is_new = calls.find(self._name) is None
                serial = calls.add(self._name, bytearray(data), USER_KEYRING)
                if is_new:
                    calls.keyctl(KEYCTL_SETPERM, serial, PERMISSIONS)
            except OSError:
                return False
            return True

        def remove(self) -> None:
            """Remove the key, if it exists. The kernel would keep it until the next reboot."""
            with suppress(OSError):
                serial = self._kernel().find(self._name)
                if serial is not None:
                    # keyctl_invalidate(3): no process finds it any more. A key that is unlinked can
                    # still be updated for a moment.
                    self._kernel().keyctl(KEYCTL_INVALIDATE, serial)

        def _kernel(self) -> Calls:
            self._calls = self._calls or self._open()
            return self._calls


if sys.platform == "win32":
    from keylease.shares.windows import read_for_session, write_for_session

    class WindowsPin:
        """The pin in Credential Manager, for the logon session.

        Args:
            name: Identifies the log of the pin.
        """

        def __init__(self, name: str) -> None:
            self._name = f"keylease:audit-pin:{name}"

        def read(self) -> bytes | None:
            """Return what the credential holds."""
            try:
                return bytes(read_for_session(self._name, HEAD_BYTES).reveal())
            except StateError:
                return None

        def write(self, data: bytes) -> bool:
            """Write the credential anew."""
            try:
                write_for_session(self._name, memoryview(bytearray(data)))
            except StateError:
                return False
            return True
