"""Statistics count every line once, in bounded memory."""

from __future__ import annotations

from support.audit_records import HOST, at, record

from keylease.audit.read.stats import MOST_NAMES, count, name_of


def test_lines_releases_and_refusals_are_counted():
    """The totals of lines, releases and refusals are right."""
    stats = count(
        [
            record("session.created"),
            record("session.released"),
            record("session.released"),
            record("session.refused", outcome="refused", reason="not_found"),
        ]
    )

    assert {"lines": 4, "released": 2, "refused": 1} == stats.all.to_json()


def test_each_line_counts_for_its_day_target_and_event():
    """Each line counts once in the table of days, of targets and of events."""
    stats = count(
        [
            record(time=at("23:59:59", "2026-11-21")),
            record(host="other.example"),
            record("session.ended", reason="idle"),
            record("audit.gap", target=None),
        ]
    )

    assert {"2026-11-21": 1, "2026-11-22": 3} == numbers(stats.days)
    assert {"https://git.example": 2, "https://other.example": 1} == numbers(stats.targets)
    assert {"session.released": 2, "session.ended": 1, "audit.gap": 1} == numbers(stats.events)
    assert {"idle": 1} == numbers(stats.ends)


def test_first_and_last_are_by_the_clock():
    """First and last go by the clock, so a set-back clock does not reverse them."""
    stats = count([record(time=at(time)) for time in ("10:00:00", "09:00:00", "09:30:00")])

    assert (at("09:00:00"), at("10:00:00")) == (stats.first, stats.last)


def test_an_empty_log_has_no_first_line():
    """An empty log has no first line and gives no error."""
    stats = count([])

    assert (None, None) == (stats.first, stats.last)
    assert [] == stats.to_json()["days"]


def test_names_beyond_the_bound_are_counted_together():
    """A tool that asks for a million hosts fills no memory; the rest is counted together."""
    stats = count(record(host=f"h{number}.example") for number in range(MOST_NAMES + 10))

    assert MOST_NAMES == len(stats.targets.values)
    assert 10 == stats.targets.others.lines
    assert MOST_NAMES + 10 == stats.all.lines


def test_the_most_frequent_come_first_and_equals_by_name():
    """Rows are sorted by count, then by name, so every run prints the same."""
    hosts = ["b.example", "c.example", "a.example", "c.example"]

    targets = count(record(host=host) for host in hosts).to_json()["targets"]

    assert ["https://c.example", "https://a.example", "https://b.example"] == [
        each["target"] for each in targets
    ]


def test_a_target_of_another_family_is_told_apart():
    """docker's session for a host is counted apart from git's."""
    docker = record(target=HOST | {"namespace": "docker", "path": "v2/"})

    assert "docker https://git.example/v2/" == name_of(docker)


def test_a_line_that_was_edited_is_counted_all_the_same():
    """An edited line is counted, so it does not hide the rest."""
    odd = record(target=dict.fromkeys(HOST, 7), reason=None, event="session.ended")

    assert {"none": 1} == numbers(count([odd]).ends)


def numbers(tally):
    """Return the count of each key."""
    return {key: each.lines for key, each in tally.values.items()}
