"""Times as people type them are understood or refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keylease.audit.line import format_time
from keylease.audit.read.times import parse_time
from keylease.errors import UsageError
from keylease.model import NANOSECONDS

# 2026-11-22T11:26:21Z
NOW = 1_795_346_781 * NANOSECONDS
MIDNIGHT = NOW - (11 * 3600 + 26 * 60 + 21) * NANOSECONDS
DAY = 86_400 * NANOSECONDS


def test_now_is_what_the_other_tests_take_it_for():
    """The fixed time of these tests is the one that they state."""
    assert "2026-11-22T11:26:21.000000Z" == format_time(NOW)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("now", NOW),
        ("90m", NOW - 5400 * NANOSECONDS),
        ("2d", NOW - 2 * DAY),
        ("1h30m", NOW - 5400 * NANOSECONDS),
        ("1w", NOW - 7 * DAY),
        ("45s", NOW - 45 * NANOSECONDS),
        ("today", MIDNIGHT),
        ("Yesterday", MIDNIGHT - DAY),
        ("2026-11-22", MIDNIGHT),
        (" 2026-11-21 ", MIDNIGHT - DAY),
        ("2026-11-22T11:26:21Z", NOW),
        ("2026-11-22 11:26:21", NOW),
        ("2026-11-22T11:26", NOW - 21 * NANOSECONDS),
        ("2026-11-22t13:26:21.5+02:00", NOW + NANOSECONDS // 2),
        ("2026-11-22T07:56:21-03:30", NOW),
        ("2024-02-29", MIDNIGHT - 997 * DAY),
        ("2026-11-21T23:59:60Z", MIDNIGHT),
    ],
)
def test_time_is_understood(text, expected):
    """A time as people type it is the moment that they mean."""
    assert expected == parse_time(text, NOW)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "2",
        "2 days",
        "d2",
        "-2d",
        "2026-02-29",
        "2026-13-01",
        "2026-11-22T24:00:00Z",
        "2026-11-22T11:60Z",
        "2026-11-22T11:26:61Z",
        "2026-11-22T11:26+25:00",
        "2026-11-22T",
        "20261122",
        "٢d",
        "0000-01-01",
        "0999-12-31",
        "1000-01-01T00:00+00:01",
        "9999-12-31T23:59-23:00",
        "999999999w",
        "tomorrow",
    ],
)
def test_what_is_no_time_is_refused(text):
    """A mistyped time is refused, so it never selects other lines than were meant."""
    with pytest.raises(UsageError, match="that is not a time"):
        parse_time(text, NOW)


def test_refusal_does_not_repeat_the_word():
    """The refusal does not repeat the word, which may be a misplaced password."""
    with pytest.raises(UsageError) as refused:
        parse_time("hunter2", NOW)

    assert "hunter2" not in f"{refused.value} {refused.value.hint}"


@given(st.integers(min_value=0, max_value=4_000_000_000_000_000))
def test_time_of_the_log_is_read_back(micros):
    """A time copied from a line selects that line."""
    assert micros * 1000 == parse_time(format_time(micros * 1000), NOW)
