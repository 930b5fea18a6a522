"""Locks between real processes: stopped holders, killed holders, crowds."""

import json
import os
import signal
import subprocess
import sys

import pytest
from support.waiting import WAIT_SECONDS

from keylease.errors import LockTimeoutError
from keylease.statefile.directory import Directory, Files
from keylease.system.clock import Deadline

POSIX = pytest.mark.skipif(sys.platform == "win32", reason="SIGSTOP and fork are those of POSIX")

HOLDER = """
import sys
from keylease.system.clock import Deadline
from keylease.statefile import Directory
with Directory.open(sys.argv[1]) as state, state.lock("lock", Deadline(10)):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def place(tmp_path):
    """Return a path where the state directory can be."""
    return tmp_path / "keylease"


@pytest.fixture
def state(place):
    """Return a new state directory, open."""
    with Directory.open(str(place), create=True) as directory:
        yield directory


@pytest.fixture
def environment():
    """Return the environment in which another process finds keylease."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}


@pytest.fixture
def holder(state, place, environment):
    """Return another process that has the lock."""
    command = [sys.executable, "-c", HOLDER, str(place)]
    with subprocess.Popen(
        command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert b"held" == process.stdout.readline().strip()
        with pytest.raises(LockTimeoutError), state.lock("lock", Deadline(0)):
            pytest.fail("the control has the lock: nobody held it")
        yield process
        process.kill()


@POSIX
def test_stopped_holder_does_not_hang_others(state, holder):
    """A process stopped with Ctrl-Z does not hang git: git gets an error that explains it."""
    holder.send_signal(signal.SIGSTOP)
    deadline = Deadline(0.3)

    with pytest.raises(LockTimeoutError, match="lock is held by another process") as caught:
        state.lock("lock", deadline).__enter__()

    assert "try again" in caught.value.hint
    assert deadline.remaining() == 0, "it gave up too early"
    holder.send_signal(signal.SIGCONT)
    holder.communicate(timeout=10)
    with state.lock("lock", Deadline(5)):
        assert ["lock"] == state.names()


@POSIX
def test_a_lock_that_is_removed_each_time_is_given_up_at_the_deadline(state, place, monkeypatch):
    """A program that keeps removing the lock file does not make a helper wait for ever."""
    original = Files.try_lock

    def try_lock(self, fd):
        (place / "lock").unlink()
        return original(self, fd)

    monkeypatch.setattr(Files, "try_lock", try_lock)
    with (
        pytest.raises(LockTimeoutError, match="removed again and again"),
        state.lock("lock", Deadline(0.05)),
    ):
        pytest.fail("a lock on a file without a name keeps nobody out")


def test_killed_holder_frees_the_lock(state, holder):
    """A crash never leaves a lock that a user has to remove by hand."""
    holder.kill()
    holder.wait(timeout=10)

    with state.lock("lock", Deadline(5)):
        assert ["lock"] == state.names()


def test_holder_that_ends_hands_the_lock_on(state, holder):
    """A waiting process continues when the holder ends."""
    holder.stdin.close()

    with state.lock("lock", Deadline(10)):
        assert ["lock"] == state.names()
    assert 0 == holder.wait(timeout=10)


FORKER = """
import os, sys
from keylease.system.clock import Deadline
from keylease.statefile.directory import Directory, Files
reading, writing = os.pipe()
with Directory.open(sys.argv[1]) as state:
    with state.lock("lock", Deadline(1)):
        child = os.fork()
        if child == 0:
            os.close(writing)
            os.read(reading, 1)
            os._exit(0)
    with state.lock("lock", Deadline(0)):
        print("again, alive" if os.waitpid(child, os.WNOHANG) == (0, 0) else "again, dead")
os.close(writing)
os.waitpid(child, 0)
"""


@POSIX
def test_child_of_the_holder_does_not_keep_the_lock(state, place, environment):
    """A program that forks while it holds the lock still releases it."""
    assert [] == state.names()

    done = subprocess.run(
        [sys.executable, "-c", FORKER, str(place)],
        env=environment,
        capture_output=True,
        check=True,
        text=True,
        timeout=WAIT_SECONDS,
    )

    assert "again, alive\n" == done.stdout


CROWD = """
import json, os, sys, time
from keylease.system.clock import Deadline
from keylease.statefile.directory import Directory, Files
place, processes, turns, hold = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])
def count(state): return int(state.read("count", 8))
with Directory.open(place) as state:
    state.rewrite("count", b"%08d" % 0)
    reading, writing = os.pipe()
    for _ in range(processes):
        if os.fork() == 0:
            longest = 0
            with Directory.open(place) as own:
                for _ in range(turns):
                    asked = count(own)
                    with own.lock("lock", Deadline(120)):
                        before = count(own)
                        longest = max(longest, before - asked)
                        time.sleep(hold)
                        own.rewrite("count", b"%08d" % (before + 1))
            os.write(writing, f"{longest} {os.stat(place + '/lock').st_ino}\\n".encode())
            os._exit(0)
    os.close(writing)
    with open(reading) as file:
        told = [line.split() for line in file]
    for _ in range(processes):
        os.wait()
    print(json.dumps({
        "count": count(state), "answers": len(told), "files": len({inode for _, inode in told}),
        "longest": max(int(longest) for longest, _ in told),
    }))
"""


@POSIX
@pytest.mark.parametrize(("turns", "hold"), [(12, 0.005), (4, 0.0)])
def test_crowd_loses_no_update_and_nobody_starves(state, place, environment, turns, hold):
    """Each of many concurrent tools gets its turn in time, and none undoes another's work."""
    assert [] == state.names()

    done = subprocess.run(
        [sys.executable, "-c", CROWD, str(place), "64", str(turns), str(hold)],
        env=environment,
        capture_output=True,
        check=False,
        text=True,
        timeout=120,
    )

    assert (0, "") == (done.returncode, done.stderr)
    told = json.loads(done.stdout)
    longest = told.pop("longest")
    assert {"count": 64 * turns, "answers": 64, "files": 1} == told
    # Count the turns of the others, so that a slow machine does not fail. At 5 ms a turn this is
    # two seconds, the longest wait of a request. Random turns would need three times as many.
    assert longest <= 400
