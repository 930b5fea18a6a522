"""`keylease audit stats`: how much happened."""

from __future__ import annotations

import json

import pytest

DAY = 86_400


@pytest.fixture
def used(console):
    """Return a machine with two days of log."""
    console.login("https://one.example")
    console.run("extend", "https://one.example")
    console.clock.advance(DAY)
    console.login("https://two.example")
    console.run("extend", "https://none.example")
    return console


def test_a_machine_without_a_log_has_no_line(console):
    """Counting makes nothing."""
    said = console.run("audit", "stats")

    assert (0, "there is no line\n", "") == said
    assert not console.state.exists()


def test_days_targets_events_and_reasons_are_counted(used):
    """The numbers are those of the log."""
    lines = used.audit()

    said = used.run("audit", "stats")

    assert (0, "") == (said.code, said.err)
    assert said.out.startswith(f"{len(lines)} lines, ")
    assert " 1 refusal, " in said.out
    for word in ("DAY", "TARGET", "EVENT", "REASON OF REFUSALS", "REASON OF ENDS", "not_found"):
        assert word in said.out
    for day in {line["time"][:10] for line in lines}:
        (row,) = [row for row in said.out.splitlines() if row.startswith(day)]
        assert str(sum(line["time"].startswith(day) for line in lines)) == row.split()[1]


@pytest.mark.parametrize("columns", [1, 40, 60])
def test_a_narrow_terminal_has_no_bars_and_all_names(used, monkeypatch, columns):
    """A number without what it counts says nothing; a bar can be left out."""
    monkeypatch.setenv("COLUMNS", str(columns))

    said = used.run("audit", "stats")

    for word in ("session.created", "not_found", "https://one.example"):
        assert word in said.out


def test_json_has_the_same_numbers(used):
    """For programs."""
    lines = used.audit()

    found = json.loads(used.run("audit", "stats", "--json").out)

    assert 1 == found["format"]
    assert len(lines) == found["total"]["lines"] == sum(each["lines"] for each in found["days"])
    assert len(lines) == sum(each["lines"] for each in found["events"])
    assert {"https://one.example", "https://two.example", "https://none.example"} == {
        each["target"] for each in found["targets"]
    }
    assert 0 == found["unreadable"]
    assert found["first"] == lines[0]["time"]


def test_only_the_time_that_is_asked_for(used):
    """A day by itself."""
    last = used.audit()[-1]["time"][:10]

    found = json.loads(used.run("audit", "stats", "--json", "--since", last).out)

    assert [last] == [each["day"] for each in found["days"]]


def test_long_tables_are_cut_and_say_so(console):
    """A hundred targets do not scroll the rest away."""
    for number in range(25):
        console.run("extend", f"https://h{number:02}.example")
    console.login()
    for number in range(25):
        console.run("extend", f"https://h{number:02}.example")

    short, long = console.run("audit", "stats"), console.run("audit", "stats", "--all")

    assert "and 6 more, see --all" in short.out
    assert "https://h24.example" not in short.out
    assert "https://h24.example" in long.out
    assert "more, see" not in long.out


def test_names_are_printed_harmlessly(console):
    """A host moves no cursor and turns no line."""
    console.login()
    console.run("extend", "https://git\u202e[red].example")

    said = console.run("audit", "stats")

    assert r"https://git\u202e[red].example" in said.out
    assert "\x1b" not in said.out


def test_what_is_no_line_is_told(used):
    """Rubbish is left out, and not in silence."""
    path = min((used.state / "audit").glob("*.jsonl"))
    path.write_bytes(b"rubbish\n" + path.read_bytes())

    said = used.run("audit", "stats")

    assert 0 == said.code
    assert "warning: left out 1 lines that keylease did not write\n" in said.err
