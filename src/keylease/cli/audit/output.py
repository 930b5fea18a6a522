"""Format lines of the log as a table, as JSON or as CSV, one at a time."""

from __future__ import annotations

import sys
from shutil import get_terminal_size
from typing import TYPE_CHECKING, Final, Literal

from keylease.audit.export.forms import csv_head, csv_row
from keylease.audit.read.stats import name_of
from keylease.errors import printable

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from keylease.audit.line import Record
    from keylease.audit.read.query import Match

Form = Literal["table", "json", "csv"]

FORMAT: Final = 1
"""The version of the JSON. It increases when a field is removed or changes its meaning."""
_WIDTHS: Final = (20, 17, 7, 20, 8)
_HEAD: Final = ("TIME", "EVENT", "OUTCOME", "REASON", "SESSION", "TARGET, USER")
_NARROW: Final = sum(_WIDTHS) + 2 * len(_WIDTHS) + 20
_SESSION_DIGITS: Final = 8
_SECONDS: Final = len("2026-11-22T11:26:21")


def head(form: Form) -> str | None:
    """Return the heading, if the form has one."""
    if form == "csv":
        return csv_head().decode("utf-8").removesuffix("\n")
    return _columns(_HEAD) if form == "table" and not _is_narrow() else None


def writer(form: Form) -> Callable[[Match], Sequence[str]]:
    """Return the function that turns a line of the log into lines of output."""
    if form == "table":
        return _block if _is_narrow() else lambda found: (_table(found.record),)
    if form == "csv":
        return lambda found: (csv_row(found.line).decode("utf-8").removesuffix("\n"),)
    return _json


def describe(record: Record) -> tuple[str, ...]:
    """Return a record in the columns of the table, for people."""
    named = [name for name in (name_of(record), record.username) if name]
    own = [f"{name} {value}" for name, value in record.extra.items()]
    return (
        record.time[:_SECONDS] + "Z",
        record.event,
        record.outcome,
        record.reason or "",
        (record.session or "")[:_SESSION_DIGITS],
        printable(", ".join([*named, *own])),
    )


def _json(found: Match) -> tuple[str]:
    # The line itself is JSON in ASCII without control characters: `parse` has checked it.
    line = found.line.data[:-1].decode("ascii")
    return (f'{{"format":{FORMAT},"record":{line}}}',)


def _table(record: Record) -> str:
    return _columns(describe(record))


def _columns(cells: Sequence[str]) -> str:
    padded = [cell.ljust(width) for cell, width in zip(cells, _WIDTHS, strict=False)]
    return "  ".join((*padded, cells[-1])).rstrip()


def _block(found: Match) -> list[str]:
    """Return a record as a block, for a terminal too narrow for the table. Nothing is cut."""
    time, event, outcome, reason, session, named = describe(found.record)
    words = (outcome if outcome != "ok" else "", reason, session, named)
    return [time, f"  {event}", *(f"  {word}" for word in words if word)]


def _is_narrow() -> bool:
    terminal = sys.stdout is not None and sys.stdout.isatty()
    return terminal and get_terminal_size().columns < _NARROW
