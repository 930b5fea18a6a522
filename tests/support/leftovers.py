"""Check that a test run leaves no kernel keys, processes or files behind.

The kernel allows an ordinary user 200 keys, so leftovers take keys from the next run and from the
user's own keylease. The run fails if something is left, and names it and the first test after which
it was there.

A plugin of pytest, for Linux: `tests/conftest.py` registers it.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import socket
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest
from support.waiting import ended, polls

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

NAME = "what the run left behind"
_PREFIX = "keylease-tests"
# How long a terminated process may take to end.
_SECONDS = 10
# proc_keys(5): a dead, revoked, invalidated or expired key. It counts towards the quota until the
# kernel has collected it.
_OVER = frozenset("DRi")


class Key(NamedTuple):
    """A key of keylease in the kernel."""

    serial: str
    name: str


def living_keys(listed: str, uid: int) -> set[Key]:
    """Return the user's keys of keylease in /proc/keys that can still be read."""
    found = set()
    for line in listed.splitlines():
        serial, flags, _, timeout, _, owner, _, kind, name = line.split(maxsplit=8)
        if kind != "user" or int(owner) != uid or not name.startswith("keylease:"):
            continue
        if timeout != "expd" and not _OVER & set(flags):
            found.add(Key(serial, name.rpartition(":")[0]))
    return found


def processes(words: Sequence[str]) -> Iterator[str]:
    """Yield each process that names one of the words, and each child of this process.

    The word may be in the command line, environment or directory; of a process that is not dumpable
    an ordinary user sees only the command line.
    """
    own, looks = os.getpid(), [os.fsencode(word) for word in words]
    for pid in map(int, filter(str.isdigit, (each.name for each in Path("/proc").iterdir()))):
        directory = Path("/proc", str(pid))
        try:
            if pid == own or ended(pid):
                continue
            command = (directory / "cmdline").read_bytes()
            parent = int((directory / "stat").read_bytes().rpartition(b")")[2].split()[1])
        except OSError:
            continue  # the process has ended
        shown = command
        with suppress(OSError):
            shown += (directory / "environ").read_bytes()
        with suppress(OSError):
            shown += os.fsencode((directory / "cwd").readlink())
        if parent == own or any(look in shown for look in looks):
            text = command.replace(b"\0", b" ").decode("utf-8", "backslashreplace").strip()
            yield f"process {pid}: {text[:200]}"


class Leftovers:
    """Notes what is there before and after each test, and fails the run at the end.

    Args:
        state: The state directory of the user who runs the tests, whose keys are no leftovers.
    """

    def __init__(self, state: Path) -> None:
        self._state = state
        self._places = [Path("/dev/shm"), Path("/run/user", str(os.getuid()))]  # noqa: S108
        if "XDG_RUNTIME_DIR" in os.environ:
            self._places.append(Path(os.environ["XDG_RUNTIME_DIR"]))
        self._temporary = tempfile.gettempdir()
        self._mark = f"{_PREFIX}-{os.getuid()}-{Path(self._temporary).stat().st_ino}-"
        self._running = socket.socket(socket.AF_UNIX)
        # An abstract socket name, which ends with the process. A child's number may differ.
        self._running.bind(f"\0{self._mark}{os.getpid()}")
        self.directory = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}-"))
        self.directory.chmod(0o711)  # some tests make a directory in it for another user
        self._blamed: dict[str, str] = dict.fromkeys(self._found(), "")
        # Temporary files of tests go into a directory of our own; pytest's directories stay where
        # people look for them.
        os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", self._temporary)
        os.environ["TMPDIR"] = tempfile.tempdir = str(self.directory)

    def _keys(self) -> set[Key]:
        return living_keys(Path("/proc/keys").read_text("utf-8", "replace"), os.getuid())

    def _found(self) -> list[str]:
        """Return everything that is there now, one line each."""
        found = [f"key {key.name} ({key.serial})" for key in self._keys()]
        found += [f"file {path}" for path in self.directory.iterdir()]
        for place in self._places:
            with suppress(OSError):
                found += [f"file {path}" for path in place.iterdir() if "keylease" in path.name]
        return found

    def pytest_runtest_logfinish(self, nodeid: str) -> None:
        """Note everything that is new since the last test."""
        for thing in self._found():
            self._blamed.setdefault(thing, nodeid)

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Fail the run if anything is left."""
        left = self.left(session)
        self._running.close()
        os.environ["TMPDIR"] = tempfile.tempdir = self._temporary
        shutil.rmtree(self.directory, ignore_errors=True)
        if not left:
            return
        reporter = session.config.pluginmanager.get_plugin("terminalreporter")
        said = "\n".join([*left, "", "Each test gives back what it made: see tests/support."])
        report = pytest.TestReport(NAME, (NAME, None, NAME), {}, "failed", said, "teardown")
        reporter.stats.setdefault("error", []).append(report)
        if session.exitstatus in {pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED}:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def left(self, session: pytest.Session) -> list[str]:
        """Return what the run left behind, with the test after which it first appeared."""
        found = [thing for thing in self._found() if self._blamed.get(thing, NAME)]
        own = self._own_words()
        alone = not self._others()
        things = [
            f"{thing}, first seen after {self._blamed.get(thing, 'the last test')}"
            for thing in found
            if not thing.startswith("key ") or (alone and not own & set(thing.split(":")))
        ]
        return things + self._still_running(session)

    def _still_running(self, session: pytest.Session) -> list[str]:
        factory = session.config._tmp_path_factory  # type: ignore[attr-defined]
        words = [str(self.directory), *([str(factory._basetemp)] if factory._basetemp else [])]
        running: list[str] = []
        with suppress(TimeoutError):
            for _ in polls("processes end", _SECONDS):
                running = list(processes(words))
                if not running:
                    break
        return running

    def _others(self) -> bool:
        """Return whether this user has another run, whose keys look like those of this one."""
        listed = Path("/proc/net/unix").read_text("utf-8", "replace")
        running = re.findall(rf"@{self._mark}(\d+)$", listed, re.MULTILINE)
        return bool(set(running) - {str(os.getpid())})

    def _own_words(self) -> set[str]:
        """Return the ids of the user's own vault, sessions and log."""
        ids = {hashlib.sha256(os.fsencode(self._state)).hexdigest()[:16]}
        for path in self._state.rglob("*"):
            ids.add(path.name.partition(".")[0])
            if path.name == "vault.json" or path.suffix == ".jsonl":
                ids |= set(re.findall(r'"([0-9a-f]{16,})"', path.read_text("utf-8", "replace")))
        return ids
