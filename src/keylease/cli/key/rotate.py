"""`keylease key rotate`: a new vault key in the place of the old one."""

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

    The new key is put into the same keychain, and then the old one is deleted. Sessions are not
    sealed anew: whoever has the old key and a copy of a sealed file would go on having what is in
    it. Start them again with keylease login, or let git ask you. The audit key stays as it is.

    The exit code is 5 if the vault is revoked: then keylease init makes a new key.
    """
    if not has_state():
        msg = "there is no vault key that could be replaced"
        raise StateMissingError(msg, "make one with: keylease init")
    done = program.wiring().custody.rotate()
    title = place(done.record).title
    say(f"made vault key generation {done.record.generation} in {title}")
    say(f"ended {counted(len(done.sessions), 'session')}")
    for failure in done.failures:
        complain(failure)
    return done.failures[0].exit_code if done.failures else 0
