"""Operation: what belongs to one operation, and is gone with it.

Everything here is made when the operation begins and ends with it: how long it may take, who asks,
what the configuration says, the keys. So a process that answers many callers, in many threads, has
nothing that one operation changes for another (docs/decisions/0042-what-one-operation-holds.md).
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
    """The state directory: opened at its first use, and open until the operation ends.

    While nobody holds it, each use opens it and closes it again.

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
        """Keep the directory open until `let_go` is called as often as this."""
        self._holders += 1

    def let_go(self) -> bool:
        """Return whether nobody holds the directory any more; it is closed then."""
        self._holders -= 1
        if self._holders:
            return False
        self._close()
        return True

    def _close(self) -> None:
        directory, self._directory = self._directory, None
        if directory is not None:
            directory.close()

    # Who embeds keylease may drop a reply, and with it the gate that holds the operation.
    def __del__(self) -> None:
        """Close what nobody let go."""
        self._close()

    def __enter__(self) -> Directory:
        """Return the directory, opened if it is not open yet."""
        if self._directory is None:
            self._directory = self._open()
        return self._directory

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Leave it open: the operation goes on."""


class Operation(NamedTuple):
    """What one operation works with. Nothing else has it, and no other thread."""

    caller: Caller
    """Who asks."""
    clock: Clock
    """Tells the time of each decision, once."""
    deadline: Deadline
    """How long it may take; it starts with the operation."""
    settings: Settings
    """How long sessions live, and for what there may be any, by the configuration of today."""
    state: HeldState
    vault: Vault
    """Where the keys are."""
    store: SessionStore
    """Where the sessions are."""
    audit: AuditLog
    """Where each decision is written down."""

    def hold(self) -> None:
        """Go on until `let_go` is called as often as this."""
        self.state.hold()

    def let_go(self) -> None:
        """End the operation, if nobody else holds it: wipe its key, close its directory."""
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
        """End it, whatever happened."""
        self.let_go()
