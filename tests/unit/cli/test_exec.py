"""`keylease exec`: what is refused, and that nothing is released then."""

from __future__ import annotations

import os
import signal
import sys

import pytest

from keylease.cli import handover
from keylease.cli.exec import _run
from keylease.cli.executable import NotRunnableError
from keylease.model import Credential, Target
from keylease.secrets.secret import Secret
from keylease.wiring import Wiring

URL = "https://git.example"
CANARY = b"hunter2-canary"

posix = pytest.mark.skipif(sys.platform == "win32", reason="there a command is a child")


@pytest.fixture
def program(tmp_path):
    """Return a program that exists."""
    path = tmp_path / "program"
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return str(path)


@pytest.fixture
def become(monkeypatch):
    """Return a list with what the system was asked to run; it refuses, so the test goes on."""
    asked = []

    def execve(path, words, environment):
        asked.append((path, words, environment))
        raise OSError(7, os.strerror(7))

    monkeypatch.setattr(os, "execve", execve)
    return asked


def releases(console):
    """Return how many times the log says that a secret was handed out."""
    return [line["event"] for line in console.audit()].count("session.released")


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (("--env", "A"), "there is no command to run"),
        (("--env", "A", "--"), "there is no command to run"),
        (("--", "true"), "found neither --fd nor --env"),
        (("--env", "A", "--fd", "A", "--", "true"), "two values have the same NAME"),
        (("--env", "1A", "--", "true"), "not valid for an environment variable"),
        (("--env", "=password", "--", "true"), "not valid for an environment variable"),
        (("--env", "A=", "--", "true"), "does not have the name of a field"),
        (("--env", "A=s p", "--", "true"), "does not have the name of a field"),
        (("--env", "A\n", "--", "true"), "not valid for an environment variable"),
        (("--env", "A", "true"), "too many arguments: 1 more than expected"),
        (("--env", "A", "true", "--", "true"), "too many arguments"),
        (("--env", "A=https://b.example#s p", "--", "true"), "does not have the name of a field"),
        (("--env", "A=https://b.example#", "--", "true"), "does not have the name of a field"),
        (("--env", "A=https://b.example", "--", "true"), "no --fd or --env uses the first URL"),
        (("--env", "A", "--env", "B=https://u:p@b.example", "--", "true"), "contains a password"),
    ],
)
def test_slip_in_the_command_line_releases_nothing(console, words, error):
    """Whatever is wrong with the words is found before the session is used."""
    console.login()

    said = console.run("exec", URL, *words)

    assert (2, "") == (said.code, said.out)
    assert error in said.err
    assert 0 == releases(console)


def test_what_may_be_a_password_is_not_repeated(console):
    """A password given as NAME=VALUE is not repeated on the screen."""
    said = console.run("exec", URL, "--env", "TOKEN=hunter2 canary!", "--", "true")

    assert 2 == said.code
    assert "hunter2" not in said.err


def test_command_that_does_not_exist_is_127(console):
    """A script sees the code that a shell would give, and nothing was released."""
    console.login()

    said = console.run("exec", URL, "--env", "A", "--", "no-such-command-here")

    assert 127 == said.code
    assert "keylease: error: there is no command no-such-command-here on PATH\n" in said.err
    assert 0 == releases(console)


@posix
@pytest.mark.parametrize("kind", ["directory", "file"])
def test_what_is_no_program_is_126(console, tmp_path, kind):
    """A directory or a file that is not executable gives 126, unlike a missing program."""
    console.login()
    if kind == "directory":
        (tmp_path / "thing").mkdir()
    else:
        (tmp_path / "thing").write_text("no program")

    said = console.run("exec", URL, "--env", "A", "--", str(tmp_path / "thing"))

    assert 126 == said.code
    assert 0 == releases(console)


@posix
def test_script_without_its_interpreter_releases_nothing(console, tmp_path, become):
    """A script that was copied from another machine is refused before the session is used."""
    console.login()
    script = tmp_path / "script"
    script.write_text("#!/no/such/interpreter -x\n")
    script.chmod(0o755)

    said = console.run("exec", URL, "--env", "A", "--", str(script))

    assert (126, []) == (said.code, become)
    assert "its first line names '/no/such/interpreter', which is not a program\n" in said.err
    assert "hint: nothing was released\n" in said.err
    assert 0 == releases(console)


@posix
def test_name_with_escapes_is_escaped(console):
    """A name from somewhere writes nothing but itself to the terminal."""
    said = console.run("exec", URL, "--env", "A", "--", "\x1b]0;x\x07\n")

    assert 127 == said.code
    assert "\\x1b]0;x\\x07\\n" in said.err
    assert "\x1b" not in said.err


def test_without_a_session_nothing_runs(console, program, become):
    """No session, no command: the code is that of every command."""
    console.login("https://other.example")

    said = console.run("exec", URL, "--env", "A", "--", program)

    assert (3, []) == (said.code, become)
    assert f"keylease: hint: start one with: keylease login {URL}\n" in said.err


@posix
def test_command_gets_the_values_in_its_environment(console, program, become):
    """Each name has its value, as bytes; the words are the user's own, and without a secret."""
    console.login(URL, "ada", b"p=\xc3\xa4\xff " + CANARY)

    words = ("--env", "USER_NAME=username", "--env", "TOKEN", "--", program, "--x", "{TOKEN}", "--")
    said = console.run("exec", URL, *words)

    [(path, words, environment)] = become
    assert (program, [program, "--x", "{TOKEN}", "--"]) == (path, words)
    assert b"ada" == environment[b"USER_NAME"]
    assert b"p=\xc3\xa4\xff " + CANARY == environment[b"TOKEN"]
    assert 126 == said.code
    assert "cannot run " in said.err
    assert CANARY.decode() not in said.out + said.err
    assert 1 == releases(console)


@posix
def test_command_gets_a_pipe_with_the_value_in_it(console, program, become):
    """The number stands in the environment and in the words, and the pipe ends after the value."""
    console.login(password=CANARY)

    console.run("exec", URL, "--fd", "FD", "--", program, "/dev/fd/{FD}", "x{FD}{FD}", "{OTHER}")

    [(_, words, environment)] = become
    number = int(environment[b"FD"])
    with os.fdopen(number, "rb") as pipe:
        assert os.get_inheritable(number)
        assert CANARY == pipe.read()
    assert [f"/dev/fd/{number}", f"x{number}{number}", "{OTHER}"] == words[1:]
    assert CANARY not in b"".join(environment.values())


@posix
def test_longest_password_fits_a_pipe(console, program, become):
    """Whatever login takes, exec can hand over."""
    from keylease.cli.credentials import LONGEST_SECRET  # noqa: PLC0415 - only here

    wiring = Wiring()
    secret = Secret(b"x" * LONGEST_SECRET)
    wiring.session.create(Target("web", "https", "git.example"), Credential("ada", secret))

    console.run("exec", URL, "--fd", "FD", "--", program)

    [(_, _, environment)] = become
    with os.fdopen(int(environment[b"FD"]), "rb") as pipe:
        assert LONGEST_SECRET == len(pipe.read())


@posix
def test_extra_field_can_be_handed_over(console, program, become):
    """A refresh token goes where the user says, under its own name."""
    fields = (("oauth_refresh_token", Secret(CANARY)),)
    credential = Credential("ada", Secret(b"x"), fields=fields)
    Wiring().session.create(Target("web", "https", "git.example"), credential)

    console.run("exec", URL, "--env", "REFRESH=oauth_refresh_token", "--", program)

    [(_, _, environment)] = become
    assert CANARY == environment[b"REFRESH"]


@posix
@pytest.mark.parametrize(
    ("field", "error"),
    [
        ("username", "keylease: error: the session has no user name"),
        ("other", "keylease: error: the session has no field other"),
        ("nul", "keylease: error: the field nul contains a NUL"),
    ],
)
def test_what_the_session_does_not_have_is_said(console, program, become, field, error):
    """A command is not started with half of what it needs."""
    credential = Credential(None, Secret(b"x"), fields=(("nul", Secret(b"a\0b")),))
    Wiring().session.create(Target("web", "https", "git.example"), credential)

    said = console.run("exec", URL, "--env", f"A={field}", "--", program)

    assert (1, []) == (said.code, become)
    assert said.err.startswith(error)
    assert "the release is in the audit log, but the command got nothing\n" in said.err
    assert 1 == releases(console)


@posix
def test_authorization_header_is_not_handed_over_as_a_password(console, program, become):
    """A credential in a tool's own form is not used as a password."""
    credential = Credential("ada", Secret(CANARY), authtype="Bearer")
    Wiring().session.create(Target("web", "https", "git.example"), credential)

    said = console.run("exec", URL, "--env", "A", "--", program)

    assert (3, []) == (said.code, become)


@posix
def test_values_of_several_sessions_can_be_handed_over(console, program, become):
    """A command gets the secrets of two services, and each session is used once."""
    console.login("https://a.example", "ada", b"pass-a")
    console.login("https://b.example/x", "bob", b"pass-b")
    words = ("A=https://a.example", "U=https://a.example#username", "B=https://bob@b.example/x")

    console.run("exec", *(each for word in words for each in ("--env", word)), "--", program)

    [(_, _, environment)] = become
    assert [b"pass-a", b"ada", b"pass-b"] == [environment[name] for name in (b"A", b"U", b"B")]
    assert 2 == releases(console)


@posix
def test_session_of_the_first_url_goes_together_with_others(console, program, become):
    """A bare name is from the URL before the options, and only that name."""
    console.login()
    console.login("https://b.example", "bob", b"pass-b")

    console.run("exec", URL, "--env", "A", "--env", "B=https://b.example", "--", program)

    [(_, _, environment)] = become
    assert [b"pass", b"pass-b"] == [environment[b"A"], environment[b"B"]]


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (("--env", "A", "--", "true"), "--env A has no URL"),
        (("--env", "A=username", "--", "true"), "--env A has no URL"),
        (("--username", "ada", "--env", "A=https://git.example", "--", "true"), "needs a URL"),
    ],
)
def test_value_from_nowhere_is_refused(console, words, error):
    """Without a URL there is nothing to take a value from."""
    said = console.run("exec", *words)

    assert 2 == said.code
    assert error in said.err


@posix
def test_one_missing_session_stops_the_command(console, program, become):
    """No command is started with half of what it needs."""
    console.login()

    said = console.run("exec", URL, "--env", "A", "--env", "B=https://b.example", "--", program)

    assert (3, []) == (said.code, become)


@posix
def test_exec_uses_the_session(console, program, become):
    """It restarts the idle timeout, as every use does."""
    console.login()
    console.clock.advance(600)

    console.run("exec", URL, "--env", "A", "--", program)

    assert 1 == len(become)
    assert 900 == console.status()["sessions"][0]["idle_seconds_left"]


@posix
def test_command_that_cannot_be_run_leaves_the_signals_as_they_were(tmp_path):
    """A program that goes on after the refusal must not die when its reader goes away."""
    broken = tmp_path / "broken"
    broken.write_bytes(b"\x7fELF that is none")
    broken.chmod(0o755)
    before = signal.getsignal(signal.SIGPIPE)

    with pytest.raises(NotRunnableError):
        _run(str(broken), ["broken"], [])

    assert before is signal.getsignal(signal.SIGPIPE)


@posix
def test_nothing_is_handed_over_after_the_end(console, program, become, monkeypatch):
    """A session that ends between its release and the start of the command gives it nothing."""
    console.login()
    real = handover._values

    def held_up(*arguments):
        found = real(*arguments)
        console.run("logout", "--all")
        return found

    monkeypatch.setattr(handover, "_values", held_up)

    said = console.run("exec", URL, "--env", "A", "--", program)

    assert (3, "") == (said.code, said.out)
    assert [] == become
    assert ("session.refused", "not_found") == _last(console)


@posix
def test_command_that_cannot_be_run_is_on_record(console, program, become):
    """Where the system refuses the command, the line of the release is not the last word."""
    console.login()

    said = console.run("exec", URL, "--env", "A", "--", program)

    assert 126 == said.code
    assert 1 == len(become), "the control: it was tried"
    assert ("session.refused", "state") == _last(console)


def _last(console):
    """Return event and reason of the last audit line."""
    line = console.audit()[-1]
    return line["event"], line["reason"]
