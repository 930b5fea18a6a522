"""`keylease audit export`: the log for other systems, and where its consumer is."""

from __future__ import annotations

import csv
import io
import json

import pytest

from keylease.cli.audit import export
from keylease.model import Target
from keylease.wiring import Wiring


@pytest.fixture
def used(console):
    """Return a machine with a few lines of log."""
    console.login("https://one.example")
    console.run("extend", "https://one.example")
    console.run("extend", "https://none.example")
    return console


@pytest.fixture
def log(used):
    """Return the bytes of the log."""
    (path,) = (used.state / "audit").glob("*.jsonl")
    return path


def numbers(said):
    """Return the numbers of the lines that were printed."""
    return [json.loads(line)["seq"] for line in said.out.splitlines()]


def test_jsonl_is_the_log_to_the_byte(used, log):
    """What comes out can be verified elsewhere."""
    said = used.run("audit", "export")

    assert (0, "") == (said.code, said.err)
    assert log.read_text("ascii") == said.out


def test_csv_has_a_head_and_a_row_for_each_line(used, log):
    """As a spreadsheet reads it."""
    rows = list(csv.DictReader(io.StringIO(used.run("audit", "export", "--format", "csv").out)))

    assert len(log.read_bytes().splitlines()) == len(rows)
    assert "one.example" in {row["host"] for row in rows}


def test_ecs_is_one_document_a_line(used):
    """As a shipper takes it."""
    documents = [
        json.loads(line) for line in used.run("audit", "export", "--format", "ecs").out.splitlines()
    ]

    assert [line["seq"] for line in used.audit()] == [
        each["event"]["sequence"] for each in documents
    ]
    assert {"keylease.audit"} == {each["event"]["dataset"] for each in documents}


def test_after_a_number_comes_the_rest(used):
    """For who keeps the place by himself."""
    everything = numbers(used.run("audit", "export"))

    assert everything[2:] == numbers(used.run("audit", "export", "--after", "2"))
    assert everything == numbers(used.run("audit", "export", "--after", "0"))


def test_cursor_goes_on_where_it_was(used, tmp_path):
    """Each line comes once, over any number of runs."""
    cursor = str(tmp_path / "cursor")
    words = ("audit", "export", "--cursor", cursor)

    first = numbers(used.run(*words))
    nothing = numbers(used.run(*words))
    used.run("extend", "https://one.example")
    second = numbers(used.run(*words))

    assert [] == nothing
    assert [line["seq"] for line in used.audit()] == first + second
    assert 1 <= len(second)


def test_cursor_does_not_move_for_a_reader_that_went_away(used, tmp_path, monkeypatch):
    """What nobody took is given again."""
    cursor = tmp_path / "cursor"

    def broken(_):
        raise export.click.exceptions.Exit(0)

    monkeypatch.setattr(export, "_put", broken)
    used.run("audit", "export", "--cursor", str(cursor))

    assert not cursor.exists()


def test_log_that_was_exchanged_is_told(used, log, tmp_path):
    """A copy of last week in its place is not exported as if nothing was."""
    cursor = str(tmp_path / "cursor")
    used.run("audit", "export", "--cursor", cursor)
    log.write_bytes(b"".join(log.read_bytes().splitlines(keepends=True)[:2]))

    said = used.run("audit", "export", "--cursor", cursor)

    assert (6, "") == (said.code, said.out)
    assert "the log ends before line" in said.err
    assert "keylease audit verify" in said.err


def test_lines_that_went_before_they_were_taken_are_told(used, log):
    """Retention is no secret to who was late."""
    lines = log.read_bytes().splitlines(keepends=True)
    log.write_bytes(b"".join(lines[3:]))

    said = used.run("audit", "export", "--after", "1")

    assert 0 == said.code
    assert "the log no longer has the next line after 1: 2 are missing\n" in said.err


def test_cursor_that_is_none_is_left_alone(used, tmp_path):
    """A file that was named by mistake keeps its content."""
    path = tmp_path / "novel.txt"
    path.write_text("Call me Ishmael.\n")

    said = used.run("audit", "export", "--cursor", str(path))

    assert (6, "") == (said.code, said.out)
    assert "Call me Ishmael.\n" == path.read_text()
    assert "Ishmael" not in said.err


def test_output_is_a_private_file_and_not_over_another_one(used, log, tmp_path):
    """An export has the names of hosts in it."""
    path = tmp_path / "export.jsonl"

    assert (0, "", "") == used.run("audit", "export", "--output", str(path))
    again = used.run("audit", "export", "--output", str(path))
    forced = used.run("audit", "export", "--output", str(path), "--force")

    assert (2, 0) == (again.code, forced.code)
    assert log.read_bytes() == path.read_bytes()


def test_follow_gives_what_is_there_and_then_what_comes(used, tmp_path, monkeypatch):
    """A shipper sees each line as it is written, and the cursor goes along."""
    cursor = tmp_path / "cursor"
    turns = []

    def tick(_):
        turns.append(used.audit()[-1]["seq"])
        if len(turns) > 2:
            raise KeyboardInterrupt
        Wiring().session.extend(Target("web", "https", "one.example"))

    monkeypatch.setattr(export.time, "sleep", tick)
    monkeypatch.setattr(export, "_is_nobody_listening", lambda: False)

    said = used.run("audit", "export", "--follow", "--cursor", str(cursor))

    assert 130 == said.code
    found = numbers(said)
    assert [*range(1, turns[-1] + 1)] == found
    assert cursor.read_text().split()[0] == str(turns[-1])


def test_follow_ends_when_nobody_listens(used, monkeypatch):
    """A shipper that was killed leaves no process behind."""
    monkeypatch.setattr(export, "_is_nobody_listening", lambda: True)

    said = used.run("audit", "export", "--follow")

    assert 0 == said.code
    assert [line["seq"] for line in used.audit()] == numbers(said)


@pytest.mark.parametrize(
    "words",
    [
        ("--after", "1", "--cursor", "x"),
        ("--output", "x", "--follow"),
        ("--output", "x", "--cursor", "y"),
        ("--until", "1d", "--follow"),
        ("--since", "rubbish"),
        ("--after", "-1"),
        ("--format", "xml"),
    ],
)
def test_options_that_make_no_sense_are_refused(used, words):
    """Before anything is written."""
    said = used.run("audit", "export", *words)

    assert (2, "") == (said.code, said.out)


def test_rubbish_in_the_log_is_passed_on_or_told(used, log):
    """As jsonl it goes through, as ECS it is a document of an error, and CSV leaves it out."""
    log.write_bytes(b"rubbish\n" + log.read_bytes())

    assert used.run("audit", "export").out.startswith("rubbish\n")
    document = json.loads(used.run("audit", "export", "--format", "ecs").out.splitlines()[0])
    assert "rubbish" == document["event"]["original"]
    said = used.run("audit", "export", "--format", "csv")
    assert "rubbish" not in said.out
    assert "it was left out\n" in said.err
