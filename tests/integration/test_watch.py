"""`keylease status --watch` on a real terminal, and the state in which it leaves the terminal."""

from __future__ import annotations

import signal
import sys

import pytest

if sys.platform == "win32":
    pytest.skip("the standard library has no terminal to test with here", allow_module_level=True)

import termios

from support.pseudo_terminal import PseudoTerminal

URL = "https://git.example"
STDIN = ("--username", "ada", "--password-stdin")
WATCH = 'exec "$0" status --watch "$@" >/dev/tty'


@pytest.fixture
def terminal():
    """Return a terminal that the test controls."""
    with PseudoTerminal() as terminal:
        yield terminal


def start(home, terminal, *words, **environment):
    """Start `status --watch` on the terminal."""
    command = ["/bin/sh", "-c", WATCH, home.find("keylease"), *words]
    surroundings = home.environment | {"TERM": "xterm-256color"} | environment
    return terminal.start(command, surroundings)


def login(home, *words):
    """Start a session."""
    done = home.run("keylease", "login", URL, *STDIN, *words, stdin="hunter2-canary")
    assert (0, "") == (done.returncode, done.stderr)


def attributes(terminal):
    """Return the terminal's mode."""
    return termios.tcgetattr(terminal._slave)


@pytest.mark.parametrize("environment", [{}, {"NO_COLOR": "1"}], ids=["colour", "NO_COLOR"])
def test_ctrl_c_leaves_the_terminal_as_it_was(home, terminal, environment):
    """The countdown runs, and Ctrl-C ends it with the terminal's mode and cursor restored."""
    login(home)
    before = attributes(terminal)
    process = start(home, terminal, **environment)
    terminal.wait_for("of 15 min")
    terminal.wait_for("of 15 min")  # the next second

    terminal.type(b"\x03")
    code, out, err = terminal.finish(process)

    assert (130, "", "") == (code, out, err.strip())
    assert before == attributes(terminal)
    assert terminal.shown.rfind(b"\x1b[?25h") > terminal.shown.rfind(b"\x1b[?25l")
    assert (b"\x1b[32m" in terminal.shown) == (not environment)
    assert b"hunter2" not in terminal.shown


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_signal_leaves_the_terminal_as_it_was(kernel_home, terminal, number):
    """Even SIGKILL leaves no hidden cursor behind."""
    login(kernel_home)
    before = attributes(terminal)
    process = start(kernel_home, terminal)
    terminal.wait_for("of 15 min")

    process.send_signal(number)
    code, _, _ = terminal.finish(process)

    assert -number == code
    assert before == attributes(terminal)
    assert terminal.shown.rfind(b"\x1b[?25h") > terminal.shown.rfind(b"\x1b[?25l")


def test_use_and_end_are_shown_while_it_watches(kernel_home, terminal):
    """A change by git in another terminal appears in this one."""
    process = start(kernel_home, terminal)
    terminal.wait_for("no live session")
    login(kernel_home)
    terminal.wait_for(URL)
    kernel_home.run("keylease", "logout", URL)
    terminal.wait_for("no live session")

    terminal.type(b"\x03")
    assert 130 == terminal.finish(process)[0]


def test_watch_of_one_session_ends_with_it(kernel_home, terminal):
    """With a URL it ends with the session, and its exit code says that there is no session."""
    login(kernel_home, "--timeout", "2")

    code, _, err = terminal.finish(start(kernel_home, terminal, URL))

    assert 3 == code
    assert "keylease: error: " in err


def test_terminal_that_cannot_write_over_is_refused(kernel_home, terminal):
    """A terminal that cannot overwrite lines is refused, for the output would scroll on."""
    code, _, err = terminal.finish(start(kernel_home, terminal, TERM="dumb"))

    assert 2 == code
    assert "--watch needs a terminal" in err
