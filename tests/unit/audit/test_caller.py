"""Who called, as far as the system tells; never a reason to fail."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from keylease.audit import caller as module
from keylease.audit.caller import Caller, caller

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's")


def test_the_caller_is_the_parent():
    """Whoever ran keylease is named by its number on every platform."""
    assert os.getppid() == caller().pid


@LINUX
def test_the_callers_programs_are_named():
    """A person who reads the log sees which program asked, and what had started it."""
    code = "from keylease.audit.caller import caller; print(*caller(), sep='\\n')"
    middle = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {code!r}], check=True)"
    done = subprocess.run(
        [sys.executable, "-c", middle], capture_output=True, text=True, check=True, timeout=60
    )
    _, executable, parent = done.stdout.splitlines()

    assert str(Path(sys.executable).resolve()) == str(Path(executable).resolve())
    assert str(Path("/proc/self/exe").resolve()) == parent


@LINUX
def test_a_caller_that_is_gone_is_only_a_number(monkeypatch):
    """A parent that ended in the meantime, or is another user's, is no error."""
    monkeypatch.setattr(os, "getppid", lambda: 2**22 + 1)  # above the kernel's largest pid_max

    assert Caller(2**22 + 1, None, None) == caller()


@LINUX
@pytest.mark.parametrize(
    ("stat", "parent"),
    [
        (b"7 (git) S 5 7 7 0", 5),
        (b"7 (a ) S 1 (b) S 5 7 7 0", 5),
        (b"7 (\n) S 99) S 5 7", 5),
        (b"", None),
        (b"7 (git)", None),
        (b"7 (git) S x", None),
    ],
)
def test_a_programs_name_cannot_choose_its_parent(monkeypatch, tmp_path, stat, parent):
    """A name with parentheses and numbers in it is a name."""
    path = tmp_path / "stat"
    path.write_bytes(stat)
    monkeypatch.setattr(module, "open", lambda _name, mode: path.open(mode), raising=False)

    assert parent == module._parent(7)


@pytest.mark.skipif(sys.platform == "linux", reason="Linux tells more")
def test_elsewhere_there_is_a_number_and_nothing_else():
    """What the platform does not tell is not made up."""
    assert (None, None) == caller()[1:]
