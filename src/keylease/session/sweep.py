"""Sweeps: what is over is removed though nobody asks for its target.

A `store` does it for a moment, once a minute; `keylease gc` until everything was looked at. No
`get` waits for it, and nothing here decides what is over: `keylease.session.judge` does.
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

# What a `store` spends on the sessions of other targets; the helper answers within 2 s.
_SECONDS: Final = 0.05


class Swept(NamedTuple):
    """What one sweep has done."""

    sessions: int = 0
    """How many sessions have ended."""
    more: bool = False
    """Whether something was not looked at."""
    failures: tuple[KeyleaseError, ...] = ()
    """What is wrong with single files; the rest was looked at all the same."""


def sweep(
    judge: Judge, sessions: Sessions, now: Moment, deadline: Deadline, done: set[str]
) -> Swept:
    """Remove what is over, of any target, one file after the other until the deadline.

    Args:
        judge: Tells what is over.
        sessions: The sessions, with the lock held.
        now: The clock reading that decides.
        deadline: When to stop.
        done: Ids and buckets that an earlier call looked at; this call skips them and adds its own.
    """
    count = 0
    with Steps() as steps:
        for name in sessions.buckets():
            if name in done:
                continue
            # The deadline is looked at after each step, so every call gets on by one step at least.
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
    """Remove what is over or of no use, of any target, as far as a short time reaches.

    Only if nobody has for a while, and nobody else has the lock: where many store at once, they
    wait for each other already.

    Returns:
        The faults that came up (`keylease.faults`): what was stored before is stored all the same.
        What else is wrong with a file is told to whoever asks for its target.
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
            return  # and the next one goes on, from another bucket
        with steps.step(), suppress(StateError):
            sessions.tidy(name, awaits_echo(now), deadline)
    sessions.mark_swept(now)
