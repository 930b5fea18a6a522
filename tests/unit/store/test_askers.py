"""The record of which process was given which secret."""

import os
import subprocess
import sys

import pytest

from keylease.errors import UnsafeStateError
from keylease.model import NANOSECONDS, Moment
from keylease.statefile import Directory
from keylease.store.askers import FILE, LINES, SECONDS, Asker

NOW = Moment(10**18, 10**15, "0" * 32)
QUESTION = "[sudo] password for ada: "


@pytest.fixture
def state(tmp_path):
    """Return a function that opens a state directory."""
    return lambda: Directory.open(str(tmp_path / "state"), create=True)


def later(seconds):
    """Return the moment that many seconds after now."""
    return NOW._replace(boot_ns=NOW.boot_ns + int(seconds * NANOSECONDS))


def test_same_process_same_question_same_session(state):
    """A repeat has the same process, question and session; any other request is answered."""
    Asker(state, "7:1", QUESTION).record("5e" * 16, NOW)

    assert Asker(state, "7:1", QUESTION).was_answered("5e" * 16, NOW)
    assert not Asker(state, "7:2", QUESTION).was_answered("5e" * 16, NOW)
    assert not Asker(state, "7:1", "Password: ").was_answered("5e" * 16, NOW)
    assert not Asker(state, "7:1", QUESTION).was_answered("6f" * 16, NOW)
    assert not Asker(state, "7:1", QUESTION).was_answered("5e" * 16, NOW._replace(boot="1" * 32))


def test_process_that_rests_is_answered_again(state):
    """A process is answered again a minute after its last question, if it asked none meanwhile."""
    asker = Asker(state, "7:1", QUESTION)
    asker.record("5e" * 16, NOW)

    assert asker.was_answered("5e" * 16, later(SECONDS - 1))
    assert asker.was_answered("5e" * 16, later(2 * SECONDS - 2))
    assert not asker.was_answered("5e" * 16, later(3 * SECONDS - 2))


def test_file_is_bounded_and_tells_nothing(state, tmp_path):
    """A thousand askers leave a short file with the newest ones and without any question."""
    for number in range(10 * LINES):
        Asker(state, f"{number}:1", QUESTION).record("5e" * 16, NOW)

    lines = (tmp_path / "state" / FILE).read_text("ascii").splitlines()
    assert LINES == len(lines)
    assert not any("sudo" in line or "ada" in line or "5e5e" in line for line in lines)
    assert Asker(state, f"{10 * LINES - 1}:1", QUESTION).was_answered("5e" * 16, NOW)
    assert Asker(state, f"{9 * LINES}:1", QUESTION).was_answered("5e" * 16, NOW)
    assert not Asker(state, f"{9 * LINES - 1}:1", QUESTION).was_answered("5e" * 16, NOW)


def test_what_is_over_is_dropped_at_the_next_write(state, tmp_path):
    """Each write drops the lines that are older than a minute."""
    Asker(state, "7:1", QUESTION).record("5e" * 16, NOW)
    Asker(state, "8:1", QUESTION).record("5e" * 16, later(SECONDS))

    assert [b"8:1"] == [
        line.split()[2] for line in (tmp_path / "state" / FILE).read_bytes().splitlines()
    ]


@pytest.mark.parametrize("torn", [b"", b" ", b"x y z", b"\xff\xfe", b"-5 0 7:1 x", b"9" * 5000])
def test_torn_file_counts_as_none(state, torn):
    """A line that is not ours neither refuses nor raises anything."""
    with state() as directory:
        directory.replace(FILE, torn)

    assert not Asker(state, "7:1", QUESTION).was_answered("5e" * 16, NOW)


def test_endless_file_is_refused(state):
    """A file that is too long to be ours is not read whole."""
    with state() as directory:
        directory.replace(FILE, b"x" * 100_000)

    with pytest.raises(UnsafeStateError):
        Asker(state, "7:1", QUESTION).was_answered("5e" * 16, NOW)


def test_question_of_lone_surrogates_is_told_from_others(state):
    """On Windows a question can contain half a surrogate pair; it is treated like any other."""
    Asker(state, "7:1", "\ud800").record("5e" * 16, NOW)

    assert Asker(state, "7:1", "\ud800").was_answered("5e" * 16, NOW)
    assert not Asker(state, "7:1", "\udc80").was_answered("5e" * 16, NOW)


SAYS = """
from keylease.store.askers import asking
from keylease.wiring import parent_process
print(asking(parent_process(), 'Password: '))
"""
RELAYS = "import subprocess, sys; subprocess.run([sys.executable, *sys.argv[1:]], check=True)"


def asked_through(*words):
    """Return the name of the asker for a process started through these words."""
    done = subprocess.run(words, check=True, capture_output=True, text=True, timeout=60)
    return done.stdout.strip()


def test_asker_is_the_parent():
    """The asker is the process that starts the program."""
    assert asked_through(sys.executable, "-c", SAYS).startswith(f"{os.getpid()}:")


@pytest.mark.skipif(sys.platform != "linux", reason="only /proc tells what a process was told")
@pytest.mark.parametrize("words", [("Password: ",), ("x", "Password: ", "y")])
def test_wrapper_that_passes_the_question_on_is_not_the_asker(words):
    """A wrapper script is a new process each time, so the asker is the process that started it."""
    through = asked_through(sys.executable, "-c", RELAYS, "-c", SAYS, *words)

    assert through == asked_through(sys.executable, "-c", SAYS)


@pytest.mark.skipif(sys.platform != "linux", reason="only /proc tells what a process was told")
def test_process_that_passes_nothing_on_is_the_asker():
    """A parent whose command line lacks the question is itself the asker, like sudo and git."""
    through = asked_through(sys.executable, "-c", RELAYS, "-c", SAYS, "Password: for another")

    assert through != asked_through(sys.executable, "-c", SAYS)


@pytest.mark.skipif(sys.platform != "linux", reason="only /proc tells what a process was told")
@pytest.mark.parametrize(
    ("words", "is_relay"), [(["credential", "fill"], True), (["fetch", "x"], False)]
)
def test_git_credential_asks_for_another(words, is_relay):
    """`git credential` asks for its caller, such as git-lfs; a fetching git asks for itself."""
    script = '"$0" -c "$1"; :'
    done = subprocess.run(
        ["git", "-c", script, sys.executable, SAYS, *words],
        executable="/bin/sh",
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert is_relay == (done.stdout.strip() == asked_through(sys.executable, "-c", SAYS))
