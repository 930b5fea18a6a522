"""`keylease config`: show the configuration and its files. One module for each command."""

from __future__ import annotations

from typing import Final

import click

from keylease.cli.base import Group

COMMANDS: Final = {
    "show": "keylease.cli.config.show",
    "path": "keylease.cli.config.path",
}
"""Every command by its name."""


@click.group(cls=Group, modules=COMMANDS)
def config() -> None:
    """Show the configuration and where it is written."""
