"""Format tables, times and durations for people."""

from __future__ import annotations

import sys
import unicodedata
from calendar import timegm
from shutil import get_terminal_size
from time import strptime
from typing import TYPE_CHECKING, Final

from keylease.model import rfc3339

if TYPE_CHECKING:
    from collections.abc import Sequence

_GAP: Final = "  "
_RFC_3339: Final = "%Y-%m-%dT%H:%M:%SZ"
_SECONDS_A_MINUTE, _MINUTES_AN_HOUR = 60, 60


def lay_out(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Return a table with one line for each row, or one block for each if a line is too long.

    Nothing is cut, because two host names may differ only at the end. The cells must be printable.
    """
    widths = [max(map(columns, column)) for column in zip(head, *rows, strict=True)]
    lines = [_GAP.join(map(_padded, row, widths)).rstrip() for row in (head, *rows)]
    if max(map(columns, lines)) <= _room():
        return lines
    blocks = [lay_out_block(list(zip(head[1:], row[1:], strict=True)), row[0]) for row in rows]
    return [line for block in blocks for line in block]


def lay_out_block(pairs: Sequence[tuple[str, str]], title: str = "") -> list[str]:
    """Return one pair of name and value a line, below the title."""
    width = max(columns(key) for key, _ in pairs)
    indent = _GAP if title else ""
    lines = [f"{indent}{_padded(key, width)}{_GAP}{value}" for key, value in pairs]
    return [title, *lines] if title else lines


def columns(text: str) -> int:
    """Return how many columns of a terminal the text takes, by the Unicode tables.

    Wide and full-width characters take two (UAX #11), combining marks none.
    """
    return sum(
        0 if unicodedata.combining(c) else 1 + (unicodedata.east_asian_width(c) in {"W", "F"})
        for c in text
    )


def duration(seconds: int) -> str:
    """Return a duration for people, rounded down to two units at most."""
    minutes, rest = divmod(max(0, seconds), _SECONDS_A_MINUTE)
    hours, minutes = divmod(minutes, _MINUTES_AN_HOUR)
    parts = ((hours, "h"), (minutes, "min"), (rest, "s"))
    shown = [f"{count} {unit}" for count, unit in parts if count][:2]
    return " ".join(shown) or "0 s"


def time(wall_ns: int) -> str:
    """Return a time of the wall clock in RFC 3339 UTC, as the audit log has it."""
    return rfc3339(wall_ns)


def read_time(text: str) -> int | None:
    """Return the Unix seconds of a time that `time` wrote; `None` for any other text.

    Users can edit the files that hold these times.
    """
    try:
        return timegm(strptime(text, _RFC_3339))
    except ValueError:
        return None


def counted(count: int, one: str, many: str = "") -> str:
    """Return a number and its noun.

    Args:
        count: The number.
        one: The noun in the singular.
        many: The noun in the plural; the singular and an s if not given.
    """
    return f"{count} {one if count == 1 else many or one + 's'}"


def _padded(text: str, width: int) -> str:
    return text + " " * (width - columns(text))


def _room() -> float:
    # A pipe or a file has no width, and its reader wants one line for each row.
    terminal = sys.stdout is not None and sys.stdout.isatty()
    return get_terminal_size().columns if terminal else float("inf")
