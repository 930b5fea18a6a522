"""`keylease init`: make the vault, or a new key after a revocation, without a session."""

from __future__ import annotations

import click

from keylease.cli.base import Command, Program, say
from keylease.cli.keychain import has_state, place
from keylease.errors import StateError


@click.command(cls=Command)
@click.pass_obj
def init(program: Program) -> None:
    """Make the vault, or a new key after a revocation.

    Nobody has to: the first login does it too, and so does the first password that git stores. This
    is for choosing the keychain before that, and for allowing sessions again after a revocation
    without starting one. Where there is a vault with its key it changes nothing.
    """
    wiring = program.wiring()
    before = wiring.vault.record() if has_state() else None
    generation = wiring.session.open_vault()
    record = wiring.vault.record()
    if record is None:
        msg = "the vault that was just made is gone"
        raise StateError(msg, "somebody removed the state directory; try again")
    here = before is not None and before.revoked is None and before.generation == generation
    done = "there is a vault already:" if here else "made a vault key:"
    say(f"{done} generation {generation} in {place(record).title} ({record.keychain})")
