"""`keylease gc`: remove what is over, without waiting for somebody to ask for it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import click

from keylease.cli.base import Command, Program, say
from keylease.cli.keychain import has_state
from keylease.cli.table import counted

if TYPE_CHECKING:
    from keylease.collection import Collected

_WORDS: Final = {
    "sessions": ("session that had ended", "sessions that had ended"),
    "touches": ("record of its last use", "records of last uses"),
    "temporaries": ("unfinished file", "unfinished files"),
    "shares": ("volatile share", "volatile shares"),
    "keys": ("old vault key", "old vault keys"),
}


@click.command(cls=Command)
@click.pass_obj
def gc(program: Program) -> None:
    """Remove what has ended, and what is of no use any more.

    A session that has ended is removed when somebody asks for its host, and mostly when a new one
    is stored for any other. This looks at all of them at once, and at what killed processes and
    earlier logins have left: files, volatile shares, and vault keys that were replaced. It uses no
    session, and git never waits for it. Run it when you like, or never: what has ended cannot be
    used either way.

    The exit code is 4 if the keychain is locked; what needs no key is removed all the same.
    """
    removed = _counted(program.wiring().session.collect()) if has_state() else []
    say(f"removed {', '.join(removed)}" if removed else "there is nothing to remove")


def _counted(collected: Collected) -> list[str]:
    counts = collected._asdict()
    return [
        counted(counts[kind], one, many) for kind, (one, many) in _WORDS.items() if counts[kind]
    ]
