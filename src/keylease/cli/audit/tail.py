"""`keylease audit tail`: show the last lines of the audit log, and follow it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from keylease.cli.audit import output
from keylease.cli.audit.query import form_options
from keylease.cli.base import Command, Program, say

if TYPE_CHECKING:
    from keylease.cli.audit.output import Form


@click.command(cls=Command)
@click.option("-f", "--follow", is_flag=True, help="Show new lines until you type Ctrl-C.")
@click.option(
    "-n",
    "--lines",
    "count",
    metavar="N",
    type=click.IntRange(0, 10_000),
    default=10,
    show_default=True,
    help="Show the last N lines.",
)
@form_options
@click.pass_obj
def tail(program: Program, form: Form | None, *, follow: bool, count: int) -> None:
    """Show the last lines of the audit log.

    With -f it shows new lines twice a second, also after midnight and after a clock is set back.
    It verifies nothing: a line is shown as soon as it is in the file.
    """
    form = form or "table"
    write, above = output.writer(form), output.head(form)
    for found in program.wiring().audit_service.tail_lines(count, follow=follow):
        lines = write(found)
        for line in lines if above is None else (above, *lines):
            if not say(line):
                return
        above = None
