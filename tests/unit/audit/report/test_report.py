"""A report shows each session with its end and refusals first, in bounded size."""

from __future__ import annotations

from support.audit_records import CALLER, at, record

from keylease.audit.report.report import MOST_ROWS, MOST_SESSIONS, compile_report


def test_a_session_has_its_beginning_its_uses_and_its_end():
    """One bar of the timeline shows a session's start, uses and end."""
    report = compile_report(
        [
            record("session.created", time=at("09:00:00")),
            record("session.released", time=at("09:05:00")),
            record("session.extended", time=at("09:10:00")),
            record("session.validated", time=at("09:20:00")),
            record("session.ended", time=at("09:40:00"), reason="idle"),
        ]
    )

    (span,) = report.sessions
    assert (at("09:00:00"), at("09:10:00"), at("09:40:00")) == (span.began, span.used, span.ended)
    assert ("idle", 1) == (span.reason, span.releases)
    assert ("https://git.example", "ada") == (span.target, span.username)
    assert "0123456789abcdef0123456789abcdef" == span.id


def test_an_end_that_knows_no_target_has_the_one_of_the_beginning():
    """An end without a target gets the target of the session's start."""
    report = compile_report(
        [
            record("session.created"),
            record("session.ended", reason="tampered", target=None, username=None),
        ]
    )

    (span,) = report.sessions
    assert ("https://git.example", "ada") == (span.target, span.username)


def test_a_session_from_before_the_period_has_no_beginning():
    """A session from before the period has no start in the report."""
    (span,) = compile_report([record("session.released")]).sessions

    assert None is span.began


def test_a_refusal_makes_no_session():
    """A refusal for an unknown session adds nothing to the timeline."""
    report = compile_report([record("session.refused", outcome="refused", reason="tampered")])

    assert [] == report.sessions


def test_grave_refusals_stand_before_those_of_everyday_life():
    """Serious refusals come before routine ones, so a hundred misses do not bury them."""
    refused = [
        record("session.refused", time=at(f"10:00:{second:02}"), outcome="refused", reason=reason)
        for second, reason in enumerate(["policy", "not_found", "tampered", "not_found", "idle"])
    ]

    told = [(key[1], refusal.times) for key, refusal in compile_report(refused).refusals]

    assert [("tampered", 1), ("policy", 1), ("idle", 1), ("not_found", 2)] == told


def test_a_refusal_that_comes_again_is_one_row():
    """Repeated refusals are one row with the first time, the last time and the last caller."""
    caller = CALLER | {"executable": "/opt/tool"}
    (key, refusal), *_ = compile_report(
        [
            record("session.refused", time=at("08:00:00"), outcome="refused", reason="policy"),
            record(
                "session.refused",
                time=at("12:00:00"),
                outcome="refused",
                reason="policy",
                caller=caller,
            ),
        ]
    ).refusals

    assert ("session.refused", "policy", "https://git.example", "ada") == key
    assert (at("08:00:00"), at("12:00:00")) == (refusal.first, refusal.last)
    assert (2, "/opt/tool") == (refusal.times, refusal.caller)


def test_releases_are_counted_by_target_and_hour():
    """Releases are counted by target and hour over all days."""
    report = compile_report(
        [
            record(time=at("09:00:00")),
            record(time=at("09:59:59", "2026-11-23")),
            record(time=at("23:00:00"), host="other.example"),
            record("session.extended", time=at("11:00:00")),
        ]
    )

    assert ["https://git.example", "https://other.example"] == [name for name, _ in report.hours]
    assert {9: 2} == {hour: n for hour, n in enumerate(report.hours[0][1]) if n}
    assert {23: 1} == {hour: n for hour, n in enumerate(report.hours[1][1]) if n}


def test_callers_are_counted_with_who_started_them():
    """Callers are counted with their parents: lines, releases and refusals."""
    report = compile_report(
        [
            record("session.created"),
            record("session.released"),
            record("session.refused", outcome="refused", reason="idle"),
        ]
    )

    assert [(("/usr/bin/git", "/usr/bin/bash"), [3, 1, 1])] == report.callers


def test_what_happened_to_the_log_is_told_with_its_fields():
    """Rotations and losses are shown with how much was removed or is missing."""
    removed = {"files": ["2026-08-01.jsonl"], "through": 40, "digest": "ab"}
    report = compile_report(
        [
            record("audit.rotated", extra={"removed": removed}),
            record("audit.gap", extra={"lost": None}),
            record("session.released"),
        ]
    )

    assert [
        ("audit.rotated", "removed files 2026-08-01.jsonl, through 40, digest ab"),
        ("audit.gap", "lost unknown"),
    ] == [(notice.event, notice.details) for notice in report.notices]


def test_a_long_log_gives_a_short_report_that_says_what_it_leaves_out():
    """A long log gives a short report with the latest rows and a count of the rest."""
    many = 10_000
    records = []
    for number in range(many):
        name, time = {"host": f"h{number}.example", "session": f"{number:032x}"}, at("09:00:00")
        records += [
            record("session.created", time=time, **name),
            record("session.released", time=time, **name),
            record("session.refused", outcome="refused", reason="policy", time=time, **name),
            record("audit.gap", time=time, extra={"lost": 1}, **name),
        ]

    report = compile_report(records)

    assert MOST_SESSIONS == len(report.sessions)
    assert f"{many - 1:032x}" == report.sessions[-1].id
    assert many == len(report.sessions) + report.sessions_left
    assert many == sum(each.times for _, each in report.refusals) + report.refusals_left
    assert many == sum(sum(row) for _, row in report.hours) + report.hours_left[1]
    assert many == len(report.notices) + report.notices_left
    assert MOST_ROWS == len(report.refusals) == len(report.hours) == len(report.notices)


def test_lines_that_were_edited_break_nothing():
    """Edited lines do not break the report."""
    odd = dict.fromkeys(CALLER, 9)

    report = compile_report(
        [record(time="2026-99-99T99:99:99.000000Z", caller=odd, target=None, session=None)]
    )

    assert [(("9", "9"), [1, 1, 0])] == report.callers
