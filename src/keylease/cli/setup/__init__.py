"""`keylease setup`: what other programs have to be told. One module for each, named in a table."""

from __future__ import annotations

from typing import Final

import click

from keylease.cli.base import Group

TOOLS: Final = {
    "git": "keylease.cli.setup.git",
    "completion": "keylease.cli.setup.completion",
}
"""Every tool by its name."""


@click.group(cls=Group, modules=TOOLS)
def setup() -> None:
    """Tell git to ask keylease, and the shell to complete its commands."""
