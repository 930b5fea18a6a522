"""No volatile store: only this program checks whether a session has ended.

So a copy of the sealed file can be opened with the vault key after the session's end.
docs/security.md says so, and `keylease status` then shows ENFORCED BY keylease.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from keylease.secrets.secret import Secret


class PolicyShares:
    """A store that keeps no shares."""

    kind = 0
    erases = False

    def create(self, session: str, seconds: int) -> Secret | None:
        """Return `None`: the session key depends on the vault key alone."""

    def read(self, session: str) -> Secret | None:
        """Return `None`."""

    def prolong(self, session: str, seconds: int) -> None:
        """Do nothing: there is no share to prolong."""

    def destroy(self, session: str) -> None:
        """Do nothing: there is no share to destroy."""

    def sweep(self, live: set[str]) -> int:
        """Do nothing: there are no shares to sweep."""
        del live
        return 0
