"""What a volatile store must do for the shares that live in it.

A share is the half of a session's key that is not in the keychain. Where a platform can forget
something by itself (a kernel time-out, a reboot), the share is what it forgets, and the sealed file
can then be opened by nobody. Where it cannot, there is no share, and the session's end is a check.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from keylease.secret import Secret


class ShareStore(Protocol):
    """Where the shares of this machine live."""

    erases: bool
    """Whether an ended session's share is destroyed by the platform, not by this program."""

    def create(self, session: str, seconds: int) -> Secret | None:
        """Make the share of a new session, to die in `seconds`; `None` if there are no shares."""

    def read(self, session: str) -> Secret | None:
        """Return the session's share; `None` if it is dead, or if there are no shares."""

    def prolong(self, session: str, seconds: int) -> None:
        """Let the share die in `seconds` from now instead."""

    def destroy(self, session: str) -> None:
        """Destroy the share now. It is no error if it is dead already."""
