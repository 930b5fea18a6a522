"""Other programs of the same user cannot look into the helper, and it leaves no core dump."""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
from support.requirements import require
from support.waiting import WAIT_SECONDS, wait_until_it_wants_more

if sys.platform != "linux":
    pytest.skip("/proc and core files are looked at as Linux has them", allow_module_level=True)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# A helper that waits for its message, as if git's pipe were slow.
WAITING = """
from keylease import helper, protocols
protocols.load_protocol("git")
{drop}
helper.main("git", ["get"])
"""
# A person's command that waits for the password.
LOGIN = """
import keylease.cli.login, keylease.secrets.hardening, keylease.wiring, sys
from keylease.__main__ import main
{drop}
sys.argv[1:] = ["login", "https://git.example", "--username", "ada", "--password-stdin"]
main()
"""
# Root may read any process, so it becomes the user nobody. A process that changes its user is no
# longer dumpable (prctl(2)), which would prove nothing, so the script undoes that. It imports
# everything first, because nobody may not be allowed to read the files.
DROP = """
import ctypes, os, resource
if os.geteuid() == 0:
    os.setgroups([])
    os.setresgid(65534, 65534, 65534)
    os.setresuid(65534, 65534, 65534)
    assert ctypes.CDLL(None).prctl(4, 1, 0, 0, 0) == 0
"""
LOOKED_AT = ("mem", "maps", "environ", "auxv", "stack", "syscall")
NOBODY = 65534


def as_user(*words: str) -> list[str]:
    """Return the command line that runs as an ordinary user, because root may read any process."""
    if os.geteuid():
        return list(words)
    require(shutil.which("setpriv"), "setpriv", "it is not on PATH, and root may do everything")
    return ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", *words]


@contextmanager
def waiting(program: str, directory: Path, **environment: str) -> Iterator[int]:
    """Yield the process id of a program of ours that runs as an ordinary user."""
    directory.chmod(0o777)
    helper = subprocess.Popen(
        [sys.executable, "-c", program.format(drop=DROP)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        cwd=directory,
        env={"HOME": str(directory), "PATH": os.environ["PATH"], **environment},
    )
    try:
        assert helper.stdin is not None
        # The start of a message or a password: a program that has read it waits for the rest.
        os.write(helper.stdin.fileno(), b"protocol=https")
        wait_until_it_wants_more(helper.pid, helper.stdin.fileno())
        yield helper.pid
    finally:
        helper.kill()
        helper.communicate(timeout=WAIT_SECONDS)


def look(pid: int) -> set[str]:
    """Return which of the process's files another process of the same user can open and read."""
    program = DROP + (
        "import sys\n"
        "for name in sys.argv[2:]:\n"
        "    try:\n"
        "        with open(f'/proc/{sys.argv[1]}/{name}', 'rb') as file:\n"
        "            name == 'mem' or file.read(1)\n"
        "        print(name)\n"
        "    except OSError:\n"
        "        pass\n"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-c", program, str(pid), *LOOKED_AT],
        capture_output=True,
        text=True,
        check=True,
        timeout=WAIT_SECONDS,
    )
    return set(done.stdout.split())


@pytest.mark.parametrize("program", [WAITING, LOGIN], ids=["helper", "login"])
def test_nobody_reads_the_memory(tmp_path, program) -> None:
    """Memory, mappings and environment are closed to the same user; the opt-out is the control."""
    with waiting(program, tmp_path) as pid:
        closed = look(pid)
    with waiting(program, tmp_path, KEYLEASE_DUMPABLE="1") as pid:
        opened = look(pid)

    assert set() == closed
    assert {"mem", "maps", "environ"} <= opened, "the control: the look itself works"


def test_no_debugger_attaches(tmp_path) -> None:
    """gdb of the same user is refused; with the opt-out it can attach."""
    require(shutil.which("gdb"), "gdb", "it is not on PATH")
    said = {}
    for name, environment in (("closed", {}), ("open", {"KEYLEASE_DUMPABLE": "1"})):
        with waiting(WAITING, tmp_path, **environment) as pid:
            words = ("gdb", "-nx", "-batch", "-p", str(pid), "-ex", "info inferiors")
            done = subprocess.run(
                as_user(*words),
                capture_output=True,
                text=True,
                check=False,
                cwd=tmp_path,
                timeout=WAIT_SECONDS,
            )
            said[name] = done.stdout + done.stderr

    require(
        "Operation not permitted" not in said["open"], "ptrace", "no process may be traced here"
    )
    assert "Operation not permitted" in said["closed"]


CRASH = """
import sys
from keylease.secrets import hardening
{drop}
resource.setrlimit(resource.RLIMIT_CORE, (resource.getrlimit(resource.RLIMIT_CORE)[1],) * 2)
if sys.argv[1] == "hardened":
    hardening.harden()
elif sys.argv[1] == "limit alone":
    hardening._refuse_dumps()
ctypes.string_at(0)
"""


@pytest.mark.parametrize("how", ["hardened", "limit alone"])
def test_a_crash_leaves_no_core(tmp_path, how) -> None:
    """A helper that crashes leaves no core dump."""
    with open("/proc/sys/kernel/core_pattern", encoding="ascii") as file:  # noqa: PTH123
        pattern = file.read().strip()
    require("/" not in pattern and "|" not in pattern, "core files", f"they go to {pattern}")
    dumps = {}
    for way in (how, "left alone"):
        directory = tmp_path / way.replace(" ", "-")
        directory.mkdir()
        directory.chmod(0o777)
        words = [sys.executable, "-c", CRASH.format(drop=DROP), way]
        crashed = subprocess.run(
            words, cwd=directory, capture_output=True, check=False, timeout=WAIT_SECONDS
        )
        assert -11 == crashed.returncode
        dumps[way] = len(list(directory.iterdir()))

    require(dumps["left alone"], "core files", "this machine writes none in any case")
    assert 0 == dumps[how]


INHERITED = """
import os
from keylease.secrets import hardening
print(os.listdir("/proc/self/fd"))
hardening.harden()
print(os.listdir("/proc/self/fd"))
"""


def test_nothing_is_inherited_but_the_standard_streams(tmp_path) -> None:
    """No code in the helper can reach a file that its caller left open."""
    with (tmp_path / "left").open("w") as file:
        inherited = str(file.fileno())
        done = subprocess.run(
            [sys.executable, "-c", INHERITED],
            pass_fds=(file.fileno(),),
            capture_output=True,
            text=True,
            check=True,
            timeout=WAIT_SECONDS,
        )

    before, after = map(ast.literal_eval, done.stdout.splitlines())
    assert inherited in before, "the control: it was inherited"
    assert {"0", "1", "2"} == {name for name in after if name != "3"}, "3 is the listing itself"


@pytest.mark.parametrize("way", ["module", "empty entry"])
def test_nothing_is_imported_from_the_current_directory(kernel_home, way) -> None:
    """A repository with a `json.py` in it runs no code in the helper."""
    marker = kernel_home.home / "executed"
    for name in ("json", "cryptography", "jeepney", "tomllib"):
        (kernel_home.home / f"{name}.py").write_text(f"open({str(marker)!r}, 'w').close()\n")
    words = [sys.executable, "-m", "keylease", "get"]
    if way == "empty entry":
        kernel_home.environment["PYTHONPATH"] = ":"
        program = "import sys; sys.argv[1:] = ['get']; from keylease.__main__ import main; main()"
        words = [sys.executable, "-c", program]

    done = subprocess.run(
        words,
        input=b"protocol=https\nhost=example.com\n\n",
        env=kernel_home.environment,
        cwd=kernel_home.home,
        capture_output=True,
        check=False,
        timeout=WAIT_SECONDS,
    )

    assert 0 == done.returncode, done.stderr
    assert not marker.exists()
