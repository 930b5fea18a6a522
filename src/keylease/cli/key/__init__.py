"""`keylease key`: look at the vault key from outside, and replace it. It is never shown."""

from __future__ import annotations

from typing import Final

import click

from keylease.cli.base import Group

COMMANDS: Final = {
    "show": "keylease.cli.key.show",
    "rotate": "keylease.cli.key.rotate",
}
"""Every command by its name."""


@click.group(cls=Group, modules=COMMANDS)
def key() -> None:
    """Tell where the vault key is, or replace it."""
