"""Shares in the Linux kernel keyring, each with the kernel's own time-out.

keyctl_set_timeout(3): after the time-out no process can read the key, not even root's, whether or
not this program ever runs again. The kernel collects the expired key a little later (300 s, see
/proc/sys/kernel/keys/gc_delay).
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from keylease.secrets.secret import Secret
from keylease.shares.base import SHARE_BYTES, ShareUnavailableError
from keylease.system.keyctl import (
    KEYCTL_INVALIDATE,
    KEYCTL_LINK,
    KEYCTL_SET_TIMEOUT,
    KEYCTL_SETPERM,
    KEYCTL_UNLINK,
    PERMISSIONS,
    PROCESS_KEYRING,
    USER_KEYRING,
    Calls,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

# The kernel counts whole seconds of the wall clock and drops the fraction, so a share would expire
# up to a second before its session. The session rules check the exact end; this is the second line.
_ROUNDING_SECONDS: Final = 1
# PROC_USER_INIT_INO of linux/proc_ns.h. Every other user namespace has keyrings of its own. A share
# that is missing there has not expired, so its session must not end.
_FIRST_USER_NAMESPACE: Final = 0xEFFFFFFD


class KernelShares:
    """The shares of this user in the kernel's user keyring."""

    kind = 1
    erases = True

    def __init__(self) -> None:
        self._calls: Calls | None = None
        # The session and the serial number of the share that was read last.
        self._read: tuple[str, int] | None = None

    def create(self, session: str, seconds: int) -> Secret | None:
        """Make a share that has a time-out even if this process dies half-way."""
        share = Secret.random(SHARE_BYTES)
        with self._kernel() as calls:
            # In the process keyring the key ends with the process. It is linked to the user keyring
            # only when it has its time-out.
            serial = calls.add(_name(session), share.reveal(), PROCESS_KEYRING)
            calls.keyctl(KEYCTL_SETPERM, serial, PERMISSIONS)
            calls.keyctl(KEYCTL_SET_TIMEOUT, serial, seconds + _ROUNDING_SECONDS)
            calls.keyctl(KEYCTL_LINK, serial, USER_KEYRING)
            calls.keyctl(KEYCTL_UNLINK, serial, PROCESS_KEYRING)
        return share

    def read(self, session: str) -> Secret | None:
        """Return the share, or `None` if it has expired."""
        with self._kernel() as calls:
            serial = calls.find(_name(session))
            if serial is None:
                return None
            self._read = session, serial
            return calls.read_serial(serial, SHARE_BYTES)

    def prolong(self, session: str, seconds: int) -> None:
        """Set a new time-out in the kernel."""
        with self._kernel() as calls:
            last, serial = self._read or ("", None)
            if last != session:
                serial = calls.find(_name(session))
            if serial is not None:
                calls.set_timeout(serial, seconds + _ROUNDING_SECONDS)

    def destroy(self, session: str) -> None:
        """Invalidate the share, which removes it at once."""
        with self._kernel() as calls:
            serial = calls.find(_name(session))
            if serial is None:
                # An expired key that is not yet collected cannot be found, but can be replaced.
                serial = calls.add(_name(session), bytearray(1), USER_KEYRING)
            calls.keyctl(KEYCTL_INVALIDATE, serial)

    def sweep(self, live: set[str]) -> int:
        """Do nothing: every share has a time-out."""
        del live
        return 0

    @contextmanager
    def _kernel(self) -> Iterator[Calls]:
        """Return the system calls, and convert their errors to `ShareUnavailableError`."""
        try:
            if os.stat("/proc/self/ns/user").st_ino != _FIRST_USER_NAMESPACE:
                msg = "this process is in a container with a kernel keyring of its own"
                raise ShareUnavailableError(msg)
            self._calls = self._calls or Calls()
            yield self._calls
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            msg = f"the share cannot be kept in the kernel keyring: {reason}"
            raise ShareUnavailableError(msg) from error


def _name(session: str) -> str:
    return f"keylease:share:{session}"
