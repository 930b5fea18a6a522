"""Writes that fail halfway: full disks, broken disks, limits, and killed writers.

After any failure at any point a reader sees the old file, the new file or no file, always whole.
"""

import errno
import json
import os
import random
import shutil
import subprocess
import sys
import time
from pkgutil import resolve_name

import pytest
from support.groups import run_group
from support.requirements import require
from support.tracing import require_strace
from support.waiting import WAIT_SECONDS

from keylease.errors import StateError, StateMissingError
from keylease.statefile import Directory
from keylease.statefile.descriptor import TEMPORARY

pytestmark = pytest.mark.skipif(
    sys.platform == "win32", reason="the faults are injected into the calls of POSIX"
)
OLD = b"old" * 1000
NEW = b"the new one" * 500

OPERATIONS = {
    "create": lambda state: state.create("file", NEW),
    "replace": lambda state: state.replace("file", NEW),
    "rewrite": lambda state: state.rewrite("file", NEW),
    "append": lambda state: state.append("file", NEW, sync=True),
    "append-unsynced": lambda state: state.append("file", NEW, sync=False),
}
STARTS = {"absent": None, "present": OLD}
# Files that may exist after a failure besides the old ones.
RESULTS = {
    ("create", "absent"): {None},
    ("replace", "absent"): {None, NEW},
    ("replace", "present"): {OLD, NEW},
    ("rewrite", "absent"): {None},
    # A record that was half-written in place is removed: that ages a session and never revives it.
    ("rewrite", "present"): {OLD, None},
    ("append", "absent"): {None},
    ("append", "present"): {OLD},
    ("append-unsynced", "absent"): {None},
    ("append-unsynced", "present"): {OLD},
}
# Every call with which statefile changes something or uses a resource.
CALLS = ("open", "fstat", "stat", "fchmod", "write", "fsync", "fdatasync", "rename", "ftruncate")
CALLS += ("unlink", "close")
RENAME = "keylease.system.rename._rename"  # not in os: it is called through ctypes
ERRORS = (errno.ENOSPC, errno.EIO, errno.EDQUOT, errno.EMFILE)


class Faults:
    """Make the `number`-th system call fail, and the later ones too if `lasting`.

    A failing close does its work all the same, as the kernel's does.
    A short write writes half, and the next one fails.
    """

    def __init__(self, mocker, number, error, *, lasting=False, short=False):
        self.calls = []
        self.fired = False
        self._number = number
        self._error = error
        self._broken = (*CALLS, RENAME) if lasting else ()
        self._short = short
        for name in CALLS:
            mocker.patch(f"os.{name}", side_effect=self._wrap(name, getattr(os, name)))
        mocker.patch(RENAME, side_effect=self._wrap_rename(resolve_name(RENAME)))

    def _due(self, name):
        self.calls.append(name)
        count = len(self.calls)
        due = count == self._number or (self.fired and name in self._broken)
        self.fired = self.fired or due
        return due

    def _wrap(self, name, call):
        def wrapped(*args, **options):
            if not self._due(name):
                return call(*args, **options)
            if name == "close":
                call(*args, **options)
            if name == "write" and self._short:
                self._short = False
                self._broken = ("write",)
                return call(args[0], memoryview(args[1])[: len(args[1]) // 2])
            raise OSError(self._error, os.strerror(self._error))

        return wrapped

    def _wrap_rename(self, call):
        def wrapped(*args):
            return self._error if self._due(RENAME) else call(*args)

        return wrapped


@pytest.fixture
def place(tmp_path):
    """Return a path where the state directory can be."""
    return tmp_path / "keylease"


@pytest.fixture
def state(place):
    """Return a new state directory, open."""
    with Directory.open(str(place), create=True) as directory:
        yield directory


def content(path):
    """Return what a reader finds, without the code under test."""
    return path.read_bytes() if path.exists() else None


def start(path, data):
    """Restore the file to its old content."""
    path.unlink(missing_ok=True)
    if data is not None:
        path.touch(0o600)
        path.write_bytes(data)


def orphans(place):
    """Return the names of unfinished files."""
    return [path.name for path in place.iterdir() if path.name.startswith(TEMPORARY)]


@pytest.mark.parametrize("error", ERRORS, ids=errno.errorcode.get)
@pytest.mark.parametrize("case", RESULTS, ids="-".join)
def test_any_one_failing_call_leaves_old_or_new(state, place, mocker, case, error):
    """A single failing call at any step costs at most the current session."""
    operation, before = case
    expected = (STARTS[before] or b"") + NEW if operation.startswith("append") else NEW
    seen = set()
    number = 1
    while True:
        start(place / "file", STARTS[before])
        faults = Faults(mocker, number, error)
        raised = None
        try:
            OPERATIONS[operation](state)
        except StateError as caught:
            raised = caught
        mocker.stopall()
        if not faults.fired:
            break
        where = f"{faults.calls[number - 1]} as call {number}"
        if faults.calls[number - 1] == "close":
            assert raised is None, "all was on the disk before it was closed"
            assert content(place / "file") == expected
        else:
            assert raised is not None, f"the failure of {where} went unnoticed"
            assert os.strerror(error).lower() in str(raised).lower(), where
            assert content(place / "file") in RESULTS[case], where
        assert [] == orphans(place), where
        seen.add(faults.calls[number - 1])
        number += 1

    assert raised is None
    assert {"open", "write", "close"} <= seen, "the faults did not reach the calls"
    assert expected == content(place / "file")


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EIO], ids=errno.errorcode.get)
@pytest.mark.parametrize("case", RESULTS, ids="-".join)
def test_a_disk_that_stays_broken_leaves_old_or_new(state, place, mocker, case, error):
    """If the disk stays broken and even cleanup fails, readers still see a whole file."""
    operation, before = case
    allowed = RESULTS[case] | {NEW}
    if operation.startswith("append"):
        # A line that cannot be undone is there whole; a log that cannot be removed is empty.
        allowed |= {(STARTS[before] or b"") + NEW, STARTS[before] or b""}
    number = 1
    while True:
        start(place / "file", STARTS[before])
        faults = Faults(mocker, number, error, lasting=True)
        try:
            OPERATIONS[operation](state)
        except StateError:
            assert faults.fired
        mocker.stopall()
        if not faults.fired:
            break
        assert content(place / "file") in allowed, faults.calls
        number += 1

    assert number > 3, "the faults did not reach the calls"
    state.sweep(-1)
    assert [] == orphans(place)


@pytest.mark.parametrize(("operation", "before"), RESULTS)
def test_short_write_leaves_old_or_new(state, place, mocker, operation, before):
    """A disk that fills up during a write leaves no half-written file."""
    number = 1
    while True:
        start(place / "file", STARTS[before])
        faults = Faults(mocker, number, errno.ENOSPC, short=True)
        raised = False
        try:
            OPERATIONS[operation](state)
        except StateError:
            raised = True
        mocker.stopall()
        assert faults.fired, "no write was reached"
        if faults.calls[number - 1] == "write":
            break
        number += 1

    assert raised
    assert content(place / "file") in RESULTS[operation, before]


def test_failing_to_read_is_not_absence(state, mocker):
    """A read error of the disk does not count as a missing session."""
    state.create("file", OLD)
    for call in ("open", "fstat", "stat", "read"):
        mocker.patch(f"os.{call}", side_effect=OSError(errno.EIO, os.strerror(errno.EIO)))
        with pytest.raises(StateError, match="input/output error") as caught:
            state.read("file", len(OLD))
        mocker.stopall()
        assert not isinstance(caught.value, StateMissingError)

    assert OLD == state.read("file", len(OLD))


# Faults of the system itself. Each program prints one JSON object.

FULL_DISK = """
import json, os, sys
from keylease.errors import StateError
from keylease.statefile import Directory
place = sys.argv[1]
result = {}
with Directory.open(place + "/keylease", create=True) as state:
    old = b"old" * 100
    state.create("replaced", old); state.create("appended", old); state.rewrite("rewritten", old)
    big = b"x" * 200_000
    for name, operation in {
        "replaced": lambda: state.replace("replaced", big),
        "appended": lambda: state.append("appended", big, sync=True),
        "created": lambda: state.create("created", big),
        "made": lambda: state.append("made", big, sync=True),
    }.items():
        try: operation(); result[name] = "nothing raised"
        except StateError as error: result[name] = str(error) + "; " + error.hint
        found = state.read(name, 1 << 20)
        result[name + " after"] = None if found is None else found == old
    result["names"] = sorted(os.listdir(place + "/keylease"))
    os.truncate(state._files._path + "/appended", 0)
    state.replace("replaced", b"room again")
    result["again"] = state.read("replaced", 99).decode()
print(json.dumps(result))
"""
LIMITED_SIZE = (
    "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (1500, -1))\n" + FULL_DISK
)
FEW_DESCRIPTORS = """
import json, os, resource, sys
from keylease.errors import StateError
from keylease.statefile import Directory
raised = []
with Directory.open(sys.argv[1] + "/keylease", create=True) as state:
    state.create("file", b"old")
    free = os.dup(0); os.close(free)
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    for operation in (
        lambda: state.replace("file", b"new"), lambda: state.create("new", b"new"),
        lambda: state.append("file", b"new", sync=True), lambda: state.read("file", 9),
        lambda: state.child("child", create=True),
    ):
        resource.setrlimit(resource.RLIMIT_NOFILE, (free, most))
        try: operation()
        except StateError as error: raised.append(str(error))
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    names = [n for n in os.listdir(sys.argv[1] + "/keylease") if n != "child"]
    print(json.dumps({"raised": raised, "names": names, "file": state.read("file", 9).decode()}))
"""


def run(program, *args, before=()):
    """Run a program that uses keylease and return its report."""
    # The writers that a program forks end with it.
    done = run_group(
        [*before, sys.executable, "-c", program, *map(str, args)],
        timeout_seconds=120,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
        text=True,
    )
    assert 0 == done.returncode, done.stderr
    return json.loads(done.stdout)


def judge_full_disk(result, reason, advice):
    """Check that every write was refused with its reason and left the old content."""
    for name in ("replaced", "appended", "created", "made"):
        assert reason in result[name]
        assert advice in result[name]
    expected = {"replaced": True, "appended": True, "created": None, "made": None}
    assert expected == {name: result[name + " after"] for name in expected}
    assert ["appended", "replaced", "rewritten"] == result["names"]
    assert "room again" == result["again"]


def test_full_disk(tmp_path):
    """A disk that is really full costs nothing that was stored before."""
    require(shutil.which("unshare") and os.geteuid() == 0, "root", "mounting a small tmpfs")
    mount = 'mount -t tmpfs -o size=64k tmpfs "$0" && exec "$@"'
    probe = subprocess.run(
        ["unshare", "-m", "sh", "-c", mount, tmp_path, "true"],
        capture_output=True,
        check=False,
        timeout=WAIT_SECONDS,
    )
    require(probe.returncode == 0, "mount", "this container mounts nothing")

    result = run(FULL_DISK, tmp_path, before=["unshare", "-m", "sh", "-c", mount, str(tmp_path)])

    judge_full_disk(result, "no space left on device", "make room")


def test_limited_file_size(tmp_path):
    """A file size limit of the shell (ulimit -f) cuts a real write short; nothing of it stays."""
    result = run(LIMITED_SIZE, tmp_path)

    judge_full_disk(result, "file too large", "ulimit -f")


def test_no_descriptor_left(tmp_path):
    """A process with too many open files fails cleanly."""
    result = run(FEW_DESCRIPTORS, tmp_path)

    assert 5 == len(result["raised"])
    assert all("too many open files" in message for message in result["raised"])
    assert (["file"], "old") == (result["names"], result["file"])


INJECTED = """
import json, os, sys
from keylease.errors import StateError
from keylease.statefile import Directory
with Directory.open(sys.argv[1], create=False) as state:
    options = {"sync": True} if sys.argv[2] == "append" else {}
    try: getattr(state, sys.argv[2])("file", b"new" * 100, **options); said = ""
    except StateError as error: said = str(error)
print(json.dumps(said))
"""


@pytest.mark.parametrize(
    ("operation", "injection", "reason"),
    [
        ("replace", "fsync:error=EIO:when=1", "input/output error"),
        ("replace", "fsync:error=EIO:when=2", "input/output error"),
        ("replace", "rename,renameat,renameat2:error=ENOSPC", "no space left"),
        ("replace", "rename,renameat,renameat2:error=EDQUOT", "quota"),
        ("append", "fdatasync:error=EIO", "input/output error"),
    ],
)
def test_kernel_reports_a_broken_disk(place, operation, injection, reason):
    """The same holds when the kernel itself reports the error, not a stand-in."""
    require_strace()
    with Directory.open(str(place), create=True) as state:
        state.create("file", OLD)
    calls = injection.partition(":")[0]
    options = ["-f", "-o", os.devnull, "-e", f"trace={calls}", "-e", f"inject={injection}"]
    before = ["strace", *options]

    said = run(INJECTED, place, operation, before=before)

    assert reason in said
    expected = {OLD, b"new" * 100} if injection.endswith("when=2") else {OLD}
    assert content(place / "file") in expected
    assert [] == orphans(place)


# Killed writers. The driver forks them, because starting an interpreter takes longer than the
# moments that matter.

KILLER = """
import json, os, random, signal, sys, time, zlib
from keylease.errors import StateError
from keylease.statefile import Directory
place, kills, operation, seed = sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4]
chance = random.Random(seed)
SIZE = 40_000

def record(number):
    body = number.to_bytes(8, "big") * (SIZE // 8)
    return body + zlib.crc32(body).to_bytes(4, "big")

def whole(data):
    return data is None or zlib.crc32(data[:-4]).to_bytes(4, "big") == data[-4:] and (
        len(data) == SIZE + 4)

def write(state):
    number = 0
    while True:
        number += 1
        if operation == "replace":
            state.replace("file", record(number))
        else:
            state.remove("file"); state.create("file", record(number))

result = {"kills": 0, "torn": 0, "seen": 0, "orphans": 0, "refused": 0}
with Directory.open(place, create=True) as state:
    longest = 0.008
    for number in range(kills):
        if number % 10 == 9 and not result["seen"]:
            longest = min(2 * longest, 0.5)  # on a busy disk no writer gets to its end so soon
        child = os.fork()
        if child == 0:
            try: write(state)
            finally: os._exit(1)
        end = time.monotonic() + chance.uniform(0.0005, longest)
        while time.monotonic() < end:  # a reader at the same time
            try: data = state.read("file", SIZE + 4)
            except StateError: result["refused"] += 1
            else:
                result["seen"] += data is not None
                result["torn"] += not whole(data)
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        result["kills"] += os.WIFSIGNALED(status)
        result["torn"] += not whole(state.read("file", SIZE + 4))
    result["orphans"] = len(os.listdir(place)) - len(state.names())
    result["swept"] = state.sweep(-1)
    result["left"] = [name for name in os.listdir(place) if name != "file"]
print(json.dumps(result))
"""


@pytest.mark.parametrize("operation", ["replace", "create"])
def test_killed_writer_leaves_old_or_new(place, operation):
    """However often and whenever a login is killed, its session is whole or absent."""
    kills = 250
    seed = random.Random().randrange(1 << 32)

    result = run(KILLER, place, kills, operation, seed)

    assert kills == result["kills"], f"seed {seed}: a writer failed by itself"
    assert result["seen"] > 0, "the reader never saw a file: this test proves nothing"
    assert result["orphans"] > 0, "no writer was hit in the middle: this test proves nothing"
    assert (0, 0) == (result["torn"], result["refused"]), f"seed {seed}"
    assert result["orphans"] == result["swept"]
    assert [] == result["left"]


def test_orphan_of_a_killed_writer_is_swept_later(state, place):
    """A later run removes a crash's leftovers, but none that could belong to a living writer."""
    (place / (TEMPORARY + "orphan")).write_bytes(NEW)

    assert 0 == state.sweep(3600)
    hour_ago = time.time() - 3601
    os.utime(place / (TEMPORARY + "orphan"), (hour_ago, hour_ago))
    assert 1 == state.sweep(3600)
    assert [] == list(place.iterdir())
