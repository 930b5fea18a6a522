"""`keylease read`: what stands on stdout, and what never does."""

from __future__ import annotations

import os
from functools import partial

import pytest

from keylease.cli import handout
from keylease.cli.base import OutputError
from keylease.model import Credential, Target
from keylease.secrets.secret import Secret
from keylease.wiring import Wiring

URL = "https://backup.example"
SECRET = b"p\xc3\xa4ss \xff word"


@pytest.fixture
def read(console):
    """Return a function that runs the command and returns its code, its answer and stderr."""
    return partial(console.answer, "read", URL)


@pytest.fixture
def session(console):
    """Start a session with an extra field."""
    fields = (("refresh", Secret(b"r\ns\0t")),)
    credential = Credential("ada", Secret(SECRET), fields=fields)
    Wiring().session.create(Target("web", "https", "backup.example"), credential)
    return console


def releases(console):
    """Return how many times the log says that a secret was handed out."""
    return [line["event"] for line in console.audit()].count("session.released")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ((), SECRET + b"\n"),
        (("--no-newline",), SECRET),
        (("--field", "password"), SECRET + b"\n"),
        (("--field", "username"), b"ada\n"),
        (("--field", "refresh", "--no-newline"), b"r\ns\0t"),
        (("--username", "ada"), SECRET + b"\n"),
        (("--show",), SECRET + b"\n"),
    ],
)
def test_value_is_written_byte_by_byte(session, read, words, expected):
    """A tool that runs the command gets the value, with one line end unless that is not wanted."""
    assert (0, expected, "") == read(*words)
    assert 1 == releases(session)


def test_session_of_a_tool_is_read_by_the_tools_name(console):
    """A script gets a token of docker's only if it says so."""
    target = Target("docker", "https", "registry.example", "")
    Wiring().session.create(target, Credential("ada", Secret(SECRET)))

    assert (3, b"") == console.answer("read", "https://registry.example")[:2]
    done = console.answer("read", "registry.example", "--tool", "docker")
    assert (0, SECRET + b"\n", "") == done


def test_reading_is_a_use(session, read):
    """It restarts the idle timeout, as git's question does."""
    session.clock.advance(600)

    read()

    assert 900 == session.status()["sessions"][0]["idle_seconds_left"]


@pytest.mark.parametrize(
    ("words", "code", "error"),
    [
        (("--field", "other"), 1, "the session has no field other"),
        (("--field", "hunter2 canary"), 2, "does not have the name of a field"),
        (("--username", "bob"), 3, "there is no session for https://backup.example as bob"),
        (("extra",), 2, "too many arguments"),
    ],
)
def test_refusal_writes_nothing(session, read, words, code, error):
    """The tool that runs it sees an exit code and reads no half of an answer."""
    done = read(*words)

    assert (code, b"") == done[:2]
    assert error in done[2]
    assert "hunter2" not in done[2]
    del session


def test_ended_session_is_told(session, read):
    """The tool's output shows the reason and a remedy."""
    session.clock.advance(901)

    code, out, err = read()

    assert (3, b"") == (code, out)
    hint = "start one with: keylease login https://backup.example"
    assert f"has ended: idle\nkeylease: hint: {hint}\n" in err


@pytest.mark.parametrize(
    ("words", "command"),
    [
        (
            ("https://ada@backup.example/it's",),
            """'https://backup.example/it'"'"'s' --username ada""",
        ),
        (("prod", "--tool", "aws"), "--tool aws prod"),
        (("prod", "--tool", "aws", "--username", "a b"), "--tool aws prod --username 'a b'"),
    ],
)
def test_hint_can_be_typed_as_it_stands(console, words, command):
    """The command in the output, copied into a shell, starts that session."""
    code, out, err = console.answer("read", *words)

    assert (3, b"") == (code, out)
    assert f"keylease: hint: start one with: keylease login {command}\n" in err


def test_terminal_is_refused_until_asked_twice(session, read, monkeypatch):
    """A terminal is refused: it shows no password, and no credential is released."""
    monkeypatch.setattr(os, "isatty", lambda fd: fd == 1)

    code, out, err = read()
    assert (2, b"") == (code, out)
    assert "stdout is a terminal, which would show the secret" in err
    assert 0 == releases(session)

    assert (0, SECRET + b"\n") == read("--show")[:2]


def test_answer_that_nobody_gets_is_no_success(monkeypatch):
    """A tool whose pipe is gone, or a disk that is full, shows in the exit code."""

    def write(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("keylease.cli.handout.os.write", write)
        with pytest.raises(OutputError, match="cannot write the answer to stdout: No space left"):
            handout.write(b"x")
