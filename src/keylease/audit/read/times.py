"""Parse a time that a user types: `2d`, `1h30m`, `yesterday`, a date, or RFC 3339.

Days are in UTC, as everywhere in the log, and a time without an offset is in UTC.
"""

from __future__ import annotations

import re
from calendar import timegm
from datetime import date
from typing import Final

from keylease.errors import UsageError
from keylease.model import NANOSECONDS

_MINUTE, _HOUR, _DAY, _WEEK = 60, 3600, 86_400, 604_800
_UNITS: Final = {"s": 1, "m": _MINUTE, "h": _HOUR, "d": _DAY, "w": _WEEK}
_SPAN: Final = re.compile(r"(?:\d{1,9}[smhdw])+", re.ASCII)
_PART: Final = re.compile(r"(\d+)([smhdw])", re.ASCII)
_DATE: Final = re.compile(r"(\d{4})-(\d\d)-(\d\d)", re.ASCII)
# RFC 3339, section 5.6, where "T" may be a space, and the seconds and the offset may be left out.
_TIME: Final = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)[Tt ](\d\d):(\d\d)(?::(\d\d)(?:\.(\d{1,9}))?)?"
    r"(?:([Zz])|([+-])(\d\d):(\d\d))?",
    re.ASCII,
)
_LAST_HOUR, _LAST_MINUTE = 23, 59
# RFC 3339, section 5.7: the second of a leap second is 60.
_LAST_SECOND: Final = 60
_FRACTION_DIGITS: Final = 9
# Only years of four digits: times are compared as text, and strftime(3) pads no others.
_BEGINNING: Final = timegm((1000, 1, 1, 0, 0, 0)) * NANOSECONDS
_END: Final = timegm((9999, 12, 31, 23, 59, 60)) * NANOSECONDS
_EXPECTED: Final = "give a span such as 2d or 1h30m, a date, a time in RFC 3339, or yesterday"


def parse_time(text: str, now_ns: int) -> int:
    """Return a moment in nanoseconds since the Unix epoch.

    A span is counted back from now, and a date, `today` and `yesterday` are the beginning of that
    day.

    Args:
        text: The user's text.
        now_ns: The wall clock.

    Raises:
        UsageError: the text has none of these forms, or the calendar has no such day.
    """
    found = _parse(text.strip(), now_ns)
    # NOTE: do not repeat the text. It may be a secret in the wrong place.
    if found is None or not _BEGINNING <= found < _END:
        msg = "that is not a time"
        raise UsageError(msg, _EXPECTED)
    return found


def _parse(word: str, now_ns: int) -> int | None:
    today = now_ns // NANOSECONDS // _DAY * _DAY
    named = {"now": now_ns, "today": today * NANOSECONDS, "yesterday": (today - _DAY) * NANOSECONDS}
    if word.lower() in named:
        return named[word.lower()]
    if _SPAN.fullmatch(word):
        parts = _PART.findall(word)
        return now_ns - sum(int(count) * _UNITS[unit] for count, unit in parts) * NANOSECONDS
    try:
        if found := _DATE.fullmatch(word):
            return _midnight(*found.groups()) * NANOSECONDS
        if found := _TIME.fullmatch(word):
            return _time(found)
    except ValueError:
        return None
    return None


def _midnight(year: str, month: str, day: str) -> int:
    date(int(year), int(month), int(day))  # raises ValueError where the calendar has no such day
    return timegm((int(year), int(month), int(day), 0, 0, 0))


def _time(found: re.Match[str]) -> int:
    year, month, day, hour, minute, second, fraction, _, sign, *offset = found.groups()
    clock = (int(hour), int(minute), int(second or 0))
    away = tuple(int(each or 0) for each in offset)
    limits = (_LAST_HOUR, _LAST_MINUTE, _LAST_SECOND)
    if any(each > limit for each, limit in zip((*clock, *away), (*limits, *limits), strict=False)):
        raise ValueError
    seconds = _midnight(year, month, day) + clock[0] * _HOUR + clock[1] * _MINUTE + clock[2]
    ahead = (away[0] * _HOUR + away[1] * _MINUTE) * (-1 if sign == "-" else 1)
    return (seconds - ahead) * NANOSECONDS + int((fraction or "0").ljust(_FRACTION_DIGITS, "0"))
