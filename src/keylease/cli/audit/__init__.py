"""`keylease audit`: search, follow, verify and export the audit log."""

from __future__ import annotations

from typing import Final

import click

from keylease.cli.base import Group

COMMANDS: Final = {
    "query": "keylease.cli.audit.query",
    "tail": "keylease.cli.audit.tail",
    "verify": "keylease.cli.audit.verify",
    "stats": "keylease.cli.audit.stats",
    "report": "keylease.cli.audit.report",
    "export": "keylease.cli.audit.export",
    "key": "keylease.cli.audit.key",
}
"""Every command by its name."""


@click.group(cls=Group, modules=COMMANDS)
def audit() -> None:
    """Search the audit log, follow it, and verify it."""
