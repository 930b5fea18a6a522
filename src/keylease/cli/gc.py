"""`keylease gc`: remove what is over, without waiting for somebody to ask for it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import click

from keylease.cli.base import Command, Program, say, warn
from keylease.cli.keychain import has_state
from keylease.cli.setup import records
from keylease.cli.table import counted
from keylease.errors import KeyleaseError

if TYPE_CHECKING:
    from collections.abc import Mapping

_WORDS: Final = {
    "sessions": ("session that had ended", "sessions that had ended"),
    "touches": ("record of its last use", "records of last uses"),
    "temporaries": ("unfinished file", "unfinished files"),
    "shares": ("volatile share", "volatile shares"),
    "keys": ("old vault key", "old vault keys"),
    "copies": ("unfinished copy of a configuration", "unfinished copies of configurations"),
    "records": ("record of a setup that had too much", "records of setups that had too much"),
}


@click.command(cls=Command)
@click.pass_obj
def gc(program: Program) -> None:
    """Remove what has ended, and what is of no use any more.

    A session that has ended is removed when somebody asks for its host, and mostly when a new one
    is stored for any other. This looks at all of them at once, and at what killed processes and
    earlier logins have left: files, volatile shares, and vault keys that were replaced. It also
    removes the copies of other tools' configurations that a killed setup left beside them, and
    takes out of the records of setups what an earlier version kept of such a file. It uses no
    session, and git never waits for it. Run it when you like, or never: what has ended cannot be
    used either way.

    The exit code is 4 if the keychain is locked; what needs no key is removed all the same.
    """
    # First what needs no keychain: a locked one ends the command.
    counts = _tidy_setups()
    if any(counts.values()):
        _tell(counts)
    collected = program.wiring().session.collect()._asdict() if has_state() else {}
    if any(collected.values()) or not any(counts.values()):
        _tell(collected)


def _tell(counts: Mapping[str, int]) -> None:
    removed = [
        counted(counts[kind], one, many) for kind, (one, many) in _WORDS.items() if counts.get(kind)
    ]
    say(f"removed {', '.join(removed)}" if removed else "there is nothing to remove")


def _tidy_setups() -> dict[str, int]:
    """Tidy after setups, and return how many copies and records that were."""
    counts = {"copies": 0, "records": 0}
    for tool in records.tools():
        try:
            counts["copies"] += records.sweep(tool)
            counts["records"] += records.rewrite(tool)
        except KeyleaseError as error:
            # One broken record does not keep sessions from being removed.
            warn(f"{tool}: {error}", error.hint)
    return counts
