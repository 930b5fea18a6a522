"""The timeline draws exactly what the lines say."""

from __future__ import annotations

import re

import pytest
from support.audit_records import at, record

from keylease.audit.report import timeline
from keylease.audit.report.report import compile_report
from keylease.audit.report.template import ENVIRONMENT

EVENING = at("18:00:00")
DAY, HOUR = 86_400, 3600
DRAWING = ENVIRONMENT.get_template("drawing.html").module


def spans(*records):
    """Return the sessions of some records."""
    return compile_report(records).sessions


def whole_life(reason="idle", ended=EVENING, session="a"):
    """Return the lines of a session that was used from 6 to 12."""
    return [
        record("session.created", time=at("06:00:00"), session=session),
        record("session.released", time=at("12:00:00"), session=session),
        record("session.ended", time=ended, reason=reason, session=session),
    ]


def rectangles(picture):
    """Return class, position and width of each rectangle."""
    found = re.findall(r'<rect x="([\d.]+)%" width="([\d.]+)%" [^>]*class="(\w+)"', picture)
    return {kind: (float(x), float(width)) for x, width, kind in found}


def bar(span, along):
    """Return a session as it is drawn."""
    return DRAWING.bar(timeline.bar(span, along), along)


def end(span):
    """Return the end of a session as it is labelled."""
    return DRAWING.end(timeline.end(span))


def all_day(span):
    """Return the 24-hour axis that is used for several days."""
    other = record(time=at("10:00:00", "2026-11-24"), session="other")
    (day, _, along), _ = timeline.by_day([span, *spans(other)])
    assert "2026-11-22" == day
    return along


def test_bar_goes_from_start_to_last_use_and_thinner_to_its_end():
    """The bar runs from start to last use, and a thinner one to the recorded end."""
    (span,) = spans(*whole_life())

    found = rectangles(bar(span, all_day(span)))

    assert {"used": (25, 25), "idle": (50, 25)} == found


def test_session_without_an_end_is_open():
    """A session without a recorded end is drawn as open."""
    (span,) = spans(*whole_life()[:2])

    picture = bar(span, all_day(span))

    assert {"used": (25, 25)} == rectangles(picture)
    assert 'class="open"' in picture
    assert 'class="end' not in picture
    assert "no end written down yet" in end(span)


@pytest.mark.parametrize(
    ("reason", "kind"), [("idle", "end"), ("logout", "end"), ("tampered", "end-bad")]
)
def test_grave_end_looks_and_reads_differently(reason, kind):
    """A serious end differs in colour, weight and word."""
    (span,) = spans(*whole_life(reason))

    assert f'class="{kind}"' in bar(span, all_day(span))
    assert reason in end(span)
    assert (kind == "end-bad") == ("matters" in end(span))


def test_end_on_another_day_is_named_with_its_day():
    """An end on another day is labelled with that day."""
    (span,) = spans(*whole_life(ended=at("08:00:00", "2026-11-24")))

    assert "2026-11-24 08:00:00" in end(span)
    assert 'class="end"' not in bar(span, all_day(span))


def test_one_day_has_an_axis_from_its_first_session_to_its_last():
    """For one day the axis runs from the first session to the last."""
    ((day, found, along),) = timeline.by_day(spans(*whole_life()))

    assert ("2026-11-22", 1) == (day, len(found))
    assert (6 * HOUR, 18 * HOUR) == (along.start % DAY, along.end % DAY)
    assert [f"{hour:02}:00" for hour in range(6, 19, 2)] == words(along)


def test_several_days_have_an_axis_of_24_hours_each():
    """For several days every axis has 24 hours, so days can be compared."""
    found = list(
        timeline.by_day(
            spans(record(session="a"), record(session="b", time=at("09:00:00", "2026-11-23")))
        )
    )

    assert ["2026-11-22", "2026-11-23"] == [day for day, _, _ in found]
    for _, _, along in found:
        assert ["00:00", "04:00", "08:00", "12:00", "16:00", "20:00", "24:00"] == words(along)


def test_a_single_moment_has_an_axis_too():
    """A session of a single moment is visible."""
    ((_, (span,), along),) = timeline.by_day(spans(record("session.created")))

    assert along.end > along.start
    assert rectangles(bar(span, along))["used"][1] > 0


def test_columns_are_as_high_as_the_numbers_are_great():
    """Column heights match the numbers, with releases up and refusals down on one scale."""
    picture = DRAWING.columns([("2026-11-21", 10, 0), ("2026-11-22", 5, 2)])

    heights = re.findall(r'height="([\d.]+)" class="(\w+)"', picture)
    assert [(70, "released"), (0, "refused"), (35, "released"), (14, "refused")] == [
        (float(height), kind) for height, kind in heights
    ]


def test_share_of_nothing_is_nothing_to_divide_by():
    """An empty table is drawn without a division by zero."""
    assert "<rect" in DRAWING.share(0, 0)


def words(along):
    """Return the labels at the marks."""
    return re.findall(r">(\d\d:\d\d)<", DRAWING.ruler(along))
