"""Questions go only to the terminal, and secrets are read without echo."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

if sys.platform == "win32":
    pytest.skip("the standard library has no pseudo-terminal here", allow_module_level=True)

from support.pseudo_terminal import PseudoTerminal
from support.waiting import WAIT_SECONDS

ASK = """
import sys
from keylease.system import terminal
from keylease.errors import UsageError
try:
    if sys.argv[1] == "secret":
        with terminal.ask_secret(sys.argv[2]) as secret:
            answer = bytes(secret.reveal())
    else:
        answer = terminal.ask(sys.argv[2])
    print(answer)
except UsageError as error:
    print("refused:", error)
except KeyboardInterrupt:
    print("interrupted")
"""
ENVIRONMENT = {"PATH": os.defpath, "PYTHONPATH": os.pathsep.join(sys.path), "LC_ALL": "C.UTF-8"}


def words(kind, question="Password: "):
    """Return the command that asks a question."""
    return [sys.executable, "-c", ASK, kind, question]


@pytest.fixture
def screen():
    """Return a terminal that the test controls."""
    with PseudoTerminal() as terminal:
        yield terminal


def answer(screen, kind, keys, question="Password: "):
    """Ask, type, and return what the program received."""
    process = screen.start(words(kind, question), ENVIRONMENT)
    screen.wait_for(question)
    screen.type(keys)
    _, out, err = screen.finish(process)
    assert "" == err
    return out.strip()


def test_secret_is_read_and_not_shown(screen):
    """A password is not shown, and arrives as typed."""
    assert repr("hünter2 ".encode()) == answer(screen, "secret", "hünter2 \n".encode())
    assert b"nter2" not in screen.shown
    assert screen.echoes, "the terminal is left as it was"


def test_name_is_read_and_shown(screen):
    """A user name is shown as it is typed, so the test above would see a secret."""
    assert repr(b"ada") == answer(screen, "name", b"ada\n")
    assert b"ada" in screen.shown


def test_bytes_that_are_not_text_are_kept(screen):
    """A password in another encoding arrives unchanged."""
    assert repr(b"p\xff\xe9") == answer(screen, "secret", b"p\xff\xe9\n")


def test_correction_of_a_slip_is_the_terminals_own(screen):
    """Backspace and Ctrl-U work in a question."""
    assert repr(b"right") == answer(screen, "secret", b"wrong\x15righh\x7ft\n")


@pytest.mark.parametrize("kind", ["name", "secret"])
def test_no_answer_is_refused(screen, kind):
    """Ctrl-D is refused, not taken for an empty password."""
    said = answer(screen, kind, b"\x04")

    assert "refused: the question got no answer" == said
    assert screen.echoes


def test_empty_answer_is_an_answer(screen):
    """An empty line is an answer; the command decides what it means."""
    assert repr(b"") == answer(screen, "secret", b"\n")


def test_interrupt_leaves_the_echo_on(screen):
    """After Ctrl-C the echo is on again."""
    assert "interrupted" == answer(screen, "secret", b"half a passw\x03")
    assert screen.echoes


@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP"])
def test_a_signal_leaves_the_echo_on(screen, name):
    """A signal that ends the program at its question turns the echo on again."""
    process = screen.start(words("secret"), ENVIRONMENT)
    screen.wait_for("Password: ")
    assert not screen.echoes, "the control: it was off"
    screen.type(b"half a passw")

    process.send_signal(getattr(signal, name))

    assert (-getattr(signal, name), "", "") == screen.finish(process)
    assert screen.echoes


def test_a_signal_that_ends_nothing_ends_the_question(screen):
    """A signal that the program survives ends the question, so later input is no answer."""
    handled = "import signal; signal.signal(signal.SIGTERM, lambda *_: print('handled'))\n"
    process = screen.start(
        [sys.executable, "-c", handled + ASK, "secret", "Password: "], ENVIRONMENT
    )
    screen.wait_for("Password: ")

    process.send_signal(signal.SIGTERM)

    assert (0, "handled\ninterrupted\n", "") == screen.finish(process)
    assert screen.echoes


def test_a_signal_that_is_ignored_is_no_answer(screen):
    """Under nohup(1) a question survives the signal and is answered afterwards."""
    ignored = "import signal; signal.signal(signal.SIGHUP, signal.SIG_IGN)\n"
    process = screen.start(
        [sys.executable, "-c", ignored + ASK, "secret", "Password: "], ENVIRONMENT
    )
    screen.wait_for("Password: ")

    process.send_signal(signal.SIGHUP)
    assert not screen.echoes
    screen.type(b"word\n")

    assert (0, "b'word'\n", "") == screen.finish(process)


@pytest.mark.skipif(sys.platform != "linux", reason="a line has another length there")
def test_answer_that_the_terminal_may_have_cut_is_refused(screen):
    """An answer that the terminal may have cut is refused, so no half token is stored."""
    assert repr(b"x" * 4094) == answer(screen, "secret", b"x" * 4094 + b"\n")

    said = answer(screen, "secret", b"x" * 4095 + b"\n")

    assert "refused: the terminal may have cut the answer: a line holds 4095 bytes" == said


def test_question_is_escaped(screen):
    """A name in a question cannot send control characters."""
    process = screen.start(words("name", "for \x1b[2J\u202e: "), ENVIRONMENT)
    screen.wait_for("for \\x1b[2J\\u202e: ")
    screen.type(b"x\n")

    assert (0, "b'x'\n", "") == screen.finish(process)


@pytest.mark.parametrize("kind", ["name", "secret"])
def test_without_a_terminal_nothing_is_taken_from_stdin(kind):
    """Without a terminal a password is not read from stdin."""
    done = subprocess.run(
        words(kind),
        input="from a pipe\n",
        env=ENVIRONMENT,
        start_new_session=True,
        capture_output=True,
        text=True,
        check=True,
        timeout=WAIT_SECONDS,
    )

    assert done.stdout.startswith("refused: there is no terminal to ask on: ")
    assert "" == done.stderr
