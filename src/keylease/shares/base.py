"""What a volatile store must do for the shares that live in it.

A share is the half of a session's key that is not in the keychain. Where a platform can forget
something by itself (a kernel time-out, a logout, a reboot), the share is what it forgets, and the
sealed file can then be opened by nobody, whoever kept a copy of it and of the vault key.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

from keylease.errors import StateError

if TYPE_CHECKING:
    from keylease.secrets.secret import Secret

SHARE_BYTES: Final = 32


class ShareUnavailableError(StateError):
    """This store cannot keep a share, or tell of one, now; another one may."""

    hint = "run keylease where the session was started, or wait for its end; nothing was deleted"


class ShareStore(Protocol):
    """One place where shares live."""

    kind: int
    """How the header of a sealed file names it, 0 to 255; docs/format.md has the list."""
    erases: bool
    """Whether the platform itself destroys the share when the session ends, not this program."""

    def create(self, session: str, seconds: int) -> Secret | None:
        """Make the share of a new session, to die in `seconds`.

        `None` is the answer of the store of no shares.

        Raises:
            ShareUnavailableError: it cannot be kept here.
        """

    def read(self, session: str) -> Secret | None:
        """Return the session's share; `None` if it is dead for certain, for then its session is.

        Raises:
            ShareUnavailableError: nothing can be said. A store that others of the same user may
                have more of (another login, a container) says so of what it does not find.
        """

    def prolong(self, session: str, seconds: int) -> None:
        """Let the share die in `seconds` from now instead. It is no error if it is dead.

        Raises:
            ShareUnavailableError: it cannot be prolonged, and so will die as it was to.
        """

    def sweep(self, live: set[str]) -> int:
        """Destroy the shares of sessions that are not in `live`, and return how many those were.

        Only where they can be listed and do not die by themselves.

        Raises:
            ShareUnavailableError: one of them may still be there.
        """

    def destroy(self, session: str) -> None:
        """Destroy the share now. It is no error if it is dead already.

        Raises:
            ShareUnavailableError: it may still be there.
        """
