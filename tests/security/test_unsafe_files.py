"""Attacks on the files: links, pipes, devices, wrong owners, wrong modes, exchanges in flight.

The expected outcome is always the same: refused with advice. keylease follows nothing, repairs
nothing and waits for nothing.
"""

import os
import signal
import socket
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from support.requirements import require, require_root
from support.waiting import WAIT_SECONDS

from keylease.errors import StateError, UnsafeStateError
from keylease.statefile import Directory
from keylease.system.clock import Deadline

pytestmark = pytest.mark.skipif(
    sys.platform == "win32", reason="owners, modes, FIFOs and devices are those of POSIX"
)
STRANGER = 65534
OURS = b"ours"
VICTIM = b"somebody else's"

OPERATIONS = {
    "read": lambda state: state.read("file", 99),
    "read_tail": lambda state: state.read_tail("file", 99),
    "size": lambda state: state.size("file"),
    "replace": lambda state: state.replace("file", b"new"),
    "rewrite": lambda state: state.rewrite("file", b"new"),
    "append": lambda state: state.append("file", b"new", sync=True),
    "truncate": lambda state: state.truncate("file", 0),
    "lock": lambda state: state.lock("file", Deadline(1)).__enter__(),
}


def be_root(reason):
    """Skip the test if this process lacks the rights for it."""
    require_root(reason)


def put_symbolic_link(path, victim):
    """Link to a file that the victim does not want to lose."""
    path.unlink()
    path.symlink_to(victim)


def put_dangling_link(path, victim):
    """Link to a file that does not exist, so that a careless write would make it."""
    path.unlink()
    path.symlink_to(victim.with_name("made"))


def put_hard_link(path, victim):
    """Give the victim's file a second name."""
    path.unlink()
    path.hardlink_to(victim)


def put_fifo(path, _victim):
    """Put a pipe that blocks a program that opens it."""
    path.unlink()
    os.mkfifo(path, 0o600)


def put_socket(path, _victim):
    """Put a socket."""
    path.unlink()
    with socket.socket(socket.AF_UNIX) as listener, pytest.MonkeyPatch.context() as patch:
        patch.chdir(path.parent)  # a socket's address has room for about a hundred bytes
        listener.bind(path.name)
    path.chmod(0o600)


def put_device(path, _victim):
    """Put a device that swallows every write."""
    be_root("making a device node")
    path.unlink()
    try:
        os.mknod(path, stat.S_IFCHR | 0o600, os.makedev(1, 3))
    except PermissionError:
        require(condition=False, name="mknod", reason="this container makes no device nodes")


def put_directory(path, _victim):
    """Put a directory in place of the file."""
    path.unlink()
    path.mkdir(0o700)


def make_readable(path, _victim):
    """Let all users read."""
    path.chmod(0o644)


def make_group_writable(path, _victim):
    """Let the group write."""
    path.chmod(0o620)


def give_away(path, _victim):
    """Make another user the owner."""
    be_root("giving a file to another user")
    os.chown(path, STRANGER, -1)


ATTACKS = {
    put_symbolic_link: ("a symbolic link, not a regular file", "mv "),
    put_dangling_link: ("a symbolic link, not a regular file", "mv "),
    put_hard_link: ("2 names, not one", "mv "),
    put_fifo: ("a FIFO, not a regular file", "mv "),
    put_socket: ("a socket, not a regular file", "mv "),
    put_device: ("a character device, not a regular file", "mv "),
    put_directory: ("a directory, not a regular file", "mv "),
    make_readable: ("mode 0644, not 0600", "chmod 600 "),
    make_group_writable: ("mode 0620, not 0600", "chmod 600 "),
    give_away: (f"belongs to user {STRANGER}, not to user", "KEYLEASE_STATE_DIR"),
}


@pytest.fixture(autouse=True)
def watchdog():
    """Fail, instead of hanging, if a call blocks."""

    def bark(_number, _frame):
        pytest.fail("blocked")

    before = signal.signal(signal.SIGALRM, bark)
    signal.alarm(60)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture
def place(tmp_path):
    """Return the path of a state directory with one file."""
    path = tmp_path / "keylease"
    with Directory.open(str(path), create=True) as state:
        state.create("file", OURS)
    return path


@pytest.fixture
def victim(tmp_path):
    """Return a file outside the state that must never be touched."""
    path = tmp_path / "victim"
    path.write_bytes(VICTIM)
    path.chmod(0o600)
    return path


def picture(directory):
    """Return everything that an attack or a repair could change below `directory`."""
    return {
        path: (
            *(found.st_ino, found.st_mode, found.st_uid, found.st_nlink),
            # A directory records that an unfinished file came and went.
            *(() if path.is_dir() else (found.st_size, found.st_mtime_ns)),
        )
        for path in sorted(directory.rglob("*"))
        for found in [path.lstat()]
    }


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.__name__)
def test_unsafe_file_is_refused(place, tmp_path, victim, attack, operation):
    """keylease reads, writes and makes only its own files, and waits for no other."""
    with Directory.open(str(place)) as state:
        OPERATIONS["read"](state)  # the control: without the attack it works
        attack(place / "file", victim)
        before = picture(tmp_path)

        with pytest.raises(UnsafeStateError) as caught:
            OPERATIONS[operation](state)

    found, advice = ATTACKS[attack]
    assert found in str(caught.value)
    assert str(caught.value).startswith("state file file ")
    assert advice in caught.value.hint
    assert before == picture(tmp_path)
    assert VICTIM == victim.read_bytes()


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.__name__)
def test_create_never_takes_what_is_there(place, tmp_path, victim, attack):
    """A file in the place of a new one stays unchanged, and so does the target of a link there."""
    with Directory.open(str(place)) as state:
        attack(place / "file", victim)
        before = picture(tmp_path)

        with pytest.raises(StateError, match="exists"):
            state.create("file", b"new")

    assert before == picture(tmp_path)


@pytest.mark.parametrize(
    "attack",
    [put_symbolic_link, put_dangling_link, put_hard_link, put_fifo],
    ids=lambda attack: attack.__name__,
)
def test_remove_takes_the_name_only(place, victim, attack):
    """Ending a session removes its name, whatever stands there, and nothing else."""
    attack(place / "file", victim)

    with Directory.open(str(place)) as state:
        assert state.remove("file")

    assert [] == list(place.iterdir())
    assert VICTIM == victim.read_bytes()


@pytest.mark.parametrize("mode", [0o755, 0o770, 0o701, 0o710])
def test_state_directory_open_to_others_is_refused(place, mode):
    """A state directory open to other users is reported, not silently repaired."""
    place.chmod(mode)

    for create in (False, True):
        with pytest.raises(UnsafeStateError, match=f"mode {mode:04o}, not 0700") as caught:
            Directory.open(str(place), create=create)
        assert f"chmod 700 '{place}'" in caught.value.hint

    assert mode == stat.S_IMODE(place.stat().st_mode)


def test_nobody_is_advised_to_take_a_shared_directory_from_the_others(tmp_path):
    """The advice for /tmp must not let root lock all other users out of it."""
    tmp_path.chmod(0o1777)

    with pytest.raises(UnsafeStateError, match="mode 1777, as one that many users share") as caught:
        Directory.open(str(tmp_path), create=True)

    assert "chmod" not in caught.value.hint
    assert 0o1777 == tmp_path.stat().st_mode & 0o7777


def test_child_directory_open_to_others_is_refused(place):
    """The check includes the directories inside the state directory."""
    (place / "sessions").mkdir(0o700)
    (place / "sessions").chmod(0o750)

    with Directory.open(str(place)) as state, pytest.raises(UnsafeStateError, match="mode 0750"):
        state.child("sessions")


@pytest.mark.parametrize("create", [False, True])
@pytest.mark.parametrize("level", ["state", "child"])
@pytest.mark.parametrize("kind", ["symbolic link", "regular file", "FIFO"])
def test_what_is_no_directory_is_refused(tmp_path, kind, level, create):
    """A link in the place of a directory does not redirect the state."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir(0o700)
    place = tmp_path / "keylease"
    path = place
    if level == "child":
        place.mkdir(0o700)
        path = place / "sessions"
    {
        "symbolic link": lambda: path.symlink_to(elsewhere),
        "regular file": lambda: path.touch(0o600),
        "FIFO": lambda: os.mkfifo(path, 0o600),
    }[kind]()

    with (
        pytest.raises(UnsafeStateError, match=f"a {kind}, not a directory"),
        Directory.open(str(place), create=create) as state,
    ):
        state.child("sessions", create=create)

    assert [] == list(elsewhere.iterdir())


@pytest.mark.parametrize("mode", [0o775, 0o777, 0o757])
@pytest.mark.parametrize("exists", [True, False])
def test_directory_above_that_others_can_write_is_refused(tmp_path, mode, exists):
    """A directory above that others can write is refused, because they could replace ours."""
    above = tmp_path / "state"
    place = above / "keylease"
    above.mkdir()
    if exists:
        place.mkdir(0o700)
    above.chmod(mode)

    with pytest.raises(UnsafeStateError, match=f"mode {mode:04o}: others can write") as caught:
        Directory.open(str(place), create=True)

    assert f"chmod go-w '{above}'" in caught.value.hint
    assert exists == place.exists()


def test_nothing_is_made_below_a_directory_that_others_can_write(tmp_path):
    """The same holds for each directory above that has to be made."""
    tmp_path.chmod(0o777)

    with pytest.raises(UnsafeStateError, match="others can write"):
        Directory.open(str(tmp_path / "state" / "keylease"), create=True)

    assert [] == list(tmp_path.iterdir())


def test_sticky_directory_above_is_fine(tmp_path):
    """In a sticky directory like /tmp other users cannot replace our directory."""
    tmp_path.chmod(0o1777)

    with Directory.open(str(tmp_path / "keylease"), create=True) as state:
        state.create("file", OURS)

    assert 0o700 == stat.S_IMODE((tmp_path / "keylease").stat().st_mode)


@pytest.mark.parametrize("level", ["above", "state", "child"])
def test_root_does_not_touch_the_state_of_another_user(tmp_path, level):
    """`sudo keylease` with the user's HOME makes no file that the user cannot use later."""
    be_root("giving a directory to another user")
    paths = {
        "above": tmp_path / "state",
        "state": tmp_path / "state" / "keylease",
        "child": tmp_path / "state" / "keylease" / "sessions",
    }
    for path in paths.values():
        path.mkdir(0o700)
    os.chown(paths[level], STRANGER, STRANGER)
    if level == "above":
        paths["child"].rmdir()
        paths["state"].rmdir()
    before = picture(tmp_path)

    with (
        pytest.raises(UnsafeStateError, match=f"belongs to user {STRANGER}, not to user 0"),
        Directory.open(str(paths["state"]), create=True) as state,
    ):
        state.child("sessions", create=True)

    assert before == picture(tmp_path)


ANOTHER_USER = """
import os, sys
from keylease.errors import StateError, UnsafeStateError
from keylease.statefile import Directory
# The interpreter itself may be out of a stranger's reach, so root loads it first.
os.setgroups([]); os.setresgid(*[int(sys.argv[1])] * 3); os.setresuid(*[int(sys.argv[1])] * 3)
try: Directory.open(sys.argv[2], create=True)
except UnsafeStateError as error: print(error)
try: Directory.open(sys.argv[2] + "/more/keylease", create=True)
except StateError as error: print(error)
Directory.open(sys.argv[3], create=True).create("file", b"")  # the control
"""


def test_another_user_is_refused():
    """A second user who knows where the state is gets nothing and leaves nothing."""
    be_root("becoming another user")
    with tempfile.TemporaryDirectory() as base:  # only root can enter pytest's own directories
        above = Path(base)
        above.chmod(0o1777)
        place = above / "keylease"
        Directory.open(str(place), create=True).close()
        done = subprocess.run(
            [sys.executable, "-c", ANOTHER_USER, str(STRANGER), str(place), str(above / "own")],
            env={"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
            capture_output=True,
            check=False,
            text=True,
            timeout=WAIT_SECONDS,
        )

        first, second = done.stdout.splitlines()
        assert f"belongs to user 0, not to user {STRANGER}" in first
        assert "permission denied" in second
        assert "" == done.stderr
        assert [] == list(place.iterdir())
        assert ["file"] == [path.name for path in (above / "own").iterdir()]


def test_open_directory_is_not_exchanged(place, tmp_path):
    """A directory that replaces an opened one is not used."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir(0o700)
    (elsewhere / "file").write_bytes(VICTIM)
    (elsewhere / "file").chmod(0o600)

    with Directory.open(str(place)) as state:
        place.rename(tmp_path / "moved")
        place.symlink_to(elsewhere)
        found = state.read("file", 99)
        state.create("new", OURS)

    assert OURS == found
    assert ["file"] == [path.name for path in elsewhere.iterdir()]
    assert OURS == (tmp_path / "moved" / "new").read_bytes()


SWAPPER = """
import os, sys
file, ours, victim = sys.argv[1:]
spare = file + ".spare"
def put(make):
    make(); os.rename(spare, file)
def regular():
    with open(os.open(spare, os.O_WRONLY | os.O_CREAT, 0o600), "wb") as f: f.write(ours.encode())
kinds = [
    lambda: os.symlink(victim, spare), lambda: os.link(victim, spare),
    lambda: os.mkfifo(spare, 0o600),
]
print("ready", flush=True)
while True:
    for kind in kinds:
        put(regular); put(kind)
"""


@pytest.mark.parametrize("operation", OPERATIONS)
def test_exchange_in_flight_gains_nothing(place, victim, operation):
    """An attacker who constantly swaps the file gets refusals, never the other file."""
    command = [sys.executable, "-c", SWAPPER, str(place / "file"), OURS.decode(), str(victim)]
    counts = {True: 0, False: 0}
    with (
        subprocess.Popen(command, stdout=subprocess.PIPE) as swapper,
        Directory.open(str(place)) as state,
    ):
        try:
            swapper.stdout.readline()
            for _ in range(20_000):
                try:
                    found = OPERATIONS[operation](state)
                except StateError:
                    # Not always `UnsafeStateError`, because the link may be gone again at the
                    # check.
                    counts[False] += 1
                else:
                    counts[True] += 1
                    assert VICTIM != found
                    assert len(VICTIM) != found
                if min(counts.values()) >= 200:
                    break
        finally:
            swapper.kill()

    assert min(counts.values()) >= 20, "the two never met: this test proves nothing"
    assert VICTIM == victim.read_bytes()
    assert 0o600 == stat.S_IMODE(victim.stat().st_mode)
