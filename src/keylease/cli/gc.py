"""`keylease gc`: remove ended sessions and leftover files now."""

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
    """Remove ended sessions and leftover files.

    keylease removes an ended session when a tool asks for its host, and usually when a new session
    is stored. This command checks all sessions now. It also removes what killed processes and
    earlier logins left: files, volatile shares, replaced vault keys, and copies of other tools'
    configurations beside the originals. From the records of setups it removes file contents that
    an earlier version kept. It does not count as a use of any session, and git never waits for it.
    You need not run it: an ended session cannot be used either way.

    The exit code is 4 if the keychain is locked; what needs no key is removed all the same.
    """
    # Start with what needs no keychain, because a locked keychain ends the command.
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
    say(f"removed {', '.join(removed)}" if removed else "nothing to remove")


def _tidy_setups() -> dict[str, int]:
    """Remove leftovers of setups, and return the number of copies and records."""
    counts = {"copies": 0, "records": 0}
    for tool in records.tools():
        try:
            counts["copies"] += records.sweep(tool)
            counts["records"] += records.rewrite(tool)
        except KeyleaseError as error:
            # A broken record must not prevent the removal of sessions.
            warn(f"{tool}: {error}", error.hint)
    return counts
