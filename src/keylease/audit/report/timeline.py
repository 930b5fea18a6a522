"""Draw what the report shows along an axis: inline SVG that scales with the page.

Positions are percentages, so the same picture fits a telephone and a sheet of paper. What a
picture tells stands in words beside it, so the pictures are hidden from those who listen.
"""

from __future__ import annotations

from calendar import timegm
from typing import TYPE_CHECKING, Final, NamedTuple

from keylease.audit.report.markup import Markup, join, tag

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
_ROW: Final = 16
_EDGE: Final = 8
"""Per cent: a word so near to an edge stands beside its mark, not around it."""
_NARROWEST: Final = 0.4
"""Per cent: a session of a minute in a report of a month is still seen."""
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
    """How far the marks are apart."""

    def at(self, time: float) -> float:
        """Return where a time is, in per cent of the whole; at an edge what is not on the axis."""
        return min(100.0, max(0.0, 100 * (time - self.start) / (self.end - self.start)))

    def ticks(self) -> Iterator[float]:
        """Yield the times to mark."""
        time = self.day
        while time <= self.end:
            if time >= self.start:
                yield time
            time += self.step


def by_day(spans: Sequence[Span]) -> Iterator[tuple[str, list[Span], Axis]]:
    """Yield each day with the sessions that began on it, and their axis.

    A day by itself has an axis from its first session to its last; several days have one of 24
    hours each, so that they can be compared.
    """
    days: dict[str, list[Span]] = {}
    for span in spans:
        days.setdefault(_start(span)[:10], []).append(span)
    for day, found in sorted(days.items()):
        yield day, found, _axis(day, found if len(days) == 1 else [])


def ruler(along: Axis) -> Markup:
    """Return the head of the axis: the marks with their times."""
    marks = []
    for time in along.ticks():
        place = along.at(time)
        anchor = "start" if place < _EDGE else "end" if place > 100 - _EDGE else "middle"
        word = f"{int(time - along.day) // _HOUR:02}:{int(time) % _HOUR // _MINUTE:02}"
        marks.append(tag("text", word, x=_percent(place), y=11, text_anchor=anchor))
    return tag("svg", *marks, width="100%", height=_ROW, role="img", aria_label="Time, UTC")


def bar(span: Span, along: Axis) -> Markup:
    """Return one session as a bar: thick while it was used, thin until its end was noticed."""
    began = 0.0 if span.began is None else along.at(_seconds(span.began))
    used = max(along.at(_seconds(span.used)), began)
    ended = None if span.ended is None else _seconds(span.ended)
    last = max(used, 100.0 if ended is None else along.at(ended))
    parts = [
        tag("line", x1=_percent(place), x2=_percent(place), y1=0, y2=_ROW, class_="tick")
        for place in map(along.at, along.ticks())
    ]
    if last > used:
        if ended is None:
            place, to = _percent(used), _percent(last)
            parts.append(tag("line", x1=place, x2=to, y1=8, y2=8, class_="open"))
        else:
            parts.append(_rect(used, last - used, 6, 4, "idle"))
    parts.append(_rect(min(began, 100 - _NARROWEST), max(used - began, _NARROWEST), 3, 10, "used"))
    if ended is not None and ended <= along.end:
        kind = "end" if span.reason in _EVERYDAY else "end-bad"
        parts.append(tag("line", x1=_percent(last), x2=_percent(last), y1=1, y2=15, class_=kind))
    return tag("svg", *parts, width="100%", height=_ROW, aria_hidden="true")


def began(span: Span) -> str:
    """Return in words when a session began."""
    return "earlier" if span.began is None else span.began[11:19]


def end(span: Span) -> Markup:
    """Return in words how a session ended."""
    if span.ended is None:
        return tag("span", "no end written down yet", class_="soft")
    same = span.ended[:10] == _start(span)[:10]
    when = span.ended[11:19] if same else f"{span.ended[:10]} {span.ended[11:19]}"
    kind = "user" if span.reason in _EVERYDAY else "user matters"
    return join(tag("span", when, class_="time"), tag("span", str(span.reason), class_=kind))


def legend() -> Markup:
    """Return what the bars mean."""
    samples = (
        (_rect(0, 100, 3, 10, "used"), "from the start to the last use"),
        (_rect(0, 100, 6, 4, "idle"), "not used until its end was noticed"),
        (tag("line", x1=0, x2=28, y1=8, y2=8, class_="open"), "no end written down yet"),
        (tag("line", x1=14, x2=14, y1=1, y2=15, class_="end"), "end"),
        (tag("line", x1=14, x2=14, y1=1, y2=15, class_="end-bad"), "end for a grave reason"),
    )
    return tag(
        "p",
        *(
            tag(
                "span",
                tag("svg", sample, width=28, height=_ROW, aria_hidden="true"),
                words,
                class_="key",
            )
            for sample, words in samples
        ),
        class_="soft",
    )


def share(number: int, most: int) -> Markup:
    """Return a bar that is as long as the number is great beside the greatest."""
    width = 100 * number / most if most else 0
    rect = _rect(0, max(width, _NARROWEST), 3, 10, "used")
    return tag("svg", rect, width="100%", height=_ROW, aria_hidden="true")


def columns(days: Sequence[tuple[str, int, int]]) -> Markup:
    """Return releases above a line and refusals below it, one column a day."""
    most = max((max(released, refused) for _, released, refused in days), default=0) or 1
    width, half = 100 / len(days), 70
    parts = []
    for number, (_, released, refused) in enumerate(days):
        x = number * width + width * 0.1
        up, down = half * released / most, half * refused / most
        parts.append(_rect(x, width * 0.8, half - up, up, "released"))
        parts.append(_rect(x, width * 0.8, half + 1, down, "refused"))
    low = most and max(refused for *_, refused in days) * half / most
    height = half + 22 + low
    parts += [
        tag("line", x1=0, x2="100%", y1=half + 0.5, y2=half + 0.5, class_="tick"),
        tag("text", days[0][0], x=0, y=round(height - 4, 1)),
        tag("text", days[-1][0], x="100%", y=round(height - 4, 1), text_anchor="end"),
    ]
    picture = tag("svg", *parts, width="100%", height=round(height), aria_hidden="true")
    words = f"Above the line releases, below it refusals; the tallest column is {most:,}."
    return join(tag("p", words, class_="soft"), tag("div", picture, class_="days"))


def _rect(x: float, width: float, y: float, height: float, kind: str) -> Markup:
    return tag(
        "rect",
        x=_percent(x),
        width=_percent(width),
        y=round(y, 2),
        height=round(height, 2),
        class_=kind,
    )


def _percent(number: float) -> str:
    return f"{number:.3f}%"


def _seconds(time: str) -> float:
    """Return a time of the log in seconds since the epoch."""
    fields = time[:4], time[5:7], time[8:10], time[11:13], time[14:16], time[17:19]
    try:
        return timegm((*map(int, fields), 0, 0, 0))
    except (ValueError, OverflowError):
        return 0.0  # a line that was edited can have a month 99; the verdict says so


def _axis(day: str, spans: Sequence[Span]) -> Axis:
    """Return the axis of one day: from its first session to its last, or all of it."""
    midnight = _seconds(f"{day}T00:00:00")
    if not spans:
        return Axis(midnight, midnight, midnight + _DAY, 4 * _HOUR)
    start = max(midnight, min(_seconds(_start(span)) for span in spans))
    # What was noticed on a later day would push the day itself together.
    end = min(midnight + _DAY, max(_seconds(span.last) for span in spans))
    end = max(end, start + _SHORTEST_AXIS)
    steps = (step for step in _STEPS if (end - start) / step <= _MOST_TICKS)
    return Axis(midnight, start, end, next(steps, _STEPS[-1]))


def _start(span: Span) -> str:
    return span.used if span.began is None else span.began
