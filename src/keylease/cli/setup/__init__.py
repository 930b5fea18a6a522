"""`keylease setup`: what other programs have to be told. One module for each, named in a table."""

from __future__ import annotations

from typing import Final

import click

from keylease.cli.base import Group

TOOLS: Final = {
    "git": "keylease.cli.setup.git",
    "docker": "keylease.cli.setup.docker",
    "podman": "keylease.cli.setup.podman",
    "completion": "keylease.cli.setup.completion",
}
"""Every tool by its name."""


@click.group(cls=Group, modules=TOOLS)
def setup() -> None:
    """Let tools ask keylease, and shells complete its commands."""
