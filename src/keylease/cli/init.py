"""`keylease init`: create the vault, or a new key after a revocation, without a session."""

from __future__ import annotations

import click

from keylease.cli.base import Command, Program, say
from keylease.cli.keychain import has_state, place
from keylease.errors import StateError


@click.command(cls=Command)
@click.pass_obj
def init(program: Program) -> None:
    """Create the vault, or a new key after a revocation.

    This is optional: the first login creates the vault, and so does the first password that git
    stores. Use it to choose the keychain earlier, or to allow sessions again after a revocation
    without starting one. If the vault and its key exist, it changes nothing.
    """
    wiring = program.wiring()
    before = wiring.vault.record() if has_state() else None
    generation = wiring.session.open_vault()
    record = wiring.vault.record()
    if record is None:
        msg = "the new vault is missing: another program removed the state directory"
        raise StateError(msg, "try again")
    here = before is not None and before.revoked is None and before.generation == generation
    done = "the vault exists already:" if here else "made a vault key:"
    say(f"{done} generation {generation} in {place(record).title} ({record.keychain})")
