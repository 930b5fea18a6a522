"""Once a command that ends a session has returned, no process writes that session's secret.

Real processes: a reader that takes nothing holds up an answer after its release is logged; then the
session ends, or two seconds pass.
"""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest
from support.clients import wait_until
from support.gits import GITS, Git, git_credential
from support.kernel_keyring import require_kernel_keyring
from support.throwaway import Throwaway

if TYPE_CHECKING:
    from collections.abc import Iterator

URL = "https://git.example"
PASSWORD = "correct horse: battery staple"
GET = "protocol=https\nhost=git.example\n\n"
ERASE = f"protocol=https\nhost=git.example\nusername=ada\npassword={PASSWORD}\n\n"
FRONT_ENDS = {
    "git": ("git-credential-keylease", "get"),
    "read": ("keylease", "read", URL),
    "askpass": ("keylease-askpass", f"Password for '{URL}': "),
}
ENDS = {
    "logout": ("keylease", "logout", URL),
    "logout of all": ("keylease", "logout", "--all"),
    "revoke": ("keylease", "revoke", "--yes"),
    "key rotate": ("keylease", "key", "rotate"),
    "erase": ("git-credential-keylease", "erase"),
    "login": ("keylease", "login", URL, "--username", "ada", "--password-stdin"),
}


class HeldUp(NamedTuple):
    """A front end that has released a credential and whose reader has read nothing yet."""

    process: subprocess.Popen[bytes]
    reader: int
    filler: bytes

    def go_on(self) -> tuple[int, bytes]:
        """Let it run and read everything; return its exit code and output."""
        self.process.send_signal(signal.SIGCONT)
        taken = bytearray()
        while part := os.read(self.reader, 1 << 16):
            taken += part
        code = self.process.wait(30)
        assert taken.startswith(self.filler)
        return code, bytes(taken[len(self.filler) :])


@pytest.fixture
def home(kernel_home: Throwaway) -> Throwaway:
    """Return a home with one session."""
    log_in(kernel_home)
    return kernel_home


def log_in(home: Throwaway) -> None:
    """Start the session of a home."""
    words = ("keylease", "login", URL, "--username", "ada", "--password-stdin")
    done = home.run(*words, stdin=PASSWORD)
    assert done.returncode == 0, done.stderr


@contextmanager
def held_up(home: Throwaway, *words: str) -> Iterator[HeldUp]:
    """Start a front end whose stdout is a full pipe, and stop it once its release is logged."""
    program = home.find(words[0])
    assert program is not None
    reader, writer = os.pipe()
    filler = _fill(writer)
    with subprocess.Popen(
        [program, *words[1:]],
        env=home.environment,
        cwd=home.home,
        stdin=subprocess.PIPE,
        stdout=writer,
        stderr=subprocess.DEVNULL,
    ) as process:
        try:
            os.close(writer)
            assert process.stdin is not None
            process.stdin.write(GET.encode())
            process.stdin.close()
            wait_until(lambda: "session.released" in events(home) and _is_unlocked(home))
            process.send_signal(signal.SIGSTOP)
            wait_until(lambda: _is_stopped(process.pid))
            yield HeldUp(process, reader, filler)
        finally:
            process.kill()
            os.close(reader)


def events(home: Throwaway) -> list[str]:
    """Return every logged event, oldest first."""
    return [line["event"] for line in home.audit()]


@pytest.mark.parametrize("front", FRONT_ENDS)
def test_answer_that_its_reader_takes_late_is_given(home: Throwaway, front: str) -> None:
    """The control: without an end, and within two seconds, the password is written whole."""
    with held_up(home, *FRONT_ENDS[front]) as held:
        code, written = held.go_on()

    assert (0, True) == (code, PASSWORD.encode() in written)


@pytest.mark.parametrize("front", FRONT_ENDS)
@pytest.mark.parametrize("end", ENDS)
def test_nothing_is_written_after_the_end(home: Throwaway, end: str, front: str) -> None:
    """A front end that was held up after its release writes no byte once an end has returned."""
    with held_up(home, *FRONT_ENDS[front]) as held:
        ended = home.run(*ENDS[end], stdin=ERASE if end == "erase" else "another password")
        code, written = held.go_on()

    assert 0 == ended.returncode, ended.stderr
    assert b"" == written
    assert (front == "git") == (code == 0), "to git it is a miss"
    assert ("session.refused", "not_found") == _last_refusal(home)


@pytest.mark.parametrize("front", FRONT_ENDS)
def test_nothing_is_written_after_two_seconds(home: Throwaway, front: str) -> None:
    """A front end that was stopped for longer than an answer may take refuses when it continues."""
    with held_up(home, *FRONT_ENDS[front]) as held:
        stopped = time.monotonic()
        wait_until(lambda: time.monotonic() > stopped + 2)
        code, written = held.go_on()

    assert (True, b"") == (code != 0, written)
    assert ("session.refused", "state") == _last_refusal(home)
    assert 1 == len(list(home.state.rglob("*.sealed"))), "and the session lives"


def test_reader_that_takes_nothing_is_given_up(home: Throwaway) -> None:
    """A helper whose reader never reads ends by itself, even if its session does not end."""
    with held_up(home, *FRONT_ENDS["git"]) as held:
        held.process.send_signal(signal.SIGCONT)

        assert 1 == held.process.wait(30)
    assert ("session.refused", "state") == _last_refusal(home)


def test_end_says_that_a_release_did_not_finish(tmp_path: Path) -> None:
    """A writer stopped during its write cannot be called back, so the user who ends it is told."""
    require_kernel_keyring()
    ends = ("logout", "logout of all", "revoke", "key rotate")

    # Each command waits for twenty seconds, so all wait at once, each in its own home.
    with ThreadPoolExecutor(len(ends)) as pool:
        told = dict(zip(ends, pool.map(partial(_end_during_a_write, tmp_path), ends), strict=True))

    for end, (left, done) in told.items():
        assert [] == left, end
        assert done.returncode not in {0, 1}, end
        assert "a release did not finish in time" in done.stderr, end


def _end_during_a_write(
    directory: Path, end: str
) -> tuple[list[Path], subprocess.CompletedProcess[str]]:
    """Run the command that ends a session during a write; return the files that it left, too."""
    with Throwaway(directory / end, {"KEYLEASE_KEYCHAIN": "kernel"}) as home:
        log_in(home)
        with _writing(home):
            done = home.run(*ENDS[end])
        return list(home.state.rglob("*.sealed")), done


@pytest.mark.parametrize("git", GITS, ids=str)
def test_gits_echo_does_not_revive_what_a_rotation_ended(home: Throwaway, git: Git) -> None:
    """git storing back its credential after a key rotation starts no session."""
    filled = git_credential(home, git, "fill", GET)
    rotated = home.run("keylease", "key", "rotate")

    git_credential(home, git, "approve", filled)

    assert f"password={PASSWORD}\n" in filled
    assert 0 == rotated.returncode, rotated.stderr
    assert [] == list(home.state.rglob("*.sealed"))
    last = home.audit()[-1]
    assert ("session.confirmed", "refused") == (last["event"], last["outcome"])


@contextmanager
def _writing(home: Throwaway) -> Iterator[int]:
    """Act as a release during its write: hold the sealed file's lock as a reader does."""
    (sealed,) = home.state.rglob("*.sealed")
    fd = os.open(sealed, os.O_RDONLY)
    try:
        fcntl.flock(fd, fcntl.LOCK_SH)
        yield fd
    finally:
        os.close(fd)


def _fill(writer: int) -> bytes:
    """Fill a pipe to the last byte, and return what is in it."""
    os.set_blocking(writer, False)
    filler = 0
    for size in (1 << 16, 1):
        try:
            while True:
                filler += os.write(writer, bytes(size))
        except BlockingIOError:
            pass
    os.set_blocking(writer, True)
    return bytes(filler)


def _is_unlocked(home: Throwaway) -> bool:
    """Return whether no process holds the lock of the sessions: then an answer is on its way."""
    fd = os.open(home.state / "sessions" / "lock", os.O_RDWR)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(fd)
    return True


def _is_stopped(pid: int) -> bool:
    """Return whether a signal has stopped a process."""
    text = Path(f"/proc/{pid}/stat").read_text("utf-8", "replace")
    return text.rpartition(")")[2].split()[0] == "T"


def _last_refusal(home: Throwaway) -> tuple[str, str]:
    """Return event and reason of the last logged refusal."""
    line = [each for each in home.audit() if each["outcome"] == "refused"][-1]
    return line["event"], line["reason"]
