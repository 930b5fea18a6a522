"""`keylease audit tail`: the end of the audit log, and what comes after it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from keylease.cli.audit import output
from keylease.cli.audit.query import form_options
from keylease.cli.base import Command, Program, say

if TYPE_CHECKING:
    from keylease.cli.audit.output import Form


@click.command(cls=Command)
@click.option("-f", "--follow", is_flag=True, help="Go on with new lines until Ctrl-C is typed.")
@click.option(
    "-n",
    "--lines",
    "count",
    metavar="N",
    type=click.IntRange(0, 10_000),
    default=10,
    show_default=True,
    help="How many lines of the end.",
)
@form_options
@click.pass_obj
def tail(program: Program, form: Form | None, *, follow: bool, count: int) -> None:
    """Show the last lines of the audit log.

    With -f it goes on, over midnight and over a clock that is set back, and looks twice a second.
    Nothing is verified: a line is shown as soon as it stands there.
    """
    form = form or "table"
    write, above = output.writer(form), output.head(form)
    for found in program.wiring().audit_service.tail_lines(count, follow=follow):
        lines = write(found)
        for line in lines if above is None else (above, *lines):
            if not say(line):
                return
        above = None
