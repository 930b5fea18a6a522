"""The forms in which the log goes to other systems: as it stands, as a table, and as ECS.

Lines in, bytes out. Only the first can be verified wherever it comes; the others have the digest or
the links of each line, so that they can be compared with it.
"""

from __future__ import annotations

import csv
import io
import json
from typing import TYPE_CHECKING, Final

from keylease.audit import ecs
from keylease.audit.line import LineError, digest, parse
from keylease.errors import printable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from keylease.audit.line import Record
    from keylease.audit.reader import Line

COLUMNS: Final = (
    *("seq", "time", "boottime_ns", "event", "outcome", "reason", "session"),
    *("namespace", "protocol", "host", "path", "username"),
    *("caller_pid", "caller_executable", "caller_parent", "caller_terminal"),
    *("extra", "key", "prev", "mac"),
)
"""The columns of CSV. `extra` has the event's own fields as JSON."""
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")


def jsonl(line: Line) -> bytes:
    """Return the line as it stands, to the byte: it can be verified wherever it comes."""
    return line.data


def csv_row(line: Line) -> bytes:
    """Return the line as one row of CSV (RFC 4180).

    Raises:
        LineError: it is no line of the log.
    """
    return _csv(_cells(parse(line.data)))


def csv_head() -> bytes:
    """Return the row of the columns' names."""
    return _csv(COLUMNS)


def ecs_document(line: Line) -> bytes:
    """Return the line as one document of the Elastic Common Schema, on a line of its own.

    What is no line of the log becomes a `pipeline_error` with what was found: it is left to people.
    """
    try:
        found = ecs.document(parse(line.data), digest(line.data))
    except LineError as error:
        found = ecs.unreadable(line.data, str(error))
    return (
        json.dumps(found, separators=(",", ":")).replace("\x7f", "\\u007f").encode("ascii") + b"\n"
    )


def _cells(record: Record) -> Iterator[str]:
    target = record.target or {}
    caller = record.caller
    values = (
        *record[: COLUMNS.index("namespace")],
        *(target.get(name) for name in ("namespace", "protocol", "host", "path")),
        record.username,
        *(caller.get(name) for name in ("pid", "executable", "parent", "terminal")),
        json.dumps(record.extra, separators=(",", ":")) if record.extra else None,
        *(record.key, record.prev, record.mac),
    )
    return ("" if value is None else _cell(value) for value in values)


def _cell(value: object) -> str:
    """Return text that a terminal and a spreadsheet leave alone.

    A spreadsheet runs what begins like a formula (OWASP, "CSV Injection"), and a host can be called
    like one: so an apostrophe goes before it.
    """
    text = printable(str(value))
    return f"'{text}" if isinstance(value, str) and text.startswith(_FORMULA) else text


def _csv(cells: Iterable[str]) -> bytes:
    row = io.StringIO()
    csv.writer(row, lineterminator="\n").writerow(cells)
    return row.getvalue().encode("utf-8")


FORMS: Final[Mapping[str, Callable[[Line], bytes]]] = {
    "jsonl": jsonl,
    "csv": csv_row,
    "ecs": ecs_document,
}
"""Each form by its name."""
