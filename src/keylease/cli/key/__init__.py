"""`keylease key`: show where the vault key is, and replace it. The key itself is never shown."""

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
    """Show where the vault key is, or replace it."""
