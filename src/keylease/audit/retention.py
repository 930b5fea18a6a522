"""Which day files may be removed: whole days, oldest first, and never because of a clock jump.

Names, numbers and dates only; `log` reads and removes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

DAYS: Final = 90
"""How many days are kept by default."""
SUFFIX: Final = ".jsonl"
MOST_AT_ONCE: Final = 1000
"""Maximum number of day files that one rotation removes: one line names them all."""
_LONGEST_HOLE: Final = 7
_DATE: Final = len("2026-11-22")
_MARCH: Final = 3


class Day(NamedTuple):
    """One day file and its lines."""

    name: str
    first: int
    last: int
    digest: str
    """Of its last line."""


def day_files(names: Iterable[str]) -> list[str]:
    """Return the names that are day files, by date."""
    return sorted(name for name in names if name.endswith(SUFFIX) and _number(name) is not None)


def expired(names: Iterable[str], today: str, days: int) -> list[str]:
    """Return the day files that are older than `days` days, oldest first.

    The age is counted from file to file, back from the file `today`. A gap of more than a week
    between two files counts as one day, so a clock jump or an unused machine makes no file old. A
    file dated later than today has no age.
    """
    age, after = 0, _number(today) or 0
    old = []
    for name in reversed(day_files(names)):
        number = _number(name) or 0
        if name >= today:
            continue
        hole = after - number
        age += hole if hole <= _LONGEST_HOLE else 1
        after = number
        if age > days:
            old.append(name)
    return old[::-1]


def removable(days: Sequence[Day], old: Iterable[str]) -> list[Day]:
    """Return the longest beginning of the chain that consists of whole `old` files.

    A clock that was set back leaves files with overlapping numbers. They are removed together or
    not at all.
    """
    in_order = sorted(days, key=lambda day: day.first)
    names = set(old)
    count, last = 0, 0
    for number, day in enumerate(in_order[:MOST_AT_ONCE], 1):
        if day.name not in names:
            break
        last = max(last, day.last)
        if number == len(in_order) or last < in_order[number].first:
            count = number
    return in_order[:count]


def _number(name: str) -> int | None:
    """Return the number of the day in a file's name, or `None` if the name is not a date."""
    year, month, day = name[:4], name[5:7], name[8:_DATE]
    digits = year + month + day
    if name != f"{year}-{month}-{day}{SUFFIX}" or not (digits.isascii() and digits.isdigit()):
        return None
    if not (1 <= int(month) <= 12 and 1 <= int(day) <= 31):  # noqa: PLR2004 - the calendar
        return None
    # Days of the Gregorian calendar in integers. The year begins in March, so the leap day is its
    # last day. Importing datetime would cost the helper more than the rest of a rotation.
    years = int(year) - (int(month) < _MARCH)
    months = (int(month) - _MARCH) % 12
    before = years * 365 + years // 4 - years // 100 + years // 400
    return before + (153 * months + 2) // 5 + int(day)
