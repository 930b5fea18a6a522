"""The moment in which a secret leaves, and the end of its session that waits for that moment.

What was decided with the lock held is written without it. A process can be stopped in between, or
wait for its reader, and the session may end meanwhile. So the very last step before a write looks
once more: whether the sealed file is still there, the session alive and the answer in time.
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
"""How long after its line in the audit log a release may happen, whoever waits for it longer."""
_PAUSE_SECONDS: Final = 0.002
STOPPED: Final = (
    "a keylease process may be stopped while it writes: end it, and change the password if a tool"
    " may have it"
)
"""The hint where a release did not finish in time."""


class ReleaseGate(Gate):
    """Lets a secret out if nothing has ended its session, and keeps those who end it waiting.

    Args:
        grip: Of the session's sealed file.
        seconds: How long from now the answer may take.
        demand_live: Raises if the session is over by now.
        refuse: Writes down that a release did not happen after all, and why.
        finish: Called once, at the very end.
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
        """Return the seconds that are left for the answer."""
        return self._deadline.remaining()

    def __enter__(self) -> Self:
        """Let the secret out.

        Raises:
            SessionNotFoundError: the session has ended since the release was written down.
            LockTimeoutError: the answer is late.
            StateError: that cannot be told.
        """
        try:
            self._demand()
        except BaseException as error:
            self._end(error)
            raise
        return self

    def _demand(self) -> None:
        if not self._grip.take():
            msg = "the session ended before its credential was handed out"
            raise SessionNotFoundError(msg)
        if not self._deadline.remaining():
            msg = "nobody took the answer in time, or this process was stopped meanwhile"
            raise LockTimeoutError(msg, "nothing was handed out; try again")
        self._demand_live()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Let those go on who end the session."""
        self._end(error)

    def close(self) -> None:
        """Let nothing out any more."""
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
    """The releases that were under way when their sessions were ended."""

    def __init__(self) -> None:
        self._readers: list[Reader] = []

    def add(self, reader: Reader | None) -> None:
        """Wait for a reader, too, if there is one."""
        if reader is not None:
            self._readers.append(reader)

    def wait(self, deadline: Deadline) -> None:
        """Return when every release is over, or at the deadline."""
        while self._unfinished() and deadline.remaining():
            time.sleep(min(_PAUSE_SECONDS, deadline.remaining()))

    def failures(self) -> list[StateError]:
        """Return what is to be said of those that did not finish, and wait for none any more."""
        count = len(self._unfinished())
        for reader in self._readers:
            reader.close()
        self._readers = []
        if not count:
            return []
        what = "a release was" if count == 1 else f"{count} releases were"
        msg = f"the end is done, but {what} under way and did not finish in time"
        return [StateError(msg, STOPPED)]

    def _unfinished(self) -> list[Reader]:
        self._readers = [reader for reader in self._readers if not reader.is_done()]
        return self._readers
