"""The export formats of the log: unchanged lines, CSV, and ECS documents.

Lines in, bytes out. Only the unchanged lines can be verified elsewhere. The other formats have the
digest or the links of each line, so that they can be compared with the log.
"""

from __future__ import annotations

import csv
import io
import json
import re
from typing import TYPE_CHECKING, Final

from keylease.audit.export import ecs
from keylease.audit.line import LineError, digest, parse
from keylease.errors import printable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from keylease.audit.line import Record
    from keylease.audit.read.reader import Line

COLUMNS: Final = (
    *("seq", "time", "boottime_ns", "event", "outcome", "reason", "session"),
    *("namespace", "protocol", "host", "path", "username"),
    *("caller_pid", "caller_executable", "caller_parent", "caller_terminal"),
    *("extra", "key", "prev", "mac"),
)
"""The columns of CSV. `extra` has the event's own fields as JSON."""
# OWASP, "CSV Injection": characters that begin a formula in a spreadsheet, also in the forms of
# East Asian keyboards and Unicode's small and raised signs, with or without quotation marks before
# them. A cell begins at the start of the text, and at any other separator a reader may use: such
# a reader ignores the quotation marks around a cell.
_FORMULA: Final = re.compile(
    r"(?:\A|(?<=[;,|\t ]))"
    r"(?=\"*[=+\-@\uff1d\uff0b\uff0d\uff20\ufe62\ufe63\ufe66\ufe6b\u2212\u207a-\u207c\u208a-\u208c])"
)


def jsonl(line: Line) -> bytes:
    """Return the line unchanged, so that it can be verified elsewhere."""
    return line.data


def csv_row(line: Line) -> bytes:
    """Return the line as one row of CSV (RFC 4180).

    Raises:
        LineError: it is not a line of the log.
    """
    return _csv(_cells(parse(line.data)))


def csv_head() -> bytes:
    """Return the row of the columns' names."""
    return _csv(COLUMNS)


def ecs_document(line: Line) -> bytes:
    """Return the line as one document of the Elastic Common Schema, with a line end.

    An invalid line becomes a `pipeline_error` with its bytes, for people to look at.
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
        json.dumps(_inert(record.extra), separators=(",", ":")) if record.extra else None,
        *(record.key, record.prev, record.mac),
    )
    return ("" if value is None else _cell(value) for value in values)


def _cell(value: object) -> str:
    """Return text that is harmless in a terminal and in a spreadsheet."""
    return _text(printable(value)) if isinstance(value, str) else str(value)


def _inert(value: object) -> object:
    """Apply `_text` to every string in a JSON value.

    In the finished JSON text `_text` could put an apostrophe before a quotation mark.
    """
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, dict):
        return {key: _inert(inner) for key, inner in value.items()}
    return [_inert(inner) for inner in value] if isinstance(value, list) else value


def _text(value: str) -> str:
    """Return text with an apostrophe before anything that a spreadsheet would run as a formula.

    The name of a host can look like a formula.
    """
    return _FORMULA.sub("'", value)


def _csv(cells: Iterable[str]) -> bytes:
    row = io.StringIO()
    # Quote every cell, for a reader that splits at the comma and at other characters.
    csv.writer(row, lineterminator="\n", quoting=csv.QUOTE_ALL).writerow(cells)
    return row.getvalue().encode("utf-8")


FORMS: Final[Mapping[str, Callable[[Line], bytes]]] = {
    "jsonl": jsonl,
    "csv": csv_row,
    "ecs": ecs_document,
}
"""Each form by its name."""
