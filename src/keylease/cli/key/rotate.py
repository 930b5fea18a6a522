"""`keylease key rotate`: replace the vault key."""

from __future__ import annotations

import click

from keylease.cli.base import Command, Program, complain, say
from keylease.cli.keychain import has_state, place
from keylease.cli.table import counted
from keylease.errors import StateMissingError


@click.command(cls=Command)
@click.pass_obj
def rotate(program: Program) -> int:
    """Replace the vault key, which ends every session.

    The new key goes into the same keychain, and then the old one is deleted. Sessions are not
    sealed again with the new key, because a stolen old key and a copy of a sealed file would still
    open them. Start them again with keylease login, or let git ask you. The audit key stays.

    The exit code is 5 if the vault is revoked; keylease init then makes a new key.
    """
    if not has_state():
        msg = "there is no vault key to replace"
        raise StateMissingError(msg, "make one with: keylease init")
    done = program.wiring().custody.rotate()
    title = place(done.record).title
    say(f"made vault key generation {done.record.generation} in {title}")
    say(f"ended {counted(len(done.sessions), 'session')}")
    for failure in done.failures:
        complain(failure)
    return done.failures[0].exit_code if done.failures else 0
