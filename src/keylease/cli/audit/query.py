"""`keylease audit query`: find lines of the audit log."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, TypeVar

import click

from keylease.audit.events import EVENTS, OUTCOMES, REASONS
from keylease.audit.read.verdict import EXIT_CODES
from keylease.cli.audit import output
from keylease.cli.audit.output import FORMAT
from keylease.cli.audit.reading import range_options
from keylease.cli.base import Command, Program, say, warn

if TYPE_CHECKING:
    from collections.abc import Callable

    from keylease.audit.read.query import Search, Trust
    from keylease.cli.audit.output import Form

_Command = TypeVar("_Command", bound="Callable[..., object]")


def form_options(command: _Command) -> _Command:
    """Add the options for the form of the output."""
    words = (
        ("json", "One JSON document a line, described in docs/cli.md."),
        ("csv", "Comma-separated values, with a heading."),
        ("table", "A table for people (the default)."),
    )
    for name, text in words:
        flag = click.option(f"--{name}", "form", flag_value=name, help=text)
        command = flag(command)
    return command


@click.command(cls=Command)
@range_options
@click.option(
    "--event",
    "events",
    metavar="EVENT",
    multiple=True,
    type=click.Choice(sorted(EVENTS)),
    help="Only this event; you can give it several times.",
)
@click.option("--target", metavar="URL", help="A host or a URL; * matches anything.")
@click.option("--user", "username", metavar="USER", help="Only this user name.")
@click.option("--session", metavar="ID", help="A session's id, or its beginning.")
@click.option("--outcome", type=click.Choice(sorted(OUTCOMES)), help="Only with this outcome.")
@click.option(
    "--reason", metavar="REASON", type=click.Choice(sorted(REASONS)), help="Only for this reason."
)
@click.option("--limit", metavar="N", type=click.IntRange(min=0), help="At most N lines.")
@click.option("--reverse", is_flag=True, help="Newest first.")
@form_options
@click.pass_obj
def query(
    program: Program,
    /,
    form: Form | None,
    limit: int | None,
    *,
    reverse: bool,
    **wanted: Any,  # noqa: ANN401 - what click passes on, by the names that the search has
) -> int:
    """Find lines of the audit log.

    Without an option it prints the whole log. TIME is a span before now (90m, 2d), a date, today,
    yesterday, or a time such as 2026-11-22T11:26:21Z; days are in UTC. Only the days of the range
    are read, oldest first, and within a day in the order of the file.

    The command checks the lines that it reads: each must follow the one before it, and the last
    must have the MAC of the audit key. If one does not fit, it says so at the end and the exit code
    is 25; then run keylease audit verify. A locked keychain is reported, too, with exit code 0.
    """
    search = program.wiring().audit_service.query(**wanted, reverse=reverse, limit=limit)
    if not show(search, form or "table"):
        return 0  # stdout has no reader any more
    trust = search.trust()
    if form == "json":
        say(_summary(trust))
    if trust.misfit:
        hint = "see: keylease audit verify"
        warn(f"the log does not verify: {trust.misfit}", hint)
        return EXIT_CODES["edited"]
    if trust.unvouched:
        warn(f"the log could not be verified to its end: {trust.unvouched}")
    return 0


def show(search: Search, form: Form) -> bool:
    """Print the matches, and return whether stdout was read to the end."""
    write = output.writer(form)
    above = output.head(form)
    for found in search.lines():
        lines = write(found)
        for line in lines if above is None else (above, *lines):
            if not say(line):
                return False
        above = None
    return form != "csv" or above is None or say(above)


def _summary(trust: Trust) -> str:
    verified = trust.misfit is None and trust.unvouched is None
    return json.dumps(
        {
            "format": FORMAT,
            "summary": {
                "lines": trust.lines,
                "verified": verified,
                "misfit": trust.misfit,
                "unvouched": trust.unvouched,
            },
        },
        separators=(",", ":"),
    )
