"""The pin: a copy of the log's head where whoever takes lines from the log does not reach by files.

It is in what forgets at logout or reboot: the kernel's user keyring, else the runtime directory of
the login, on Windows the Credential Manager. A pin that cannot be kept is no reason to refuse a
release; without one, `keylease audit verify` says so.

NOTE: a program of the same user can write it as this one does. What it cannot do without the audit
key is make one that verifies.
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
    """Where a pin is kept. Neither call raises for what the place does not do."""

    def read(self) -> bytes | None:
        """Return the pin; `None` if there is none, or none that can be reached."""

    def write(self, data: bytes) -> bool:
        """Put a pin in the place of the one before, and return whether it is kept."""


class Nowhere:
    """No place for a pin: macOS has none that forgets."""

    def read(self) -> bytes | None:
        """Return none."""
        return None

    def write(self, data: bytes) -> bool:
        """Keep none."""
        del data
        return False


class FirstOf:
    """The first place that keeps it, of several.

    Args:
        stores: The places, best first.
    """

    def __init__(self, *stores: PinStore) -> None:
        self._stores = stores

    def read(self) -> bytes | None:
        """Return the pin of the first place that has one."""
        return next((data for store in self._stores if (data := store.read()) is not None), None)

    def write(self, data: bytes) -> bool:
        """Write to the first place that keeps it."""
        return any(store.write(data) for store in self._stores)


class RuntimeDirPin:
    """The pin in a file of the login's runtime directory.

    Args:
        make: Opens the directory, made if need be, or raises `StateError`.
        find: Opens it if it is there, or raises `StateError`.
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
        """The pin in the kernel's user keyring, without a time-out.

        Args:
            name: What tells the pins of two logs apart.
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
                # add_key(2): a key of that name in that keyring is updated, and keeps the rest.
                is_new = calls.find(self._name) is None
                serial = calls.add(self._name, bytearray(data), USER_KEYRING)
                if is_new:
                    calls.keyctl(KEYCTL_SETPERM, serial, PERMISSIONS)
            except OSError:
                return False
            return True

        def remove(self) -> None:
            """Take the key away, if it is there. The kernel would keep it until the next start."""
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
        """The pin in Credential Manager, for the length of the logon session.

        Args:
            name: What tells the pins of two logs apart.
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
