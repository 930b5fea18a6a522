"""Sweeps: what is over is removed though nobody asks for its target.

A `store` does it for a moment, once a minute; `keylease gc` until everything was looked at. No
`get` waits for it, and nothing here decides what is over: `keylease.judgement` does.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Final

from keylease.clock import Deadline
from keylease.errors import StateError
from keylease.rules import awaits_echo, is_due

if TYPE_CHECKING:
    from keylease.clock import Clock, Moment
    from keylease.judgement import Judge
    from keylease.sealedsessions import Sessions
    from keylease.store import SessionStore
    from keylease.vault import VaultKeys

# What a `store` spends on the sessions of other targets; the helper answers within 2 s.
_SECONDS: Final = 0.05


def sweep(
    judge: Judge, sessions: Sessions, now: Moment, deadline: Deadline, done: set[str]
) -> tuple[int, bool]:
    """Remove what is over, of any target, one file after the other until the deadline.

    What is wrong with one file is told to whoever asks for its target, and to nobody else.

    Args:
        judge: Tells what is over.
        sessions: The sessions, with the lock held.
        now: The clock reading that decides.
        deadline: When to stop.
        done: Ids and buckets that an earlier call looked at; this call skips them and adds its own.

    Returns:
        How many sessions have ended, and whether something was not looked at.
    """
    count = 0
    for name in sessions.buckets():
        if name in done:
            continue
        # The deadline is looked at after each step, so every call gets on by one step at least.
        with suppress(StateError):
            for session_id in sessions.ids(name):
                if session_id not in done:
                    done.add(session_id)
                    with suppress(StateError):
                        found = sessions.find(name, session_id)
                        count += len(judge.sort(sessions, (found,), now).over)
                    if not deadline.remaining():
                        return count, True
        done.add(name)
        if not deadline.remaining():
            return count, True
    return count, False


def clean_up(judge: Judge, store: SessionStore, keys: VaultKeys, clock: Clock) -> None:
    """Remove what is over or of no use, of any target, as far as a short time reaches.

    Only if nobody has for a while, and nobody else has the lock: where many store at once, they
    wait for each other already.
    """
    with suppress(StateError), store.exclusive(keys, at_once=True) as sessions:
        now, deadline = clock.now(), Deadline(_SECONDS)
        if not (deadline.remaining() and is_due(sessions.swept(now.boot), now)):
            return
        sweep(judge, sessions, now, deadline, set())
        with suppress(StateError):
            sessions.tidy_echoes(awaits_echo(now), deadline)
        for name in sessions.buckets():
            if not deadline.remaining():
                return  # and the next one goes on, from another bucket
            with suppress(StateError):
                sessions.tidy(name, awaits_echo(now), deadline)
        sessions.mark_swept(now)
