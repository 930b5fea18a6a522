"""The command line as a whole: what is refused, how, and with which exit code."""

from __future__ import annotations

import sys

import pytest

import keylease
from keylease.__main__ import OPERATIONS
from keylease.cli import COMMANDS, main
from keylease.cli.setup import TOOLS


@pytest.mark.parametrize(
    ("words", "error", "hint"),
    [
        (
            ("statsu",),
            f"there is no command statsu: expected {', '.join(COMMANDS)}",
            "see: keylease --help",
        ),
        (
            ("setup", "svn"),
            f"there is no command svn: expected {', '.join(TOOLS)}",
            "see: keylease setup --help",
        ),
        (
            ("get", "--help"),
            "get is for tools, which ask on stdin: expected no arguments",
            "see: git help credentials",
        ),
        (("login",), "missing argument 'URL'", "see: keylease login --help"),
        (
            ("status", "https://a.example", "b", "c"),
            "too many arguments: 2 more than expected",
            "see: keylease status --help",
        ),
        (
            ("login", "x", "--timeout", "soon"),
            "invalid value for '--timeout': 'soon' is not a valid integer",
            "see: keylease login --help",
        ),
    ],
)
def test_usage_error_is_one_line_and_a_hint(console, words, error, hint):
    """Whatever finds it, click or keylease, a slip looks the same."""
    said = console.run(*words)

    assert (2, "") == (said.code, said.out)
    assert [f"keylease: error: {error}", f"keylease: hint: {hint}"] == said.err.splitlines()


@pytest.mark.parametrize("operation", sorted(OPERATIONS))
def test_operation_with_a_word_too_many_is_not_called_unknown(console, operation):
    """An operation with too many words is not called unknown, because the README names it."""
    said = console.run(operation, "more")

    assert 2 == said.code
    assert f"error: {operation} is for tools" in said.err


@pytest.mark.parametrize("option", ["--password", "--nope"])
def test_unknown_option_is_a_usage_error(console, option):
    """click's wording differs between versions, its form here does not."""
    said = console.run("login", "https://git.example", option)

    error, hint = said.err.splitlines()
    assert 2 == said.code
    assert error.startswith(f"keylease: error: no such option: {option}") or option in error
    assert not error.endswith(".")
    assert "keylease: hint: see: keylease login --help" == hint


@pytest.mark.parametrize(
    "words",
    [
        ("https://ada:hunter2@git.example",),
        ("login", "https://git.example", "hunter2"),
        ("login", "https://ada:hunter2@git.example", "hunter2"),
        ("login", "https://git.example", "--password=hunter2"),
        ("login", "ada:hunter2@git.example"),
        ("logout", "https://ada:hunter2@git.example"),
        ("status", "https://ada:hunter2@git.example"),
        ("extend", "https://ada:hunter2@git.example"),
    ],
)
def test_password_in_the_wrong_place_is_not_repeated(console, words):
    """A password in the wrong argument is not repeated on the screen."""
    said = console.run(*words)

    assert (2, "") == (said.code, said.out)
    assert said.err.startswith("keylease: error: ")
    assert "hunter2" not in said.err


@pytest.mark.parametrize("words", [(), ("key",)])
def test_no_command_shows_the_help(console, words):
    """Without a command the help is printed, and the exit code is not 0."""
    said = console.run(*words)

    assert (2, "") == (said.code, said.out)
    assert said.err.startswith("Usage: keylease")


def test_help_lists_every_command(console):
    """Everything there is can be found."""
    said = console.run("--help")

    assert (0, "") == (said.code, said.err)
    for name in COMMANDS:
        assert f"\n  {name} " in said.out


def test_version(console):
    """A bug report can say which version."""
    assert (0, f"keylease {keylease.__version__}\n", "") == console.run("--version")


def test_escaped_in_errors_too(console):
    """A name on the command line, pasted from anywhere, does not colour the error."""
    said = console.run("status", "https://git.example/\u202e")

    assert "\\u202e" in said.err
    assert all(line.isprintable() for line in said.err.splitlines())


@pytest.mark.parametrize("words", [("status",), ("list", "--json"), ("config", "show"), ("gc",)])
def test_keychain_that_nothing_is_called_is_refused_by_every_command(console, words):
    """A wrong name is reported at once, not at the first session."""
    said = console.run("--keychain", "kernal", *words)

    assert (2, "") == (said.code, said.out)
    assert "keylease: error: no keychain is called 'kernal': expected secret-service" in said.err


def test_interrupt_has_the_shells_code(monkeypatch):
    """Ctrl-C ends a command as it ends any other."""

    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("keylease.cli.report.survey", interrupt)
    monkeypatch.setattr("keylease.cli.status.survey", interrupt)

    assert 130 == main(["status"])


def test_relative_state_directory_is_refused(console, monkeypatch):
    """The state never depends on where a command is typed."""
    monkeypatch.setenv("KEYLEASE_STATE_DIR", "here")

    assert 2 == console.run("status").code


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such modes")
@pytest.mark.parametrize("words", [("status",), ("status", "--json"), ("logout", "--all")])
def test_unusable_state_has_its_own_code(console, words):
    """A state directory that others can write to is not used, and not repaired in silence."""
    console.login()
    console.state.chmod(0o777)

    said = console.run(*words)

    assert 6 == said.code
    assert said.err.startswith("keylease: error: ")
