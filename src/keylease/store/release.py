"""The last check before a secret is written, and the wait of an end for a running write.

A release is decided with the lock, but written without it. In between, the process may be stopped
or wait for its reader, and the session may end. So the gate checks again just before the write: the
sealed file is still there, the session is live, and the answer is in time.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from keylease.errors import KeyleaseError, LockTimeoutError, SessionNotFoundError, StateError
from keylease.model import Gate
from keylease.system.clock import Deadline

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from typing import Self

    from keylease.statefile.grip import Grip, Reader

_SECONDS: Final = 2.0
"""The longest time between the audit line and the write, also for callers with more patience."""
_PAUSE_SECONDS: Final = 0.002
STOPPED: Final = (
    "a keylease process may be stopped while it writes: end that process, and change the password"
    " if a tool may have received it"
)
"""The hint if a release did not finish in time."""


class ReleaseGate(Gate):
    """Allows the write if the session has not ended. Until the write is done, an end waits for it.

    Args:
        grip: The grip on the session's sealed file.
        seconds: How long from now the answer may take.
        demand_live: Raises if the session has ended.
        refuse: Records that the release did not happen, and why.
        finish: Called once, when the gate is closed.
    """

    def __init__(
        self,
        grip: Grip,
        seconds: float,
        demand_live: Callable[[], None],
        refuse: Callable[[KeyleaseError], None],
        finish: Callable[[], None],
    ) -> None:
        self._grip = grip
        self._deadline = Deadline(min(seconds, _SECONDS))
        self._demand_live = demand_live
        self._refuse = refuse
        self._finish = finish
        self._closed = False

    def remaining(self) -> float:
        """Return how many seconds the answer may still take."""
        return self._deadline.remaining()

    def __enter__(self) -> Self:
        """Check that the secret may be written.

        Raises:
            SessionNotFoundError: the session has ended since the release was recorded.
            LockTimeoutError: the answer is late.
            StateError: the check failed.
        """
        try:
            self._demand()
        except BaseException as error:
            self._end(error)
            raise
        return self

    def _demand(self) -> None:
        if not self._grip.take():
            msg = "the session ended before its credential was released"
            raise SessionNotFoundError(msg)
        if not self._deadline.remaining():
            msg = "the answer was not read in time, or this process was stopped"
            raise LockTimeoutError(msg, "nothing was released; try again")
        self._demand_live()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the gate; a waiting end continues."""
        self._end(error)

    def close(self) -> None:
        """Close the gate: it allows no write any more."""
        self._end(None)

    def _end(self, error: BaseException | None) -> None:
        self._grip.close()
        closed, self._closed = self._closed, True
        if closed:
            return
        try:
            if isinstance(error, KeyleaseError):
                self._refuse(error)
        finally:
            self._finish()


class UnderWay:
    """The writes that were running when their sessions were ended."""

    def __init__(self) -> None:
        self._readers: list[Reader] = []

    def add(self, reader: Reader | None) -> None:
        """Add a reader, if there is one."""
        if reader is not None:
            self._readers.append(reader)

    def wait(self, deadline: Deadline) -> None:
        """Wait until every release is done, or for the deadline."""
        while self._unfinished() and deadline.remaining():
            time.sleep(min(_PAUSE_SECONDS, deadline.remaining()))

    def failures(self) -> list[StateError]:
        """Return an error for the releases that did not finish, and forget them."""
        count = len(self._unfinished())
        for reader in self._readers:
            reader.close()
        self._readers = []
        if not count:
            return []
        what = "a release" if count == 1 else f"{count} releases"
        msg = f"every session was ended, but {what} did not finish in time"
        return [StateError(msg, STOPPED)]

    def _unfinished(self) -> list[Reader]:
        self._readers = [reader for reader in self._readers if not reader.is_done()]
        return self._readers
