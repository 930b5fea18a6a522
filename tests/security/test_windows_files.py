"""What differs on Windows: files that others hold open, junctions, permanent denials."""

import contextlib
import ctypes
import errno
import json
import os
import random
import stat
import subprocess
import sys
import zlib

import pytest

from keylease.errors import StateError, UnsafeStateError
from keylease.statefile import Directory
from keylease.statefile.descriptor import TEMPORARY
from keylease.statefile.steps import open_if_there

pytestmark = pytest.mark.skipif(sys.platform != "win32", reason="sharing rules are Windows' own")
OLD = b"old"
NEW = b"the new one"
VICTIM = b"somebody else's"


@pytest.fixture
def place(tmp_path):
    """Return the path of a state directory with one file."""
    path = tmp_path / "keylease"
    with Directory.open(str(path), create=True) as state:
        state.create("file", OLD)
    return path


@pytest.fixture
def state(place):
    """Return that state directory, open."""
    with Directory.open(str(place)) as directory:
        yield directory


@pytest.fixture
def impatient(mocker):
    """Shorten the wait for busy files, where the test is about the end of the wait."""
    mocker.patch("keylease.statefile.windows._BUSY_SECONDS", 0.1)


def orphans(place):
    """Return the names of unfinished files."""
    return [path.name for path in place.iterdir() if path.name.startswith(TEMPORARY)]


def hold(path, *, share):
    """Open a file as another program would, and return a function that closes it."""
    kernel32 = ctypes.WinDLL("kernel32", use_last_error=True)
    kernel32.CreateFileW.restype = ctypes.c_void_p
    handle = kernel32.CreateFileW(str(path), 0x80000000, share, None, 3, 0, None)
    assert handle not in (None, ctypes.c_void_p(-1).value)
    return lambda: kernel32.CloseHandle(ctypes.c_void_p(handle))


def let_go_after_first_failure(mocker, call, let_go):
    """Let the other program close the file only after it caused a failure."""
    real = getattr(os, call)
    failures = []

    def wrapped(*args, **options):
        try:
            return real(*args, **options)
        except PermissionError as error:
            failures.append(error.winerror)
            let_go()
            raise

    mocker.patch(f"os.{call}", side_effect=wrapped)
    return failures


def test_file_that_another_program_reads_is_waited_for(state, place, mocker):
    """A virus scanner that reads a session briefly does not fail the login."""
    failures = let_go_after_first_failure(mocker, "replace", hold(place / "file", share=1))

    state.replace("file", NEW)

    assert failures, "nothing was in the way: this test proves nothing"
    assert NEW == state.read("file", 99)
    assert [] == orphans(place)


def test_file_that_another_program_reads_is_removed_when_it_can_be(state, place, mocker):
    """A brief reader does not keep an ended session alive."""
    failures = let_go_after_first_failure(mocker, "unlink", hold(place / "file", share=1))

    assert state.remove("file")

    assert failures, "nothing was in the way: this test proves nothing"
    assert [] == list(place.iterdir())


def test_file_that_another_program_keeps_to_itself_is_waited_for(state, place, mocker):
    """A brief exclusive lock of another program does not fail a read."""
    let_go = hold(place / "file", share=0)
    sleep = mocker.patch("keylease.statefile.windows.time.sleep", side_effect=lambda _: let_go())

    assert OLD == state.read("file", 99)
    assert 1 == sleep.call_count


@pytest.mark.parametrize(
    "operation",
    [lambda state: state.replace("file", NEW), lambda state: state.remove("file")],
    ids=["replace", "remove"],
)
@pytest.mark.usefixtures("impatient")
def test_file_that_is_never_let_go_is_an_error(state, place, operation):
    """A file that stays open is reported as an error, without an endless loop or a partial file."""
    let_go = hold(place / "file", share=1)
    try:
        with pytest.raises(StateError, match="file cannot be"):
            operation(state)
    finally:
        let_go()

    assert OLD == state.read("file", 99)
    assert [] == orphans(place)


@pytest.mark.usefixtures("impatient")
def test_real_denial_is_an_error(state, place):
    """A file that must not be replaced is not replaced."""
    probe = place.with_name("probe")
    probe.touch()
    probe.chmod(stat.S_IREAD)
    (place.with_name("other")).touch()
    with contextlib.suppress(PermissionError):
        place.with_name("other").replace(probe)
        pytest.skip("this system replaces a file that may only be read")
    (place / "file").chmod(stat.S_IREAD)
    try:
        with pytest.raises(StateError, match="file cannot be written"):
            state.replace("file", NEW)
    finally:
        (place / "file").chmod(stat.S_IREAD | stat.S_IWRITE)

    assert OLD == state.read("file", 99)
    assert [] == orphans(place)


def test_own_readers_are_in_nobodys_way(state):
    """A process that reads a session does not stop another one from ending it."""
    fd = open_if_there(state._files, "file", os.O_RDONLY)
    try:
        assert state.remove("file")
        assert OLD == os.read(fd, 99)
    finally:
        os.close(fd)

    assert state.read("file", 99) is None


def make_junction(path, target):
    """Make a junction as `mklink /J` does; it needs no privilege."""
    _winapi = pytest.importorskip("_winapi")
    _winapi.CreateJunction(str(target), str(path))


def make_symbolic_link(path, target):
    """Make a symbolic link; it needs developer mode or an administrator."""
    path.symlink_to(target, target_is_directory=target.is_dir())


def put(make, path, target):
    """Put a link, and skip the test if the system does not make a recognizable one."""
    try:
        make(path, target)
    except (OSError, NotImplementedError) as error:
        pytest.skip(f"no link was made: {error}")
    if not os.path.lexists(path):
        pytest.skip("this system says that it made a link, and made none")
    if not path.lstat().st_file_attributes & stat.FILE_ATTRIBUTE_REPARSE_POINT:
        pytest.skip("this system does not tell links from what they point to")


def test_symbolic_link_is_refused(state, place, tmp_path):
    """A link in the place of a session is refused."""
    victim = tmp_path / "victim"
    victim.write_bytes(VICTIM)
    (place / "file").unlink()
    put(make_symbolic_link, place / "file", victim)

    for operation in (
        lambda: state.read("file", 99),
        lambda: state.replace("file", NEW),
        lambda: state.rewrite("file", NEW),
        lambda: state.append("file", NEW, sync=True),
    ):
        with pytest.raises(UnsafeStateError, match="reparse point"):
            operation()

    assert VICTIM == victim.read_bytes()


@pytest.mark.parametrize("make", [make_junction, make_symbolic_link])
def test_linked_directory_is_refused(state, place, tmp_path, make):
    """A junction in the place of a directory does not redirect the state."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    put(make, place / "child", elsewhere)

    with pytest.raises(UnsafeStateError, match="reparse point"):
        state.child("child", create=True)

    assert [] == list(elsewhere.iterdir())


def test_file_with_two_names_is_refused(state, place, tmp_path):
    """A second name of another user's file is not a session."""
    victim = tmp_path / "victim"
    victim.write_bytes(VICTIM)
    (place / "file").unlink()
    os.link(victim, place / "file")

    for operation in (lambda: state.read("file", 99), lambda: state.rewrite("file", NEW)):
        with pytest.raises(UnsafeStateError, match="2 names"):
            operation()

    assert VICTIM == victim.read_bytes()


def test_directory_in_place_of_a_file_is_refused(state, place):
    """A directory in the place of a file is refused with a message that says so."""
    (place / "file").unlink()
    (place / "file").mkdir()

    for operation in (lambda: state.read("file", 99), lambda: state.replace("file", NEW)):
        with pytest.raises(UnsafeStateError, match="directory, not a regular file"):
            operation()


def test_full_disk_leaves_old(state, place, mocker):
    """A disk that fills up during a write leaves no half-written file."""
    mocker.patch("os.fsync", side_effect=OSError(errno.ENOSPC, "No space left on device"))

    with pytest.raises(StateError, match="no space left"):
        state.replace("file", NEW)
    with pytest.raises(StateError, match="no space left"):
        state.append("file", NEW, sync=True)

    assert OLD == state.read("file", 99)
    assert [] == orphans(place)


WRITER = """
import sys, zlib
from keylease.statefile import Directory
with Directory.open(sys.argv[1]) as state:
    number = 0
    while True:
        number += 1
        body = number.to_bytes(8, "big") * 5000
        state.replace("file", body + zlib.crc32(body).to_bytes(4, "big"))
        if number == 1: print("ready", flush=True)
"""


def environment():
    """Return the environment in which another process finds keylease."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}


def test_killed_writer_leaves_old_or_new(state, place):
    """However often and whenever a login is killed, its session is whole."""
    for _ in range(12):
        seen = set()
        command = [sys.executable, "-c", WRITER, str(place)]
        with subprocess.Popen(command, env=environment(), stdout=subprocess.PIPE) as writer:
            assert b"ready" == writer.stdout.readline().strip()
            wanted = random.randrange(2, 9)
            while len(seen) < wanted:
                data = state.read("file", 40_004)
                seen.add(data[:8])
                assert zlib.crc32(data[:-4]).to_bytes(4, "big") == data[-4:]
            writer.kill()
        data = state.read("file", 40_004)
        assert zlib.crc32(data[:-4]).to_bytes(4, "big") == data[-4:]

    state.sweep(-1)
    assert [] == orphans(place)


COUNTER = """
import json, sys
from keylease.system.clock import Deadline
from keylease.statefile import Directory
with Directory.open(sys.argv[1]) as state:
    for _ in range(int(sys.argv[2])):
        with state.lock("lock", Deadline(60)):
            state.replace("count", str(int(state.read("count", 99)) + 1).encode())
print(json.dumps("done"))
"""


def test_processes_lose_no_update(state, place):
    """Concurrent tools do not undo each other's work."""
    state.create("count", b"0")
    command = [sys.executable, "-c", COUNTER, str(place), "25"]

    crowd = [subprocess.Popen(command, env=environment(), stdout=subprocess.PIPE) for _ in range(8)]
    told = [process.communicate(timeout=120)[0] for process in crowd]

    assert ["done"] * 8 == [json.loads(answer) for answer in told]
    assert b"200" == state.read("count", 99)
