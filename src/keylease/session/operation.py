"""Operation: the collaborators of one operation.

They are made when the operation begins, and dropped when it ends: the deadline, the caller, the
configuration, the keys. So operations of one process, in any thread, cannot affect each other
(docs/decisions/0042-what-one-operation-holds.md).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Self

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager
    from types import TracebackType

    from keylease.audit.log import AuditLog
    from keylease.model import Caller, Settings
    from keylease.statefile import Directory
    from keylease.store.store import SessionStore
    from keylease.system.clock import Clock, Deadline
    from keylease.vault.vault import Vault


class HeldState:
    """The state directory, opened at its first use and kept open until the operation ends.

    Without a holder, each use opens and closes it.

    Args:
        open_directory: Opens the state directory.
    """

    def __init__(self, open_directory: Callable[[], Directory]) -> None:
        self._open = open_directory
        self._directory: Directory | None = None
        self._holders = 0

    def __call__(self) -> AbstractContextManager[Directory]:
        """Return the directory for the length of a `with` block."""
        return self if self._holders else self._open()

    def hold(self) -> None:
        """Keep the directory open until the matching `let_go`."""
        self._holders += 1

    def let_go(self) -> bool:
        """Close the directory after the last holder. Return whether this was the last."""
        self._holders -= 1
        if self._holders:
            return False
        self._close()
        return True

    def _close(self) -> None:
        directory, self._directory = self._directory, None
        if directory is not None:
            directory.close()

    # A program that embeds keylease may drop a reply, whose gate holds the operation.
    def __del__(self) -> None:
        """Close the directory if a holder was dropped."""
        self._close()

    def __enter__(self) -> Directory:
        """Return the directory; open it at the first use."""
        if self._directory is None:
            self._directory = self._open()
        return self._directory

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Leave the directory open for the rest of the operation."""


class Operation(NamedTuple):
    """The collaborators of one operation. Operations and threads do not share them."""

    caller: Caller
    clock: Clock
    """Read once for each decision."""
    deadline: Deadline
    """It starts with the operation."""
    settings: Settings
    """The terms of sessions, as configured when the operation began."""
    state: HeldState
    vault: Vault
    store: SessionStore
    audit: AuditLog

    def hold(self) -> None:
        """Keep the operation alive until the matching `let_go`."""
        self.state.hold()

    def let_go(self) -> None:
        """End the operation after the last holder: wipe its audit key, close its directory."""
        if self.state.let_go():
            self.audit.forget()

    def __enter__(self) -> Self:
        """Hold the operation for the length of a `with` block."""
        self.hold()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Let the operation go, also after an exception."""
        self.let_go()
