"""The report as one HTML page: it asks the network for nothing and needs no script.

A `Report` in, text out. What matters comes first: whether the log can be believed, then what was
refused. Nothing is told by colour alone, each table says in its caption what it leaves out, and all
times are UTC.
"""

from __future__ import annotations

import base64
import hashlib
from typing import TYPE_CHECKING, Final, NamedTuple

from keylease.audit.read.stats import most_first, sorted_days
from keylease.audit.report import timeline
from keylease.audit.report.markup import Markup, join, name, tag, verbatim
from keylease.audit.report.report import ROUTINE
from keylease.audit.report.style import CSS

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from keylease.audit.read.stats import Count, Tally
    from keylease.audit.report.report import Period, Refusal, Report, Span, Verification

_DOUBTS: Final = frozenset({"tail-ahead", "pin-missing", "key-missing"})
"""Verdicts that accuse nobody: something that would vouch for the log is not at hand."""
_SHADES: Final = 4
_MOST_DAYS: Final = 400
_DIGEST: Final = base64.b64encode(hashlib.sha256(CSS.encode("ascii")).digest()).decode("ascii")
# CSP Level 3: nothing is loaded from anywhere, no script runs, and the one style sheet that
# applies is the one with this digest. What a name could smuggle in would still do nothing.
POLICY: Final = (
    f"default-src 'none'; style-src 'sha256-{_DIGEST}'; base-uri 'none'; form-action 'none'"
)


class Origin(NamedTuple):
    """Where a page comes from."""

    directory: str
    """The audit directory."""
    made: str
    """When, RFC 3339 UTC."""
    version: str
    """Of keylease."""


def render(report: Report, verification: Verification, period: Period, origin: Origin) -> str:
    """Return the page."""
    title = "keylease audit report"
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=POLICY),
        tag("meta", name="referrer", content="no-referrer"),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="generator", content=f"keylease {origin.version}"),
        tag("title", title),
        tag("style", verbatim(CSS)),
    )
    body = tag(
        "body",
        _header(title, report, period),
        tag(
            "main",
            _verdict(verification),
            _figures(report),
            _refusals(report),
            _sessions(report),
            _hours(report),
            _days(report),
            _counts(report),
            _callers(report),
            _notices(report),
        ),
        _footer(origin),
    )
    return f"<!doctype html>\n{tag('html', head, body, lang='en')}\n"


def _header(title: str, report: Report, period: Period) -> Markup:
    stats = report.stats
    covered = "no line in this period"
    if stats.first is not None and stats.last is not None:
        covered = f"{_time(stats.first)} to {_time(stats.last)} UTC"
    bounds = []
    if period.since is not None:
        bounds.append(f"since {_time(period.since)}")
    if period.until is not None:
        bounds.append(f"until {_time(period.until)}")
    asked = f"Asked for: {', '.join(bounds)} UTC." if bounds else "Asked for: the whole log."
    return tag(
        "header",
        tag("h1", title),
        tag("p", covered, class_="period"),
        tag("p", asked, class_="period soft"),
    )


def _verdict(verification: Verification) -> Markup:
    verdict = verification.verdict
    kind = "good" if verdict == "ok" else "doubt" if verdict in _DOUBTS else "bad"
    pairs = [part for key, value in verification.details for part in _pair(key, value)]
    return tag(
        "section",
        tag("h2", f"Verification: {verdict}", id="verification"),
        tag("p", verification.meaning),
        tag("dl", *pairs) if pairs else "",
        class_=f"verdict {kind}",
        aria_labelledby="verification",
    )


def _pair(key: str, value: str) -> tuple[Markup, Markup]:
    return tag("dt", key), tag("dd", name(value))


def _figures(report: Report) -> Markup:
    stats = report.stats
    made = stats.events.values.get("session.created")
    ended = sum(count.lines for count in stats.ends.values.values())
    figures = (
        ("refusals", stats.all.refused, "bad-figure" if stats.all.refused else None),
        ("releases", stats.all.released, None),
        ("sessions started", made.lines if made else 0, None),
        ("sessions ended", ended, None),
        ("lines", stats.all.lines, None),
    )
    return tag(
        "dl",
        *(
            tag("div", tag("dt", word), tag("dd", f"{number:,}", class_=kind))
            for word, number, kind in figures
        ),
        class_="figures",
    )


def _refusals(report: Report) -> Markup:
    rows = []
    for (event, reason, target, user), refusal in report.refusals:
        routine = reason in ROUTINE
        rows.append(
            tag(
                "tr",
                tag("th", reason or "an echo", scope="row", class_=None if routine else "matters"),
                tag("td", name(target), _user(user), class_="target"),
                tag("td", event, data_label="event"),
                tag("td", f"{refusal.times:,}", class_="number", data_label="times"),
                tag("td", _between(refusal), data_label="when"),
                tag("td", name(refusal.caller), class_="program", data_label="asked by"),
            )
        )
    caption = (
        "What was asked for and not done. What is in bold is not everyday life; below it stands "
        "what is: a tool asked where there was no session, or sent back what it was given (an "
        "echo)." + _left(report.refusals_left, "refusals")
    )
    head = ("Reason", "Target and user", "Event", "Times", "When", "Asked last by")
    return _section(
        "Refusals", _table(head, rows, caption, "stack", numbers=(3,)), rows, "Nothing was refused."
    )


def _between(refusal: Refusal) -> Markup:
    first, last = _time(refusal.first), _time(refusal.last)
    if refusal.times == 1:
        return tag("span", last, class_="time")
    # A day is named once.
    last = last[11:] if first[:10] == last[:10] else last
    return join(tag("span", first, class_="time"), " to ", tag("span", last, class_="time"))


def _sessions(report: Report) -> Markup:
    days = list(timeline.by_day(report.sessions))
    rows = []
    for day, spans, along in days:
        rows.append(tag("tr", tag("th", day, colspan=5, scope="rowgroup"), class_="day"))
        rows += [_session(span, along) for span in spans]
    head = (
        "Target and user",
        timeline.ruler(days[0][2]) if days else Markup(),
        "Started",
        "Ended",
        "Releases",
    )
    caption = (
        "Each session from its start to its end. That a session ended by itself is written down "
        "when somebody looks for it, so a thin bar goes from the last use to that moment."
        + _left(report.sessions_left, "earlier sessions")
    )
    table = _table(head, rows, caption, "stack sessions", numbers=(4,))
    return _section("Sessions", join(timeline.legend(), table), rows, "There was no session.")


def _session(span: Span, along: timeline.Axis) -> Markup:
    return tag(
        "tr",
        tag("th", name(span.target), _user(span.username), scope="row"),
        tag("td", timeline.bar(span, along), class_="axis"),
        tag("td", timeline.began(span), data_label="from", class_="time"),
        tag("td", timeline.end(span), data_label="to"),
        tag("td", f"{span.releases:,}", class_="number", data_label="releases"),
    )


def _hours(report: Report) -> Markup:
    most = max((max(row) for _, row in report.hours), default=0)
    rows = [
        tag(
            "tr",
            tag("th", name(target), scope="row"),
            *(
                tag("td", f"{number:,}" if number else "·", class_=f"h{_shade(number, most)}")
                for number in row
            ),
            tag("td", f"{sum(row):,}", class_="total"),
        )
        for target, row in report.hours
    ]
    targets, releases = report.hours_left
    left = f" Not shown: {releases:,} releases for other targets." if releases or targets else ""
    caption = f"Releases in each hour of the day, UTC, over all days of the report.{left}"
    table = _table(("Target", *(f"{hour:02}" for hour in range(24)), "all"), rows, caption, "heat")
    return _section(
        "Releases by hour", _scroll(table, "Releases by hour"), rows, "Nothing was released."
    )


def _shade(number: int, most: int) -> int:
    """Return how dark: 0 for none, then quarters of the greatest number."""
    return 0 if number == 0 else 1 + min(_SHADES - 1, (number * _SHADES - 1) // most)


def _days(report: Report) -> Markup:
    days = list(sorted_days(report.stats.days))
    shown = days[-_MOST_DAYS:]
    if len(shown) < 2:  # noqa: PLR2004 - one day alone has nothing to be compared with
        return Markup()
    rows = [
        tag(
            "tr",
            tag("th", day, scope="row"),
            tag("td", f"{count.released:,}", class_="number"),
            tag("td", f"{count.refused:,}", class_="number"),
            tag("td", f"{count.lines:,}", class_="number"),
        )
        for day, count in shown
    ]
    left = sum(count.lines for _, count in days[:-_MOST_DAYS]) + report.stats.days.others.lines
    table = _table(
        ("Day", "Releases", "Refusals", "Lines"),
        rows,
        f"Days without a line are left out.{_left(left, 'lines of other days')}",
        numbers=(1, 2, 3),
    )
    return tag(
        "section",
        tag("h2", "Releases and refusals by day"),
        timeline.columns([(day, count.released, count.refused) for day, count in shown]),
        tag("details", tag("summary", "The same as numbers"), table),
    )


def _counts(report: Report) -> Markup:
    return tag(
        "div",
        _bars("Why sessions ended", "Reason", report.stats.ends, "No end was written down."),
        _bars("What was written down", "Event", report.stats.events, "There is no line."),
        class_="pair",
    )


def _bars(title: str, head: str, tally: Tally[str, Count], none: str) -> Markup:
    counted = most_first(tally)
    most = max((count.lines for _, count in counted), default=0)
    rows = [
        tag(
            "tr",
            tag("th", word, scope="row"),
            tag("td", f"{count.lines:,}", class_="number"),
            tag("td", timeline.share(count.lines, most), class_="axis"),
        )
        for word, count in counted
    ]
    table = _table((head, "Lines", Markup()), rows, "The most frequent first.", numbers=(1,))
    return _section(title, table, rows, none)


def _callers(report: Report) -> Markup:
    rows = [
        tag(
            "tr",
            tag("th", name(executable), scope="row", class_="program"),
            tag("td", name(parent), class_="program", data_label="started by"),
            tag("td", f"{released:,}", class_="number", data_label="releases"),
            tag("td", f"{refused:,}", class_="number", data_label="refusals"),
            tag("td", f"{lines:,}", class_="number", data_label="lines"),
        )
        for (executable, parent), (lines, released, refused) in report.callers
    ]
    caption = (
        "Which program ran keylease, and which one started that. A hint and no proof: a program "
        "can take another one's name." + _left(report.callers_left, "lines of other callers")
    )
    head = ("Program", "Started by", "Releases", "Refusals", "Lines")
    table = _table(head, rows, caption, "stack", numbers=(2, 3, 4))
    return _section("Callers", table, rows, "There is no line.")


def _notices(report: Report) -> Markup:
    rows = [
        tag(
            "tr",
            tag("th", _time(notice.time), scope="row", class_="time"),
            tag("td", notice.event),
            tag("td", notice.outcome, data_label="outcome"),
            tag("td", name(notice.details) if notice.details else ""),
        )
        for notice in reversed(report.notices)
    ]
    caption = "The latest first." + _left(report.notices_left, "earlier lines")
    table = _table(("When", "Event", "Outcome", "Details"), rows, caption, "stack")
    none = "No line is about the keys, the configuration or the log itself."
    return _section("Keys, configuration and the log itself", table, rows, none)


def _footer(origin: Origin) -> Markup:
    return tag(
        "footer",
        tag(
            "p",
            "Made ",
            _time(origin.made),
            f" UTC by keylease {origin.version} from ",
            name(origin.directory),
            ".",
        ),
        tag(
            "p",
            "Every number here can be had from the log: keylease audit query and keylease audit "
            "stats. All times are UTC, by the clock of this machine.",
        ),
    )


# What sections are made of.


def _section(title: str, content: Markup, rows: Sequence[Markup], none: str) -> Markup:
    return tag("section", tag("h2", title), content if rows else tag("p", none, class_="soft"))


def _table(
    head: Iterable[str],
    rows: Iterable[Markup],
    caption: str,
    kind: str | None = None,
    *,
    numbers: tuple[int, ...] = (),
) -> Markup:
    cells = [
        tag("th", cell, scope="col", class_=_class_of(number, cell, numbers))
        for number, cell in enumerate(head)
    ]
    return tag(
        "table",
        tag("caption", caption),
        tag("thead", tag("tr", *cells)),
        tag("tbody", *rows),
        class_=kind,
    )


def _class_of(number: int, cell: str, numbers: tuple[int, ...]) -> str | None:
    if isinstance(cell, Markup):
        return "axis"
    return "number" if number in numbers else None


def _scroll(table: Markup, label: str) -> Markup:
    """Let a wide table scroll by itself; the keyboard reaches it, too."""
    return tag("div", table, class_="scroll", role="region", tabindex=0, aria_label=label)


def _left(number: int, what: str) -> str:
    return f" Not shown: {number:,} {what}." if number else ""


def _user(username: str | None) -> Markup:
    return tag("span", name(username), class_="user") if username is not None else Markup()


def _time(time: str) -> str:
    """Return a time as people read it: date, hours, minutes and seconds."""
    return f"{time[:10]} {time[11:19]}"
