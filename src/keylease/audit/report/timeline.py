"""The positions of sessions on a time axis; `templates/drawing.html` draws them."""

from __future__ import annotations

from calendar import timegm
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from keylease.audit.report.report import Span

_MINUTE: Final = 60
_HOUR: Final = 60 * _MINUTE
_DAY: Final = 24 * _HOUR
_STEPS: Final = (
    *(_MINUTE, 5 * _MINUTE, 15 * _MINUTE, 30 * _MINUTE),
    *(_HOUR, 2 * _HOUR, 3 * _HOUR, 4 * _HOUR),
)
_MOST_TICKS: Final = 6
_SHORTEST_AXIS: Final = 10 * _MINUTE
_EDGE: Final = 8
"""Per cent. Nearer to an edge than this, a label is beside its mark, not centred on it."""
_NARROWEST: Final = 0.4
"""Minimum width of a bar, in per cent of the axis."""
_SHADES: Final = 4
_EVERYDAY: Final = frozenset(
    {"idle", "cap", "logout", "erased", "replaced", "credential_expired", "reboot"}
)


class Axis(NamedTuple):
    """A stretch of time within a day, in seconds since the epoch."""

    day: float
    """When the day began."""
    start: float
    end: float
    step: int
    """The distance between marks."""

    def at(self, time: float) -> float:
        """Return the position of a time in per cent; an edge for a time outside the axis."""
        return min(100.0, max(0.0, 100 * (time - self.start) / (self.end - self.start)))

    def marks(self) -> Iterator[tuple[float, str, str]]:
        """Yield each mark: its position, the text anchor of its label (SVG), and the label."""
        time = self.day
        while time <= self.end:
            if time >= self.start:
                place = self.at(time)
                anchor = "start" if place < _EDGE else "end" if place > 100 - _EDGE else "middle"
                hours, seconds = divmod(int(time - self.day), _HOUR)
                yield place, anchor, f"{hours:02}:{seconds // _MINUTE:02}"
            time += self.step


def by_day(spans: Sequence[Span]) -> Iterator[tuple[str, list[Span], Axis]]:
    """Yield each day with the sessions that began on it, and their axis.

    A single day has an axis from its first session to its last. Several days have an axis of 24
    hours each, so that they can be compared.
    """
    days: dict[str, list[Span]] = {}
    for span in spans:
        days.setdefault(_start(span)[:10], []).append(span)
    for day, found in sorted(days.items()):
        yield day, found, _axis(day, found if len(days) == 1 else [])


class Bar(NamedTuple):
    """The position of one session on its axis, in per cent of the whole."""

    drawn: float
    """The start of the thick part: from the session's beginning to its last use."""
    width: float
    """The width of the thick part. It has a minimum, so that short sessions stay visible."""
    used: float
    """The last use."""
    last: float
    """The end, or the end of the axis if no end is known."""
    ended: bool
    mark: str | None
    """The class of the mark at the end; `None` if the end is not on the axis."""


class EndText(NamedTuple):
    """How a session ended, in words."""

    when: str
    reason: str
    grave: bool


def bar(span: Span, along: Axis) -> Bar:
    """Return one session as a bar: thick while it was used, thin until its end was noticed."""
    start = 0.0 if span.began is None else along.at(_seconds(span.began))
    used = max(along.at(_seconds(span.used)), start)
    ended = None if span.ended is None else _seconds(span.ended)
    last = max(used, 100.0 if ended is None else along.at(ended))
    mark = "end" if span.reason in _EVERYDAY else "end-bad"
    return Bar(
        min(start, 100 - _NARROWEST),
        max(used - start, _NARROWEST),
        used,
        last,
        ended is not None,
        mark if ended is not None and ended <= along.end else None,
    )


def began(span: Span) -> str:
    """Return the time of a session's start, as text."""
    return "earlier" if span.began is None else span.began[11:19]


def end(span: Span) -> EndText | None:
    """Return the end of a session as text; `None` if there is no line about it."""
    if span.ended is None:
        return None
    same = span.ended[:10] == _start(span)[:10]
    when = span.ended[11:19] if same else f"{span.ended[:10]} {span.ended[11:19]}"
    return EndText(when, str(span.reason), span.reason not in _EVERYDAY)


def shade(number: int, most: int) -> int:
    """Return the shade: 0 for none, then 1 to 4 by quarters of the greatest number."""
    return 0 if number == 0 else 1 + min(_SHADES - 1, (number * _SHADES - 1) // most)


def _seconds(time: str) -> float:
    """Return a time of the log in seconds since the epoch."""
    fields = time[:4], time[5:7], time[8:10], time[11:13], time[14:16], time[17:19]
    try:
        return timegm((*map(int, fields), 0, 0, 0))
    except (ValueError, OverflowError):
        return 0.0  # an edited line can have a month 99; the verdict reports it


def _axis(day: str, spans: Sequence[Span]) -> Axis:
    """Return the axis of one day: from its first session to its last, or all of it."""
    midnight = _seconds(f"{day}T00:00:00")
    if not spans:
        return Axis(midnight, midnight, midnight + _DAY, 4 * _HOUR)
    start = max(midnight, min(_seconds(_start(span)) for span in spans))
    # An end noticed on a later day would compress the day, so stop at midnight.
    end = min(midnight + _DAY, max(_seconds(span.last) for span in spans))
    end = max(end, start + _SHORTEST_AXIS)
    steps = (step for step in _STEPS if (end - start) / step <= _MOST_TICKS)
    return Axis(midnight, start, end, next(steps, _STEPS[-1]))


def _start(span: Span) -> str:
    return span.used if span.began is None else span.began
