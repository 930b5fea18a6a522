"""No volatile store: the end of a session is a check that this program makes.

A copy of the sealed file and the vault key together can then be opened after the session's end.
That is said in docs/security.md, and `keylease status` then says ENFORCED BY keylease.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from keylease.secrets.secret import Secret


class PolicyShares:
    """Shares that do not exist."""

    kind = 0
    erases = False

    def create(self, session: str, seconds: int) -> Secret | None:
        """Return `None`: the session key hangs on the vault key alone."""

    def read(self, session: str) -> Secret | None:
        """Return `None`."""

    def prolong(self, session: str, seconds: int) -> None:
        """Do nothing: there is nothing that dies."""

    def destroy(self, session: str) -> None:
        """Do nothing: there is nothing to destroy."""

    def sweep(self, live: set[str]) -> int:
        """Do nothing: there is nothing to sweep."""
        del live
        return 0
