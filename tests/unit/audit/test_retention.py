"""Retention removes whole days, oldest first, and not because of a wrong clock."""

import datetime as dt

import pytest

from keylease.audit.retention import DAYS, MOST_AT_ONCE, Day, day_files, expired, removable
from keylease.config.base import RETENTION_DAYS

TODAY = dt.date(2028, 3, 31)  # a leap day lies within the days before


def name(days_ago, today=TODAY):
    """Return the name of the day file from so many days ago."""
    return f"{today - dt.timedelta(days_ago)}.jsonl"


def days_of(*ranges):
    """Return day files with the line numbers of each range."""
    return [Day(file, first, last, f"{last:064d}") for file, first, last in ranges]


def test_the_default_is_the_configurations():
    """A log without configuration keeps as many days as the default configuration."""
    assert RETENTION_DAYS == DAYS


@pytest.mark.parametrize("today", [TODAY, dt.date(2027, 1, 1), dt.date(2100, 3, 1)])
def test_what_is_older_than_the_days_to_keep_is_expired(today):
    """Ninety days are kept beside today's, across leap days and year ends."""
    names = [name(ago, today) for ago in range(121)]

    assert [name(ago, today) for ago in range(120, 90, -1)] == expired(names, names[0], 90)


@pytest.mark.parametrize("ago", [90, 91])
def test_a_day_is_kept_to_its_end(ago):
    """The ninetieth day is kept and the one before it is not."""
    names = [name(each) for each in range(ago + 1)]

    assert ([name(91)] if ago == 91 else []) == expired(names, names[0], 90)


def test_a_clock_that_jumped_ahead_makes_nothing_old():
    """A clock that jumps ahead removes nothing: a gap of over a week counts as one day."""
    names = [name(ago) for ago in range(80)]

    assert [] == expired(names, "2099-01-01.jsonl", 90)
    assert [] == expired([*names, "2099-01-01.jsonl"], "2099-01-02.jsonl", 90)


def test_a_machine_that_was_off_for_a_year_forgets_nothing():
    """A machine that was off for a year still has its old log."""
    names = [name(ago) for ago in range(400, 500)]

    assert 10 == len(expired(names, name(0), 90)), "a hundred days; the gap counts as one"


def test_a_file_from_the_future_stays_and_ages_nothing():
    """A file dated in the future is kept and does not age other files."""
    names = [name(ago) for ago in range(85)]

    assert [] == expired([*names, "2099-01-01.jsonl"], names[0], 90)


def test_weekends_count_in_full():
    """Days without use count too, so the log covers ninety calendar days."""
    names = [name(ago) for ago in range(0, 120, 7)]

    assert [name(ago) for ago in (119, 112, 105, 98, 91)] == expired(names, names[0], 90)


@pytest.mark.parametrize(
    "other",
    [
        "lock",
        "head",
        "2020-01-01.jsonl.torn-5-00",
        "notes.jsonl",
        "2020-13-01.jsonl",
        "2020-1-1.jsonl",
    ],
)
def test_what_is_no_day_file_has_no_age(other):
    """Copies and pieces are not removed as old days."""
    assert [] == day_files([other])
    assert [] == expired([other], name(0), 1)


def test_a_beginning_of_the_chain_goes():
    """Only a beginning of the chain is removed, so the rest is still a chain."""
    days = days_of(("a", 1, 5), ("b", 6, 9), ("c", 10, 12))

    assert days[:2] == removable(days, ["a", "b"])
    assert days[:1] == removable(days[::-1], ["a"])
    assert days == removable(days, ["a", "b", "c"])
    assert [] == removable(days, ["b"])
    assert [] == removable([], [])


def test_files_whose_numbers_overlap_go_together_or_not_at_all():
    """Files with overlapping numbers are removed together, so no gap appears in the chain."""
    days = days_of(("a", 1, 20), ("b", 6, 9), ("c", 21, 30))

    assert [] == removable(days, ["a"])
    assert [] == removable(days, ["b"])
    assert days[:2] == removable(days, ["a", "b"])


def test_one_rotation_removes_no_more_than_a_line_can_name():
    """One rotation removes no more days than a line can name; the next goes on."""
    days = days_of(*((f"{n}", n, n) for n in range(1, MOST_AT_ONCE + 50)))

    assert MOST_AT_ONCE == len(removable(days, [day.name for day in days]))
