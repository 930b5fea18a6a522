"""`keylease config`: what is configured, and where. One module for each question."""

from __future__ import annotations

from typing import Final

import click

from keylease.cli.base import Group

QUESTIONS: Final = {
    "show": "keylease.cli.config.show",
    "path": "keylease.cli.config.path",
}
"""Every question by its name."""


@click.group(cls=Group, modules=QUESTIONS)
def config() -> None:
    """Show what is configured, and where it is written."""
