"""`keylease audit tail`: the end of the log, and what comes after it."""

import json

import pytest
from support.audit_files import DAY, Log

from keylease.audit.read import service
from keylease.cli.audit import tail as command


@pytest.fixture
def log(console):
    """Return a log of two days that somebody else appends to."""
    console.state.mkdir(mode=0o700)
    return Log(console.state / "audit").fill(days=2)


def follow(console, monkeypatch, *events, words=()):
    """Follow the log; each event happens between two looks, and then Ctrl-C is typed."""
    pending, pauses = list(events), []

    def sleep(seconds):
        pauses.append(seconds)
        if not pending:
            raise KeyboardInterrupt
        event = pending.pop(0)
        event()

    monkeypatch.setattr(service.time, "sleep", sleep)
    said = console.run("audit", "tail", "-f", "--json", *words)
    return said, pauses


def seqs(said):
    """Return the numbers of the lines."""
    return [json.loads(line)["record"]["seq"] for line in said.out.splitlines()]


@pytest.mark.usefixtures("log")
def test_last_lines_are_shown_oldest_first(console):
    """The end of the log reads like the log."""
    assert list(range(3, 13)) == seqs(console.run("audit", "tail", "--json"))
    assert [11, 12] == seqs(console.run("audit", "tail", "-n", "2", "--json"))
    assert [] == seqs(console.run("audit", "tail", "-n", "0", "--json"))


def test_new_lines_follow_over_midnight_rotation_and_a_clock_set_back(console, log, monkeypatch):
    """Each new line comes once, whichever file it is in, until Ctrl-C."""
    said, pauses = follow(
        console,
        monkeypatch,
        lambda: log.add(DAY + 9000),
        lambda: log.add(2 * DAY),
        lambda: [log.add(DAY + 9001), log.add(2 * DAY + 1)],
        (log.directory / "2026-11-20.jsonl").unlink,
        lambda: log.add(3 * DAY),
        words=("-n", "1"),
    )

    assert (130, "") == (said.code, said.err.strip())
    assert [12, 13, 14, 15, 16, 17] == seqs(said)
    assert [service.PAUSE_SECONDS] * 6 == pauses, "between two looks it sleeps"


def test_log_that_begins_later_is_followed(console, monkeypatch):
    """Who watches a new machine sees its first line."""
    console.state.mkdir(mode=0o700)

    said, _ = follow(console, monkeypatch, lambda: Log(console.state / "audit").add(0))

    assert [1] == seqs(said)


@pytest.mark.usefixtures("log")
def test_reader_that_goes_away_ends_it(console, monkeypatch):
    """`keylease audit tail -f | head -1` ends, and does not go on for nobody."""
    written = []
    monkeypatch.setattr(command, "say", lambda line: written.append(line) or len(written) < 2)

    said, pauses = follow(console, monkeypatch)

    assert (0, 2, []) == (said.code, len(written), pauses)


def test_hostile_name_moves_no_cursor(console, log):
    """A name from a peer is shown, and not obeyed."""
    log.add(2 * DAY, username="eve\x1b[2J\x9b\u202e")

    for form in ("--table", "--csv", "--json"):
        out = console.run("audit", "tail", "-n", "1", form).out
        assert "[2J" in out
        assert [] == [c for c in out if not (c.isprintable() or c == "\n")]
