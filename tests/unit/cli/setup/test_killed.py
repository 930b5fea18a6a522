"""Setups and undos that are killed anywhere: the old file or the new one, and nothing beside it."""

from __future__ import annotations

import base64
import os
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
from collections import Counter
from pathlib import Path

import pytest
from support.gits import GITS, MISSING
from support.requirements import require
from support.toolfiles import CANARY, FILES

if sys.platform == "win32":
    pytest.skip("no process can be forked there", allow_module_level=True)

# What Python tells of before it asks the system (docs.python.org, "Audit events table").
CHANGES = frozenset(
    {"open", "os.link", "os.rename", "os.remove", "os.mkdir", "os.chmod", "ctypes.dlsym"}
)


HELPERS = ("cargo-credential-keylease", "git-credential-keylease")
# Before a fixture puts another PATH in its place.
KUBECTL_PATH = os.pathsep.join((sysconfig.get_path("scripts"), os.environ.get("PATH", "")))


@pytest.fixture(params=FILES, ids=lambda each: each.tool)
def case(request, user_home, programs, monkeypatch):
    """Return each tool's file, written into a home that no variable leads away from."""
    each = request.param
    if each.tool == "git":
        if not GITS:
            pytest.skip("; ".join(MISSING))
        (programs / "git").symlink_to(GITS[-1].path)
        for name, value in GITS[-1].environment.items():
            monkeypatch.setenv(name, value)
        monkeypatch.delenv("GIT_CONFIG_GLOBAL", raising=False)
        monkeypatch.setenv("PATH", str(programs))
    if each.tool == "kubernetes":
        kubectl = shutil.which("kubectl", path=KUBECTL_PATH)
        require(kubectl, "kubectl", "it is not on PATH")
        (programs / "kubectl").symlink_to(kubectl)
        monkeypatch.setenv("KUBECONFIG", str(user_home / each.name))
    if sys.platform == "darwin" and each.tool in {"pip", "go"}:
        pytest.skip("the file is elsewhere on macOS")
    for name in ("DOCKER_CONFIG", "DOCKER_AUTH_CONFIG", "CARGO_HOME", "PIP_CONFIG_FILE"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.delenv(name, raising=False)
    for name in ("keylease-aws", "keylease-kubernetes", *HELPERS):
        shutil.copy2(programs / "keylease-pnpm", programs / name)
    (user_home / each.name).parent.mkdir(parents=True, exist_ok=True)
    (user_home / each.name).write_text(each.text, encoding="utf-8")
    return each


def killed(console, number, *words):
    """Run a command in a process of its own that is killed before its change of that number.

    Return whether it was: a command that has fewer changes comes to its end.
    """
    child = os.fork()
    if child == 0:
        count = 0

        def kill(event, arguments):
            nonlocal count
            if event == "open" and not (
                isinstance(arguments[2], int) and arguments[2] & os.O_CREAT
            ):
                return
            if event in CHANGES:
                count += 1
                if count == number:
                    os.kill(os.getpid(), signal.SIGKILL)

        try:
            sys.addaudithook(kill)
            console.run(*words)
        finally:
            os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL


def left(home):
    """Return the temporaries and locks that are in a home."""
    return [path for path in home.rglob("*") if path.name.endswith((".keylease", ".lock"))]


def test_a_setup_that_was_killed_is_completed_or_undone(console, case, user_home):
    """Before each change: the file is the old one or the new one, and the next command tidies."""
    file = user_home / case.name
    assert 0 == console.run("setup", *case.words).code
    assert 0 == console.run("setup", case.tool, *case.undo, "--undo").code
    started = file.read_bytes()
    assert 0 == console.run("setup", *case.words).code
    after = file.read_bytes()
    assert started != after
    assert 0 == console.run("setup", case.tool, *case.undo, "--undo").code

    number, found = 1, Counter()
    while killed(console, number, "setup", *case.words):
        found[file.read_bytes()] += 1
        again = case.words if number % 2 else (case.tool, *case.undo, "--undo")
        assert 0 == console.run("setup", *again).code
        assert [] == left(user_home)
        assert file.read_bytes() == (after if number % 2 else started)
        assert 0 == console.run("setup", case.tool, *case.undo, "--undo").code
        assert started == file.read_bytes()
        number += 1

    assert {started, after} >= set(found)
    assert found[started] > 2, "nothing was killed: this test is out of date"
    assert [] == left(user_home)


def test_an_undo_that_was_killed_is_completed(console, case, user_home):
    """Before each change: the file is the new one or the old one, and the next undo completes."""
    file = user_home / case.name
    console.run("setup", *case.words)
    console.run("setup", case.tool, *case.undo, "--undo")
    started = file.read_bytes()

    number, found = 1, Counter()
    while True:
        assert 0 == console.run("setup", *case.words).code
        after = file.read_bytes()
        if not killed(console, number, "setup", case.tool, *case.undo, "--undo"):
            break
        assert file.read_bytes() in {started, after}
        found[file.read_bytes()] += 1
        assert 0 == console.run("setup", case.tool, *case.undo, "--undo").code
        assert started == file.read_bytes()
        assert [] == left(user_home)
        number += 1

    assert found[after] > 2, "nothing was killed: this test is out of date"


def test_no_file_of_ours_holds_what_is_the_users(console, case, user_home, tmp_path):
    """Before, between and behind the edits, and what was replaced. The control: the file does."""
    assert 0 == console.run("setup", *case.words).code

    holders = [
        path
        for path in tmp_path.rglob("*")
        if path.is_file() and not path.is_symlink() and _holds(path)
    ]

    assert [user_home / case.name] == holders
    assert [str(console.state / f"setup-{case.tool}.json")] == [
        str(path) for path in console.state.iterdir() if path.name.startswith("setup-")
    ]


def _holds(path):
    """Return whether a file has the canary in it, as it is or in the base64 of a record."""
    data = path.read_bytes()
    packed = re.findall(rb'"([A-Za-z0-9+/]+={0,2})"', data)
    opened = [base64.b64decode(each) for each in packed if len(each) % 4 == 0]
    return any(CANARY.encode() in each for each in (data, *opened))


@pytest.mark.skipif(sys.platform != "linux", reason="strace is of Linux")
@pytest.mark.parametrize("words", [("setup", "git"), ("setup", "git", "--undo")], ids=" ".join)
def test_git_is_asked_or_not_after_a_kill_at_each_system_call(tmp_path, words):
    """The program itself, killed by the kernel: git's file is the old one or the new one."""
    require(shutil.which("strace"), "strace", "it is not on PATH")
    require(GITS, "git", "; ".join(MISSING))
    keylease = Path(sysconfig.get_path("scripts"), "keylease")
    home = tmp_path / "home"
    home.mkdir()
    file = home / ".gitconfig"
    file.write_text(f"[user]\n\tname = Ada # {CANARY}\n", encoding="utf-8")
    environment = {
        **GITS[0].environment,
        "HOME": str(home),
        "PATH": f"{Path(GITS[0].path).parent}:{os.environ['PATH']}",
        "KEYLEASE_STATE_DIR": str(tmp_path / "state"),
        # strace of an ordinary user reads no path of a process that is closed to tracers.
        "KEYLEASE_DUMPABLE": "1",
    }
    del environment["GIT_CONFIG_GLOBAL"]
    calls = "write,fsync,openat,unlink,unlinkat,rename,renameat,renameat2,link,linkat,flock,fchmod"
    trace = tmp_path / "trace"

    def run(*options, command=words):
        return subprocess.run(
            ["strace", "-o", str(trace), "-y", f"--trace={calls}", *options, keylease, *command],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    old = file.read_bytes()
    done = run(command=("setup", "git"))
    require("ptrace" not in done.stderr, "ptrace", "this container does not let strace trace")
    assert 0 == done.returncode, done.stderr
    new = file.read_bytes()
    if "--undo" not in words:
        run(command=("setup", "git", "--undo"))
    started = file.read_bytes()
    assert 0 == run().returncode
    seen, steps = Counter(), []
    for line in trace.read_text().splitlines():
        name = line.partition("(")[0]
        seen[name] += 1
        readable = name == "openat" and "O_CREAT" not in line
        if (str(home) in line or str(tmp_path / "state") in line) and not readable:
            steps.append((name, seen[name]))
    assert {"fsync", "link"} <= {name for name, _ in steps}

    for name, count in steps:
        run(command=("setup", "git") if started == new else ("setup", "git", "--undo"))
        assert started == file.read_bytes()
        done = run(f"--inject={name}:signal=KILL:when={count}")
        assert -signal.SIGKILL == done.returncode, (name, count)
        assert file.read_bytes() in {old, new}
        assert 0 == run().returncode
        assert file.read_bytes() == (old if started == new else new)
        assert [] == left(home)
