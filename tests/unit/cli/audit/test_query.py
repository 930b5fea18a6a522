"""`keylease audit query`: the log for people, for programs and for spreadsheets."""

import csv
import io
import json
import os
import subprocess
import sys

import pytest
from support.audit_files import TARGET, Log

from keylease.cli import base

URL = "https://git.example"
HOSTILE = "ada\x1b[2J\x07\u202e\x9b\u2028\x7f"


@pytest.fixture
def used(console):
    """Return a console with two sessions in its log."""
    console.login()
    console.clock.advance(600)
    console.login("https://other.example", "bob")
    return console


def events(said):
    """Return the events of an answer in JSON."""
    records = [json.loads(line).get("record") for line in said.out.splitlines()]
    return [record["event"] for record in records if record]


def test_without_options_it_is_the_whole_log(used):
    """A person sees what happened, oldest first, under a heading."""
    said = used.run("audit", "query")
    lines = said.out.splitlines()

    assert (0, "", 6) == (said.code, said.err, len(lines))
    assert lines[0].startswith("TIME ")
    assert "vault.created" in lines[1]
    assert lines[2].endswith("https://git.example, ada")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("--event", "login"), ["login", "login"]),
        (("--event", "login", "--limit", "1"), ["login"]),
        (("--reverse", "--limit", "2"), ["login", "session.created"]),
        (("--target", "other.example"), ["session.created", "login"]),
        (("--user", "ada", "--event", "login"), ["login"]),
        (("--since", "5m", "--event", "login"), ["login"]),
        (("--until", "5m", "--event", "login"), ["login"]),
        (("--outcome", "refused"), []),
        (("--reason", "idle"), []),
        (("--session", "0" * 32), []),
    ],
)
def test_options_narrow_the_search(used, words, expected):
    """Each option does what it says."""
    assert expected == events(used.run("audit", "query", "--json", *words))


def test_json_is_one_document_a_line_and_ends_with_what_it_proves(used):
    """A program reads line by line, and learns at the end whether to believe it."""
    documents = [json.loads(line) for line in used.run("audit", "query", "--json").out.splitlines()]

    assert {1} == {document["format"] for document in documents}
    assert used.audit() == [document["record"] for document in documents[:-1]]
    assert {"lines": 5, "verified": True, "misfit": None, "unvouched": None} == documents[-1][
        "summary"
    ]


@pytest.mark.parametrize("form", ["--table", "--json", "--csv"])
def test_no_form_has_a_control_byte(console, form):
    """Whatever a peer's names hold, the terminal obeys nobody."""
    console.state.mkdir(mode=0o700)
    Log(console.state / "audit").add(0, username=HOSTILE)
    out = console.run("audit", "query", form).out

    assert "x1b[2J" in out or "u001b[2J" in out, "the control: the name is there"
    assert [] == [c for c in out if not (c.isprintable() or c == "\n")]


def test_tool_of_a_session_stands_before_its_url(console):
    """The sessions of git and of docker for one host are told apart, and looked for as shown."""
    console.state.mkdir(mode=0o700)
    log = Log(console.state / "audit")
    log.add(0)
    log.add(1, target={**TARGET, "namespace": "docker"})

    shown = console.run("audit", "query").out.splitlines()[1:]

    assert ["https://git.example, ada", "docker https://git.example, ada"] == [
        line.rpartition("  ")[2] for line in shown
    ]
    assert [shown[1]] == console.run(
        "audit", "query", "--target", "docker https://git.example"
    ).out.splitlines()[1:]


def test_csv_is_read_by_programs_and_computed_by_none(console):
    """A user name that is a formula stays a name in a spreadsheet."""
    names = ["=cmd|' /C calc'!A0", "+1", "-1", "@SUM(A1)", "a,b", 'a"b']
    console.state.mkdir(mode=0o700)
    log = Log(console.state / "audit")
    for name in names:
        log.add(0, username=name)

    said = console.run("audit", "query", "--csv")
    rows = list(csv.DictReader(io.StringIO(said.out)))

    assert [*(f"'{name}" for name in names[:4]), *names[4:]] == [row["username"] for row in rows]


def test_empty_answer_still_has_its_form(console):
    """Where nothing is found, a program finds the columns and the summary."""
    console.login()
    words = ("audit", "query", "--event", "logout")

    assert "" == console.run(*words).out
    assert 1 == len(console.run(*words, "--csv").out.splitlines())
    assert ["format", "summary"] == list(json.loads(console.run(*words, "--json").out))


def test_log_that_was_changed_is_told_and_has_an_exit_code(used):
    """Nobody is shown a forged line without a word."""
    (path,) = (used.state / "audit").glob("*.jsonl")
    path.write_bytes(path.read_bytes().replace(b'"ada"', b'"eve"'))

    said = used.run("audit", "query", "--json")

    assert 25 == said.code
    assert "keylease: warning: the log does not verify: line 3 does not follow" in said.err
    assert json.loads(said.out.splitlines()[-1])["summary"]["verified"] is False


def test_locked_keychain_does_not_hide_the_log(used):
    """The lines are there to be read, and it is said that nobody vouches for them."""
    used.keystore.lock()

    said = used.run("audit", "query")

    assert (0, 6) == (said.code, len(said.out.splitlines()))
    assert "keylease: warning: the log could not be verified to its end" in said.err


def test_machine_without_a_log_has_no_lines(console):
    """Before the first use there is nothing, nothing is made, and that is no error."""
    assert (0, "", "") == console.run("audit", "query")
    assert not console.state.exists()


@pytest.mark.parametrize(
    "words", [("--since", "hunter2"), ("--event", "nothing"), ("--limit", "-1"), ("--outcome", "?")]
)
def test_options_that_make_no_sense_are_refused(console, words):
    """A slip is not taken for a search with no result."""
    said = console.run("audit", "query", *words)

    assert (2, "") == (said.code, said.out)
    assert "hunter2" not in said.err


def test_reader_that_goes_away_ends_the_search(used, monkeypatch):
    """`keylease audit query | head` stops reading the log when head has what it wants."""
    seen = []

    def write(line, stream):
        seen.append(line)
        if len(seen) == 2 and stream is sys.stdout:
            raise BrokenPipeError

    monkeypatch.setattr(base, "_write", write)
    monkeypatch.setattr(base.os, "dup2", lambda *_: None)
    monkeypatch.setattr(sys.stdout, "fileno", lambda: 1, raising=False)

    assert 0 == used.run("audit", "query").code
    assert 2 == len(seen)


@pytest.mark.skipif(sys.platform == "win32", reason="a shell's pipe is POSIX's")
def test_pipe_that_closes_leaves_no_traceback(tmp_path):
    """In a real pipe, too, nothing but the lines that were read."""
    (tmp_path / "state").mkdir(mode=0o700)
    (tmp_path / "state" / "audit").mkdir(mode=0o700)
    words = f"{sys.executable} -m keylease audit query --csv | true"
    done = subprocess.run(
        ["sh", "-c", words],
        env=os.environ | {"KEYLEASE_STATE_DIR": str(tmp_path / "state")},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert (0, "") == (done.returncode, done.stderr)


@pytest.mark.parametrize("columns", ["40", "72", "97"])
def test_narrow_terminal_has_a_block_for_each_line(used, monkeypatch, columns):
    """Nothing is cut and nothing runs into the next column."""
    monkeypatch.setenv("COLUMNS", columns)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)

    lines = used.run("audit", "query", "--event", "login").out.splitlines()

    assert ["2026-09-21T14:13:20Z", "  login"] == lines[:2]
    assert "  https://git.example, ada" in lines
    assert not any(line.startswith("TIME") for line in lines)
