"""Collection: remove everything that has ended or is unused, however long it takes.

`keylease gc` runs it. No tool waits for it.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Final, NamedTuple

from keylease.errors import KeychainUnavailableError, SessionNotFoundError
from keylease.faults import Steps
from keylease.rules import awaits_echo
from keylease.session.sweep import sweep
from keylease.session.transaction import Transaction
from keylease.store.buckets import Tidied
from keylease.system.clock import Deadline

if TYPE_CHECKING:
    from collections.abc import Callable

    from keylease.session.operation import Operation

# Release the lock this often: other processes wait for it 2 s at most.
_SECONDS: Final = 0.5


class Collected(NamedTuple):
    """What a collection removed, by number."""

    sessions: int
    """Ended sessions."""
    touches: int
    """Touch records without a session."""
    temporaries: int
    """Unfinished files of killed writers."""
    shares: int
    """Shares without a session."""
    keys: int
    """Vault keys of former generations that were left in the keychain."""


def collect(operation: Callable[[], Operation]) -> Collected:
    """Remove ended sessions and unused files of every target.

    Args:
        operation: Begins an operation. The work is split into many, to release the lock between.

    Raises:
        KeyleaseError: the keychain or the state cannot be used. Everything that needs no key was
            removed.
    """
    count, done, more, tidied, keys = 0, set[str](), True, Tidied(), 0
    with Steps() as steps:
        # Without a key there is no session to sweep: `begin` has destroyed what a reboot left.
        with steps.step(), suppress(SessionNotFoundError):
            while more:
                with Transaction(operation()).begin(None, None, "end") as tx:
                    swept = sweep(tx.judge, tx.sessions, tx.now, Deadline(_SECONDS), done)
                    count, more = count + swept.sessions, swept.more
                    steps.failures.extend(swept.failures)
        with steps.step(), operation() as last:
            tidied = last.store.tidy(awaits_echo(last.clock.now()))
    # A Ctrl-C has been raised by now. If the keychain was unavailable, do not ask it again.
    if not any(isinstance(each, KeychainUnavailableError) for each in steps.failures):
        with Steps(steps.failures) as steps, steps.step():
            keys = Transaction(operation()).delete_left_keys()
    steps.demand()
    return Collected(count, *tidied, keys)
