"""The interface of a volatile store of shares.

A share is the half of a session's key that is not in the keychain. Where a platform can erase
something by itself (a kernel time-out, a logout, a reboot), it erases the share. After that, not
even a copy of the sealed file together with the vault key can be opened.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

from keylease.errors import StateError

if TYPE_CHECKING:
    from keylease.secrets.secret import Secret

SHARE_BYTES: Final = 32


class ShareUnavailableError(StateError):
    """This store cannot keep or find a share now; another store may."""

    hint = "run keylease where the session was started, or wait for its end; nothing was deleted"


class ShareStore(Protocol):
    """One place that keeps shares."""

    kind: int
    """Its number in the header of a sealed file, 0 to 255; docs/format.md has the list."""
    erases: bool
    """Whether the platform itself, not this program, destroys the share at the session's end."""

    def create(self, session: str, seconds: int) -> Secret | None:
        """Make the share of a new session, which expires in `seconds`.

        `PolicyShares`, which keeps none, returns `None`.

        Raises:
            ShareUnavailableError: this store cannot keep it.
        """

    def read(self, session: str) -> Secret | None:
        """Return the session's share; `None` means that the share, so the session, has ended.

        Raises:
            ShareUnavailableError: the store cannot tell. Where another login or a container has a
                store of its own, a share that is not found may be there.
        """

    def prolong(self, session: str, seconds: int) -> None:
        """Let the share expire `seconds` from now instead; do nothing if it has expired.

        Raises:
            ShareUnavailableError: it cannot be prolonged and keeps its old end.
        """

    def sweep(self, live: set[str]) -> int:
        """Destroy the shares of sessions that are not in `live`; return their number.

        This does nothing where shares expire by themselves or cannot be listed.

        Raises:
            ShareUnavailableError: one of them may still be there.
        """

    def destroy(self, session: str) -> None:
        """Destroy the share now; do nothing if it is gone already.

        Raises:
            ShareUnavailableError: it may still be there.
        """
