"""The caller is named as far as the system tells, and never causes a failure."""

import contextlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from keylease.audit import caller as module
from keylease.audit.caller import caller_of, stat_numbers
from keylease.model import Caller
from keylease.wiring import parent_process

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's")


def test_the_caller_is_the_parent():
    """The caller is the parent process, named by its number on every platform."""
    assert os.getppid() == parent_process().pid


@LINUX
def test_the_callers_programs_are_named():
    """The log names the program that asked and the program that started it."""
    code = "from keylease.wiring import parent_process; print(*parent_process()[:4], sep='\\n')"
    middle = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {code!r}], check=True)"
    done = subprocess.run(
        [sys.executable, "-c", middle], capture_output=True, text=True, check=True, timeout=60
    )
    _, executable, parent, _ = done.stdout.splitlines()

    assert str(Path(sys.executable).resolve()) == str(Path(executable).resolve())
    assert str(Path("/proc/self/exe").resolve()) == parent


@LINUX
def test_a_caller_that_is_gone_is_only_a_number():
    """A parent that has ended or belongs to another user is only a number, not an error."""
    gone = 2**22 + 1  # above the kernel's largest pid_max

    assert Caller(gone, None, None, None) == caller_of(gone)


@LINUX
@pytest.mark.parametrize(
    ("stat", "parent", "terminal"),
    [
        (b"7 (git) S 5 7 7 34817 7", 5, "/dev/pts/1"),
        (b"7 (git) S 5 7 7 0 -1", 5, None),
        (b"7 (git) S 5 7 7 35072 7", 5, "/dev/pts/256"),
        (b"7 (git) S 5 7 7 1083646 7", 5, "/dev/pts/510"),
        (b"7 (git) S 5 7 7 1025 7", 5, "/dev/tty1"),
        (b"7 (git) S 5 7 7 1088 7", 5, "/dev/ttyS0"),
        (b"7 (git) S 5 7 7 48128 7", 5, "188:0"),
        (b"7 (a ) S 1 (b) S 5 7 7 0", 5, None),
        (b"7 (\n) S 99) S 5 7 7 0", 5, None),
        (b"", None, None),
        (b"7 (git)", None, None),
        (b"7 (git) S x 7 7 0", None, None),
        (b"7 (git) S 5", None, None),
    ],
)
def test_a_programs_name_cannot_choose_its_parent(monkeypatch, tmp_path, stat, parent, terminal):
    """A program's name with parentheses and numbers cannot fake its parent."""
    path = tmp_path / "stat"
    path.write_bytes(stat)
    monkeypatch.setattr(module, "open", lambda _name, mode: path.open(mode), raising=False)

    assert (parent, terminal) == module._origin(stat_numbers(7))


@LINUX
def test_the_terminal_that_the_caller_runs_in_is_named():
    """The log names the caller's terminal, so the user can find the window."""
    code = "from keylease.wiring import parent_process; print(parent_process().terminal)"
    ask = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {code!r}], check=True)"
    child, own = os.forkpty()
    if not child:
        words = [sys.executable, "-c", f"import os; print(os.ttyname(0), flush=True); {ask}"]
        os.execv(sys.executable, words)  # noqa: S606 - no shell is what is wanted
    said = b""
    # On Linux EIO means that the last process has left the terminal.
    with contextlib.suppress(OSError):
        while part := os.read(own, 1024):
            said += part
    os.close(own)
    assert 0 == os.waitpid(child, 0)[1]

    expected, told = said.decode().split()
    assert expected == told


@pytest.mark.skipif(sys.platform == "linux", reason="Linux tells more")
def test_elsewhere_there_is_a_number_and_nothing_else():
    """Where the platform tells only the parent's number, no other field is invented."""
    assert (None, None, None) == caller_of(os.getpid())[1:4]
