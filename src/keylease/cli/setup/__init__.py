"""`keylease setup`: tell a tool to ask keylease. One module for each tool, named in a table."""

from __future__ import annotations

from typing import Final

import click

from keylease.cli.base import Group

TOOLS: Final = {
    "git": "keylease.cli.setup.git",
}
"""Every tool by its name."""


@click.group(cls=Group, modules=TOOLS)
def setup() -> None:
    """Tell a tool to ask keylease, or to stop asking."""
