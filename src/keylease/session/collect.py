"""Collection: everything that is over or of no use is removed, however long it takes.

It is what `keylease gc` does. No tool waits for it.
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

# Others wait for the lock at most 2 s, so it is let go in between.
_SECONDS: Final = 0.5


class Collected(NamedTuple):
    """How much a collection has removed."""

    sessions: int
    """Sessions that were over."""
    touches: int
    """Records of the last use of sessions that are gone."""
    temporaries: int
    """Files that killed writers left unfinished."""
    shares: int
    """Shares of sessions that are gone."""
    keys: int
    """Vault keys of former generations, which changes of the key have left in the keychain."""


def collect(operation: Callable[[], Operation]) -> Collected:
    """Remove everything that is over or of no use, whatever it is for. Nothing is used.

    Args:
        operation: Begins an operation. There are many, because others wait for the lock.

    Raises:
        KeyleaseError: the keychain or the state cannot be used; what needs no key is removed
            all the same.
    """
    count, done, more, tidied, keys = 0, set[str](), True, Tidied(), 0
    with Steps() as steps:
        # No key and no revocation: what a reboot left was destroyed on the way here.
        with steps.step(), suppress(SessionNotFoundError):
            while more:
                with Transaction(operation()).begin(None, None, "end") as tx:
                    swept = sweep(tx.judge, tx.sessions, tx.now, Deadline(_SECONDS), done)
                    count, more = count + swept.sessions, swept.more
                    steps.failures.extend(swept.failures)
        with steps.step(), operation() as last:
            tidied = last.store.tidy(awaits_echo(last.clock.now()))
    # Ctrl-C is raised by now: nothing that is left waits for a keychain.
    if not any(isinstance(each, KeychainUnavailableError) for each in steps.failures):
        with Steps(steps.failures) as steps, steps.step():
            keys = Transaction(operation()).delete_left_keys()
    steps.demand()
    return Collected(count, *tidied, keys)
