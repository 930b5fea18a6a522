"""Sweeps: remove ended sessions of every target.

A `store` sweeps for a moment, once a minute; `keylease gc` sweeps everything. A `get` never sweeps.
`keylease.session.judge` decides which sessions have ended.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Final, NamedTuple

from keylease.errors import InternalError, StateError
from keylease.faults import Steps
from keylease.rules import awaits_echo, is_due
from keylease.system.clock import Deadline

if TYPE_CHECKING:
    from keylease.errors import KeyleaseError
    from keylease.model import Moment
    from keylease.session.judge import Judge
    from keylease.session.transaction import Transaction
    from keylease.store.opened import Sessions
    from keylease.vault.vault import VaultKeys

# The time that a `store` spends on other targets; the helper answers within 2 s.
_SECONDS: Final = 0.05


class Swept(NamedTuple):
    """The result of one sweep."""

    sessions: int = 0
    """How many sessions it ended."""
    more: bool = False
    """Whether files are left for the next sweep."""
    failures: tuple[KeyleaseError, ...] = ()
    """The failures of single files. They did not stop the sweep."""


def sweep(
    judge: Judge, sessions: Sessions, now: Moment, deadline: Deadline, done: set[str]
) -> Swept:
    """Remove ended sessions of every target, one file after the other, until the deadline.

    Args:
        judge: Decides which sessions have ended.
        sessions: The sessions, with the lock held.
        now: The clock reading that decides.
        deadline: When to stop.
        done: Ids and buckets that earlier calls have swept. This call skips them and adds its own.
    """
    count = 0
    with Steps() as steps:
        for name in sessions.buckets():
            if name in done:
                continue
            # Check the deadline after each step, so that every call makes progress.
            with steps.step():
                for session_id in sessions.ids(name):
                    if session_id not in done:
                        done.add(session_id)
                        with steps.step():
                            found = sessions.find(name, session_id)
                            count += len(judge.sort(sessions, (found,), now).over)
                        if not deadline.remaining():
                            return Swept(count, more=True, failures=tuple(steps.failures))
            done.add(name)
            if not deadline.remaining():
                return Swept(count, more=True, failures=tuple(steps.failures))
    return Swept(count, failures=tuple(steps.failures))


def clean_up(tx: Transaction, keys: VaultKeys) -> list[KeyleaseError]:
    """Sweep and remove unused files for a short time, if a sweep is due.

    If another process holds the lock, do nothing: processes that store at the same time already
    wait for each other.

    Returns:
        The faults (`keylease.faults`). They do not undo the `store` before. Other failures are
        reported by the next request for that target.
    """
    with (
        Steps() as steps,
        steps.step(),
        suppress(StateError),
        tx.operation.store.exclusive(keys, at_once=True) as sessions,
    ):
        _clean_up(tx.judge, sessions, tx.operation.clock.now(), steps)
    return [each for each in steps.failures if isinstance(each, InternalError)]


def _clean_up(judge: Judge, sessions: Sessions, now: Moment, steps: Steps) -> None:
    deadline = Deadline(_SECONDS)
    if not (deadline.remaining() and is_due(sessions.swept(now.boot), now)):
        return
    steps.failures.extend(sweep(judge, sessions, now, deadline, set()).failures)
    with steps.step(), suppress(StateError):
        sessions.tidy_echoes(awaits_echo(now), deadline)
    for name in sessions.buckets():
        if not deadline.remaining():
            return  # `buckets` starts at random, so the next call reaches others
        with steps.step(), suppress(StateError):
            sessions.tidy(name, awaits_echo(now), deadline)
    sessions.mark_swept(now)
