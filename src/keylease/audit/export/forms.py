"""The forms in which the log goes to other systems: as it stands, as a table, and as ECS.

Lines in, bytes out. Only the first can be verified wherever it comes; the others have the digest or
the links of each line, so that they can be compared with it.
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
# OWASP, "CSV Injection": what a spreadsheet takes for the beginning of a formula, in the forms of
# East Asian keyboards and of Unicode's small and raised signs too, quotation marks before it or
# not. A cell begins where the text does, and wherever a reader splits the text: one that splits at
# another sign than the comma ignores the quotation marks around a cell.
_FORMULA: Final = re.compile(
    r"(?:\A|(?<=[;,|\t ]))"
    r"(?=\"*[=+\-@\uff1d\uff0b\uff0d\uff20\ufe62\ufe63\ufe66\ufe6b\u2212\u207a-\u207c\u208a-\u208c])"
)


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
        json.dumps(_inert(record.extra), separators=(",", ":")) if record.extra else None,
        *(record.key, record.prev, record.mac),
    )
    return ("" if value is None else _cell(value) for value in values)


def _cell(value: object) -> str:
    """Return text that a terminal and a spreadsheet leave alone."""
    return _text(printable(value)) if isinstance(value, str) else str(value)


def _inert(value: object) -> object:
    """Return what JSON is made of with every string in it as `_text` has it.

    In the finished JSON an apostrophe could come to stand before a quotation mark.
    """
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, dict):
        return {key: _inert(inner) for key, inner in value.items()}
    return [_inert(inner) for inner in value] if isinstance(value, list) else value


def _text(value: str) -> str:
    """Return text with an apostrophe before whatever a spreadsheet would run as a formula.

    A host can be called like one.
    """
    return _FORMULA.sub("'", value)


def _csv(cells: Iterable[str]) -> bytes:
    row = io.StringIO()
    # Every cell in quotation marks: a reader that splits at the comma and at other signs keeps to
    # them.
    csv.writer(row, lineterminator="\n", quoting=csv.QUOTE_ALL).writerow(cells)
    return row.getvalue().encode("utf-8")


FORMS: Final[Mapping[str, Callable[[Line], bytes]]] = {
    "jsonl": jsonl,
    "csv": csv_row,
    "ecs": ecs_document,
}
"""Each form by its name."""
