"""Shares in memory: the real interface with a clock that tests control."""

from __future__ import annotations

from typing import TYPE_CHECKING

from keylease.secrets.secret import Secret
from keylease.shares.base import SHARE_BYTES, ShareUnavailableError

if TYPE_CHECKING:
    from keylease.shares.base import ShareStore
    from keylease.system.clock import Clock


class MemoryShares:
    """Shares that expire by a clock, as the kernel's do, and that a test can end.

    Args:
        clock: The clock by which they expire.
        kind: The store's number in a header.
        erases: The store's value of `erases`.
    """

    def __init__(self, clock: Clock, *, kind: int = 1, erases: bool = True) -> None:
        self.kind = kind
        self.erases = erases
        self.held: dict[str, bytes] = {}
        """Every share that was made and not destroyed, dead or not."""
        self.given: list[tuple[str, int]] = []
        """Each time that a share was given, in seconds, in order."""
        self.refusing: str | None = None
        """Why every call is refused; `None` if none is."""
        self._clock = clock
        self._ends: dict[str, int] = {}
        self._made = 0

    def create(self, session: str, seconds: int) -> Secret | None:
        """Make a share."""
        self._answer()
        self._made += 1
        self.held[session] = bytes([self._made]) * SHARE_BYTES
        self._give(session, seconds)
        return self.read(session)

    def read(self, session: str) -> Secret | None:
        """Return the share if it has not ended."""
        self._answer()
        share = self.held.get(session)
        alive = share is not None and self._clock.now().boot_ns < self._ends[session]
        return Secret(share) if share is not None and alive else None

    def prolong(self, session: str, seconds: int) -> None:
        """Give the share a new end."""
        if self.read(session) is not None:
            self._give(session, seconds)

    def destroy(self, session: str) -> None:
        """End the share."""
        self._answer()
        self.held.pop(session, None)

    def sweep(self, live: set[str]) -> int:
        """Destroy every share without a live session."""
        self._answer()
        doomed = self.held.keys() - live
        for session in doomed:
            del self.held[session]
        return len(doomed)

    def _give(self, session: str, seconds: int) -> None:
        self._ends[session] = self._clock.now().boot_ns + seconds * 1_000_000_000
        self.given.append((session, seconds))

    def _answer(self) -> None:
        if self.refusing is not None:
            raise ShareUnavailableError(self.refusing)


if TYPE_CHECKING:
    from keylease.testing import FrozenClock

    _CHECKED: ShareStore = MemoryShares(FrozenClock())
