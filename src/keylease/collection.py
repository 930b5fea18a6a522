"""Collection: everything that is over or of no use is removed, however long it takes.

It is what `keylease gc` does. No tool waits for it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from keylease.clock import Deadline
from keylease.errors import SessionNotFoundError
from keylease.rules import awaits_echo
from keylease.sweep import sweep

if TYPE_CHECKING:
    from keylease.clock import Clock
    from keylease.judgement import Judge
    from keylease.operation import Operations
    from keylease.store import SessionStore

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


def collect(operations: Operations, judge: Judge, store: SessionStore, clock: Clock) -> Collected:
    """Remove everything that is over or of no use, whatever it is for. Nothing is used.

    Raises:
        KeyleaseError: the keychain or the state cannot be used; what needs no key is removed
            all the same.
    """
    count, done, more = 0, set[str](), True
    try:
        while more:
            with operations.begin(None, None, "end") as (sessions, now):
                swept, more = sweep(judge, sessions, now, Deadline(_SECONDS), done)
                count += swept
    except SessionNotFoundError:
        # No key and no revocation: what a reboot left was destroyed on the way here.
        pass
    finally:
        tidied = store.tidy(awaits_echo(clock.now()))
    return Collected(count, *tidied, operations.delete_left_keys())
