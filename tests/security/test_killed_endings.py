"""Commands that end sessions, killed by the kernel at the calls that change something."""

from __future__ import annotations

import os
import shutil
import signal
from collections import Counter
from typing import TYPE_CHECKING

import pytest
from support.groups import run_group
from support.requirements import require
from support.share import part_of

if TYPE_CHECKING:
    from pathlib import Path

    from support.throwaway import Throwaway

URL = "https://a.example"
QUESTION = "protocol=https\nhost=a.example\n\n"
CALLS = "unlink,unlinkat,rename,renameat,renameat2,keyctl,fsync,fdatasync"
ENDINGS = {
    "revoke": ("revoke", "--yes"),
    "logout": ("logout", URL),
    "logout all": ("logout", "--all"),
    "rotate": ("key", "rotate"),
}


def login(home: Throwaway) -> None:
    """Start the session; a revoked vault gets a new key for it."""
    words = ("login", URL, "--username", "ada", "--password-stdin")
    done = home.run("keylease", *words, stdin="secret")
    assert 0 == done.returncode, done.stderr


def traced(home: Throwaway, words: tuple[str, ...], *options: str) -> int:
    """Run a command under strace and return its exit code."""
    program = home.find("keylease")
    assert program is not None
    done = run_group(
        ["strace", *options, f"--trace={CALLS}", str(program), *words],
        # strace of an ordinary user cannot follow a process that refuses tracers.
        env=home.environment | {"KEYLEASE_DUMPABLE": "1"},
        cwd=home.home,
    )
    require(b"ptrace" not in done.stderr, "ptrace", "this container does not let strace trace")
    return done.returncode


def steps(trace: Path) -> list[tuple[str, int]]:
    """Return each call that was made, with its number among the calls of its name."""
    seen: Counter[str] = Counter()
    found = []
    for line in trace.read_text("utf-8", "replace").splitlines():
        name = line.partition("(")[0]
        if name in CALLS.split(","):
            seen[name] += 1
            found.append((name, seen[name]))
    return found


@pytest.mark.parametrize("ending", ENDINGS)
def test_an_ending_that_is_killed_is_completed_by_the_next(
    kernel_home: Throwaway, tmp_path: Path, ending: str
) -> None:
    """After a kill the session answers whole or not at all; the next run completes its end."""
    require(shutil.which("strace"), "strace", "it is not on PATH")
    words = ENDINGS[ending]
    login(kernel_home)
    trace = tmp_path / "trace"
    assert 0 == traced(kernel_home, words, "-o", str(trace))
    found = steps(trace)
    assert {"keyctl"} < {name for name, _ in found}, "the control: it changes something"

    # Each test takes minutes. So a run takes every fourth one, from a start that changes with each
    # run, which finds as much. The two runs of CI never start at the same one.
    firsts = part_of(range(4))
    for name, count in found[firsts[os.getpid() % len(firsts)] :: 4]:
        login(kernel_home)
        inject = f"--inject={name}:signal=KILL:when={count}"
        code = traced(kernel_home, words, "-o", os.devnull, inject)
        assert code in {-signal.SIGKILL, 0}, (name, count)

        answer = kernel_home.run("git-credential-keylease", "get", stdin=QUESTION).stdout
        assert answer in {"", "username=ada\npassword=secret\n"}, (name, count)
        kernel_home.run("keylease", *words)

        assert "" == kernel_home.run("git-credential-keylease", "get", stdin=QUESTION).stdout
        assert [] == list(kernel_home.state.glob("sessions/*/*.sealed")), (name, count)
