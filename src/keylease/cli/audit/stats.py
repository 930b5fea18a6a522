"""`keylease audit stats`: count the lines of the log by day, target, event and reason."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Final

import click
from rich.console import Console
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from keylease.audit.read.stats import count, most_first, sorted_days
from keylease.cli.audit.reading import range_options, read_range, records, tell_unreadable
from keylease.cli.base import Command, json_option, say, say_json
from keylease.cli.table import counted as amount
from keylease.errors import printable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from keylease.audit.read.stats import Count, Stats

    Rows = list[tuple[str, Count]]

FORMAT: Final = 1
"""The version of the JSON. It increases when a field is removed or changes its meaning."""
_MOST_ROWS: Final = 20
_BAR: Final = 24
_NARROW: Final = 40
"""Minimum columns for names and numbers."""
_LONGEST_NAME: Final = 1024
_SECONDS: Final = len("2026-11-22T11:26:21")


@click.command(cls=Command)
@range_options
@click.option("--all", "all_rows", is_flag=True, help="Show every row, not only the first 20.")
@json_option
def stats(since: str | None, until: str | None, all_rows: bool, as_json: bool) -> None:
    """Count the lines of the audit log: by day, target, event and reason.

    Bars compare the numbers of lines within a table. REFUSED counts the refusals among the lines.
    Days are in UTC. This command verifies nothing.
    """
    found = records(read_range(since, until))
    counted = count(found)
    if as_json:
        say_json({"format": FORMAT, **counted.to_json(), "unreadable": found.unreadable})
    else:
        _show(counted, None if all_rows else _MOST_ROWS)
    tell_unreadable(found)


def _show(counted: Stats, most: int | None) -> None:
    """Print the tables.

    Raises:
        OutputError: stdout cannot be written.
    """
    if counted.first is None or counted.last is None:
        say("there is no line")
        return
    first, last = (each[:_SECONDS] for each in (counted.first, counted.last))
    everything = counted.all
    amounts = (
        amount(everything.lines, "line"),
        amount(everything.released, "release"),
        amount(everything.refused, "refusal"),
    )
    say(f"{', '.join(amounts)}, {first}Z to {last}Z")
    # rich draws into a string, so that errors of stdout are handled in one place.
    drawn = Console(file=sys.stdout, highlight=False, markup=False, emoji=False)
    drawn.width = max(drawn.width, _NARROW)
    bars = drawn.width >= _NARROW + _BAR
    with drawn.capture() as captured:
        for title, rows, left in _tables(counted, most):
            drawn.print()
            drawn.print(_table(title, rows, bars=bars))
            if left:
                drawn.print(Text(left))
    click.echo(captured.get(), nl=False)


def _tables(counted: Stats, most: int | None) -> Iterator[tuple[str, Rows, str]]:
    """Yield the title of each table, its rows, and a note about omitted rows."""
    days = list(sorted_days(counted.days))
    yield "DAY", days[-most:] if most else days, _left(days, most)
    for title, tally in (
        ("TARGET", counted.targets),
        ("EVENT", counted.events),
        ("REASON OF REFUSALS", counted.refusals),
        ("REASON OF ENDS", counted.ends),
    ):
        rows = most_first(tally)
        if rows:
            yield title, rows[:most], _left(rows, most, tally.others.lines)


def _left(rows: Rows, most: int | None, others: int = 0) -> str:
    """Return the note below a table that omits rows."""
    said = []
    if most is not None and len(rows) > most:
        said.append(f"{len(rows) - most} more, see --all")
    if others:
        said.append(f"{others} lines of others, too many to tell apart")
    return "and " + "; and ".join(said) if said else ""


def _table(title: str, rows: Rows, *, bars: bool) -> Table:
    """Return one row each, with a bar if there is room."""
    most = max(each.lines for _, each in rows)
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="")
    table.add_column(title, overflow="fold")
    for name in ("LINES", "REFUSED"):
        table.add_column(name, justify="right", no_wrap=True)
    if bars:
        table.add_column("", width=_BAR)
    for name, each in rows:
        bar = ProgressBar(total=most, completed=each.lines, width=_BAR, complete_style="cyan")
        refused = Text(str(each.refused) if each.refused else "", style="red")
        cells = (Text(printable(name[:_LONGEST_NAME])), Text(str(each.lines)), refused)
        table.add_row(*cells, *([bar] if bars else ()))
    return table
