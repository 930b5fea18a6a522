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
    """Add the options for the form of the answer."""
    words = (
        ("json", "One JSON document a line, described in docs/cli.md."),
        ("csv", "Comma-separated values, with a heading."),
        ("table", "A table for people, which is the usual form."),
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
    help="Only this event; may be given several times.",
)
@click.option("--target", metavar="URL", help="A host or a URL; * stands for anything.")
@click.option("--user", "username", metavar="USER", help="Only of this user name.")
@click.option("--session", metavar="ID", help="A session's id, or its beginning.")
@click.option("--outcome", type=click.Choice(sorted(OUTCOMES)), help="Only with this outcome.")
@click.option(
    "--reason", metavar="REASON", type=click.Choice(sorted(REASONS)), help="Only for this reason."
)
@click.option("--limit", metavar="N", type=click.IntRange(min=0), help="At most so many lines.")
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

    Without an option it is the whole log. A time is a span that is counted back from now (90m, 2d),
    a date, today, yesterday, or a time as in 2026-11-22T11:26:21Z; days are those of UTC. Only the
    days of the range are read. They are given oldest first, and within a day as the lines stand.

    What is read is checked on the way: each line follows the one before it, and the last one has
    the MAC of the audit key. What does not fit is told at the end, and the exit code is 25; then
    keylease audit verify says more. That the keychain is locked is told as well, with exit code 0.
    """
    search = program.wiring().audit_service.query(**wanted, reverse=reverse, limit=limit)
    if not show(search, form or "table"):
        return 0  # nobody reads on
    trust = search.trust()
    if form == "json":
        say(_summary(trust))
    if trust.misfit:
        hint = "see: keylease audit verify"
        warn(f"what was read does not verify: {trust.misfit}", hint)
        return EXIT_CODES["edited"]
    if trust.unvouched:
        warn(f"what was read is not vouched for: {trust.unvouched}")
    return 0


def show(search: Search, form: Form) -> bool:
    """Print what is found, and return whether anybody read it to the end."""
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
