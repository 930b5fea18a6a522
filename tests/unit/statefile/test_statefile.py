"""Private files as callers use them; tests/security has the attacks on them."""

import errno
import os
import random
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from support.waiting import WAIT_SECONDS

from keylease.errors import LockTimeoutError, StateError, StateMissingError, UnsafeStateError
from keylease.statefile import Directory
from keylease.statefile.descriptor import TEMPORARY
from keylease.system.clock import Deadline

POSIX = pytest.mark.skipif(
    sys.platform == "win32", reason="Windows has no modes: access lists are inherited there"
)
DESCRIPTORS = Path("/proc/self/fd")
DATA = bytes(range(256)) * 4


@pytest.fixture
def place(tmp_path):
    """Return a path for a state directory that does not exist yet."""
    return tmp_path / "keylease"


@pytest.fixture
def state(place):
    """Return a new state directory, open."""
    with Directory.open(str(place), create=True) as directory:
        yield directory


def mode_of(path):
    """Return the permission bits."""
    return stat.S_IMODE(path.stat().st_mode)


def listed(path):
    """Return every name in a directory, unfinished files included."""
    return sorted(entry.name for entry in path.iterdir())


# Directories


def test_state_directory_is_made_with_what_is_above_it(tmp_path):
    """The state directory and its missing parents are made, so the first run needs no setup."""
    path = tmp_path / "home" / ".local" / "state" / "keylease"

    with Directory.open(str(path), create=True) as state:
        state.create("vault.json", DATA)

    assert DATA == (path / "vault.json").read_bytes()


@POSIX
@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077, 0o777])
def test_everything_is_private_whatever_the_umask(tmp_path, umask):
    """Only the owner can read new files, and the owner always can, whatever the umask."""
    before = os.umask(umask)
    try:
        with Directory.open(str(tmp_path / "a" / "b"), create=True) as state:
            state.create("created", DATA)
            state.replace("replaced", DATA)
            state.rewrite("rewritten", DATA)
            state.append("appended", DATA, sync=True)
            with state.child("child", create=True), state.lock("lock", Deadline(1)):
                pass
    finally:
        os.umask(before)

    found = {path.name: mode_of(path) for path in (tmp_path / "a").rglob("*")}
    expected = dict.fromkeys(["created", "replaced", "rewritten", "appended", "lock"], 0o600)
    assert {**expected, "b": 0o700, "child": 0o700} == found
    assert 0o700 == mode_of(tmp_path / "a")


def test_state_directory_that_was_never_made_is_missing(place):
    """A machine where keylease was never used gives its own error."""
    with pytest.raises(StateMissingError, match="cannot be opened: "):
        Directory.open(str(place))

    assert not place.exists()


def test_nothing_above_the_state_directory_is_made_unasked(tmp_path):
    """Looking for a session on a new machine makes no directory."""
    with pytest.raises(StateMissingError):
        Directory.open(str(tmp_path / "home" / "state" / "keylease"))

    assert [] == listed(tmp_path)


@POSIX
@pytest.mark.usefixtures("usual_umask")
def test_directory_above_that_another_program_makes_meanwhile_is_used(tmp_path, mocker):
    """A parent directory that another program makes at the same time is used."""
    mkdir = os.mkdir

    def be_late(name, mode, *, dir_fd):
        mocker.stopall()
        mkdir(name, 0o755, dir_fd=dir_fd)
        mkdir(name, mode, dir_fd=dir_fd)

    mocker.patch("os.mkdir", side_effect=be_late)
    with Directory.open(str(tmp_path / "state" / "keylease"), create=True) as state:
        state.create("file", DATA)

    assert (0o755, 0o700) == (
        mode_of(tmp_path / "state"),
        mode_of(tmp_path / "state" / "keylease"),
    )


def test_child_that_was_never_made_is_missing(state, place):
    """Looking for the sessions of a host makes no directory for it."""
    with pytest.raises(StateMissingError, match="sessions"):
        state.child("sessions")

    assert [] == list(place.iterdir())


def test_child_is_made_once_and_opened_again(state):
    """The second session of a host opens the directory of the first."""
    with state.child("sessions", create=True) as child:
        child.create("one", DATA)

    with state.child("sessions", create=True) as child, state.child("sessions") as again:
        assert [["one"], ["one"]] == [child.names(), again.names()]


@pytest.mark.parametrize("path", ["", "keylease", "./keylease", "../keylease"])
def test_state_directory_needs_an_absolute_path(path):
    """A relative path is refused, so state does not depend on the working directory."""
    with pytest.raises(ValueError, match="absolute"):
        Directory.open(path, create=True)


def test_root_is_no_state_directory(place):
    """The root directory is refused, so a typo does not put files there."""
    with pytest.raises(StateError, match="root") as caught:
        Directory.open(place.anchor, create=True)

    assert "KEYLEASE_STATE_DIR" in caught.value.hint


@pytest.mark.parametrize(
    "name", ["", ".", "..", "a/b", "../a", "/etc/passwd", "a\0b", TEMPORARY + "1"]
)
@pytest.mark.parametrize(
    "operation",
    [
        lambda state, name: state.child(name, create=True),
        lambda state, name: state.read(name, 1),
        lambda state, name: state.read_start(name, 1),
        lambda state, name: state.read_tail(name, 1),
        lambda state, name: state.size(name),
        lambda state, name: state.create(name, b""),
        lambda state, name: state.replace(name, b""),
        lambda state, name: state.rewrite(name, b""),
        lambda state, name: state.append(name, b"", sync=False),
        lambda state, name: state.truncate(name, 0),
        lambda state, name: state.remove(name),
        lambda state, name: state.withdraw(name),
        lambda state, name: state.grip(name),
        lambda state, name: state.move(name, state, "file"),
        lambda state, name: state.move("file", state, name),
        lambda state, name: state.remove_child(name),
        lambda state, name: state.lock(name, Deadline(1)).__enter__(),
    ],
)
def test_name_is_one_file_of_the_directory(state, place, operation, name):
    """No name leads out of the directory, whatever its source."""
    with pytest.raises(ValueError, match="name"):
        operation(state, name)

    assert [] == list(place.iterdir())


@pytest.mark.skipif(sys.platform != "win32", reason="device names are special only on Windows")
@pytest.mark.parametrize("name", ["NUL", "con", "COM1.json", "a:b", "a\\b", "a.", "a ", "a\x1fb"])
def test_name_is_no_device_of_windows(state, name):
    """Windows device names and streams are refused."""
    with pytest.raises(ValueError, match="name"):
        state.create(name, DATA)


@pytest.mark.skipif(not DESCRIPTORS.is_dir(), reason="needs /proc to count descriptors")
def test_no_descriptor_is_left_open(state):
    """Long use leaves no descriptor open."""

    def use():
        with state.child("child", create=True) as child:
            child.create("file", DATA)
            child.replace("file", DATA)
            child.append("file", DATA, sync=False)
            child.rewrite("touch", DATA)
            child.truncate("file", 1)
            child.read("file", 1)
            child.read_tail("file", 1)
            with child.lock("lock", Deadline(1)):
                child.remove("file")
        with pytest.raises(StateMissingError):
            state.child("nothing")

    use()
    before = len(listed(DESCRIPTORS))
    use()

    assert before == len(listed(DESCRIPTORS))


@POSIX
def test_no_descriptor_is_inherited(state, place):
    """Child processes inherit no descriptor of the state."""
    program = (
        "import os, sys\n"
        "for fd in range(3, 64):\n"
        "    try: print(os.fstat(fd).st_ino)\n"
        "    except OSError: pass\n"
    )
    control = os.open(place, os.O_RDONLY)
    os.set_inheritable(control, True)  # noqa: FBT003 - its only argument
    try:
        with state.child("child", create=True) as child, child.lock("lock", Deadline(1)):
            ours = {path.stat().st_ino for path in place.rglob("*")}
            inherited = subprocess.run(
                [sys.executable, "-c", program],
                capture_output=True,
                check=True,
                text=True,
                close_fds=False,
                timeout=WAIT_SECONDS,
            ).stdout.split()
    finally:
        os.close(control)

    assert 2 == len(ours)
    assert str(place.stat().st_ino) in inherited, "the control was not found"
    assert ours.isdisjoint(map(int, inherited))
    assert 1 == inherited.count(str(place.stat().st_ino)), "the state directory's own descriptor"


# Reading


@pytest.mark.parametrize("length", [0, 1, 1023, 65536, 65537, 1 << 20])
def test_file_is_read_whole(state, length):
    """A file of any length is read back whole."""
    data = random.Random(length).randbytes(length)
    state.create("file", data)

    assert data == state.read("file", length)
    assert length == state.size("file")


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_secret_buffers_are_written_as_they_are(state, kind):
    """A secret buffer is written without a copy into `bytes`."""
    data = kind(DATA)

    state.create("created", data)
    state.replace("replaced", data)
    state.rewrite("rewritten", data)
    state.append("appended", data, sync=True)

    assert [DATA] * 4 == [state.read(name, len(DATA)) for name in sorted(state.names())]


def test_file_that_is_not_there_is_none(state):
    """A missing file is `None`, not an error."""
    assert (None,) * 4 == (
        state.read("file", 1),
        state.read_start("file", 1),
        state.read_tail("file", 1),
        state.size("file"),
    )


def test_file_that_is_too_long_is_refused(state):
    """A file that is too long is refused before it fills the memory."""
    state.create("file", DATA)

    with pytest.raises(UnsafeStateError, match=f"longer than its limit of {len(DATA) - 1} bytes"):
        state.read("file", len(DATA) - 1)


@pytest.mark.parametrize(("size", "expected"), [(0, b""), (3, b"xyz"), (6, b"uvwxyz"), (9, None)])
def test_tail_is_the_end_of_the_file(state, size, expected):
    """The last line of a long log is read without the rest."""
    state.create("file", b"uvwxyz")

    assert (b"uvwxyz" if expected is None else expected) == state.read_tail("file", size)


@pytest.mark.parametrize(("size", "expected"), [(0, b""), (3, b"uvw"), (6, b"uvwxyz"), (9, None)])
def test_start_is_the_beginning_of_the_file(state, size, expected):
    """The first line of a long log is read without the rest."""
    state.create("file", b"uvwxyz")

    assert (b"uvwxyz" if expected is None else expected) == state.read_start("file", size)


def test_unfinished_files_are_not_listed(state, place):
    """An unfinished file of a killed writer is not listed."""
    state.create("file", DATA)
    (place / (TEMPORARY + "0123")).write_bytes(DATA)

    assert ["file"] == state.names()


# Writing


def test_create_never_overwrites(state, place):
    """Of two writers that make the same file, the second gets an error."""
    state.create("file", b"first")

    with pytest.raises(StateError, match=r"(?i)file cannot be created: .*exist"):
        state.create("file", b"second")

    assert b"first" == state.read("file", 9)
    assert ["file"] == listed(place)


@POSIX
def test_create_never_overwrites_where_the_system_call_is_unknown(state, place, mocker):
    """An old kernel or a network file system behaves the same."""
    mocker.patch("keylease.system.rename._NAME", "no_such_call")
    state.create("file", b"first")

    with pytest.raises(StateError, match="file exists"):
        state.create("file", b"second")

    assert b"first" == state.read("file", 9)
    assert ["file"] == listed(place)


def test_replace_makes_and_replaces(state, place):
    """Replacing makes the file or takes the old one's place."""
    state.replace("file", b"first")
    state.replace("file", b"second")

    assert b"second" == state.read("file", 9)
    assert ["file"] == listed(place)


def test_rewrite_keeps_the_file_and_changes_its_bytes(state, place):
    """Rewriting changes the bytes in place, without a new file."""
    state.rewrite("file", b"first")
    before = (place / "file").stat().st_ino
    state.rewrite("file", b"again")

    assert (b"again", before) == (state.read("file", 9), (place / "file").stat().st_ino)


def test_rewrite_leaves_nothing_of_a_longer_file(state):
    """Rewriting a longer file leaves none of its old end."""
    state.rewrite("file", b"something longer")
    state.rewrite("file", b"short")

    assert b"short" == state.read("file", 99)


@pytest.mark.parametrize("sync", [True, False])
def test_append_adds_at_the_end(state, sync):
    """Appended data is at the end, in order."""
    for line in (b"one\n", b"two\n", b"three\n"):
        state.append("log", line, sync=sync)

    assert b"one\ntwo\nthree\n" == state.read("log", 99)


def test_write_that_goes_on_after_a_pause_is_whole(state, mocker):
    """A record that the system writes in two pieces is complete."""
    state.rewrite("file", b"first")
    write = os.write
    mocker.patch("os.write", side_effect=lambda fd, data: write(fd, memoryview(data)[:3]))

    state.rewrite("file", b"again")
    state.append("file", b"and more", sync=True)

    assert b"againand more" == state.read("file", 99)


@POSIX
def test_file_system_that_cannot_sync_a_directory_will_do(state, mocker):
    """A file system that cannot sync directories is accepted."""
    fsync = os.fsync

    def refuse_directories(fd):
        if stat.S_ISDIR(os.fstat(fd).st_mode):
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        fsync(fd)

    mocker.patch("os.fsync", side_effect=refuse_directories)
    state.create("file", DATA)

    assert DATA == state.read("file", len(DATA))


def test_bytes_are_written_as_they_are(state):
    """No platform changes line ends."""
    data = b"\n\r\n\x1a\0end"

    state.create("created", data)
    state.append("appended", data, sync=True)
    state.rewrite("rewritten", data)

    assert [data] * 3 == [state.read(name, 99) for name in sorted(state.names())]


def test_truncate_cuts(state):
    """A torn line can be cut off the log."""
    state.create("log", b"whole\ntor")

    state.truncate("log", 6)

    assert b"whole\n" == state.read("log", 99)


def test_truncate_never_lengthens(state):
    """A size beyond the end is refused, so zeros never fill the log."""
    state.create("log", b"whole\n")

    with pytest.raises(StateError, match="shorter"):
        state.truncate("log", 7)

    assert b"whole\n" == state.read("log", 99)


def test_truncate_needs_the_file(state):
    """Truncating a missing file is an error."""
    with pytest.raises(StateMissingError):
        state.truncate("log", 0)

    assert [] == state.names()


def test_remove_says_whether_it_was_there(state):
    """Removing a missing file is no error, and the caller can tell."""
    state.create("file", DATA)

    assert [True, False] == [state.remove("file"), state.remove("file")]
    assert [] == state.names()


def test_move_takes_a_file_into_another_directory(state):
    """A moved file keeps its bytes, replaces the target and leaves its old name."""
    with state.child("child", create=True) as child:
        child.create("new", b"old")
        state.create("file", b"data")

        assert state.move("file", child, "new")
        assert not state.move("file", child, "new")

        assert b"data" == child.read("new", 9)
        assert ["child"] == state.names()


def test_grip_tells_whether_the_file_is_still_there(state, place):
    """A reader learns right before use that its file was removed, replaced or moved."""
    with state.child("child", create=True) as child:
        for end in (
            lambda: state.remove("file"),
            lambda: state.replace("file", b"another"),
            lambda: state.move("file", child, "file"),
        ):
            state.create("file", b"data")
            assert state.grip("none") is None
            grip = Directory.open(str(place)).grip("file")
            assert grip.take()
            end()
            assert not grip.take()
            grip.close()
            assert not grip.take()
            grip.close()
            state.remove("file")


@POSIX
def test_withdrawn_file_is_waited_for_until_its_reader_is_done(state, place):
    """A removed file's name is gone at once, and its reader is reported until it lets go."""
    state.create("file", b"data")
    grips = [Directory.open(str(place)).grip("file") for _ in range(2)]
    assert all(grip.take() for grip in grips)

    reader = state.withdraw("file")

    assert [] == state.names()
    for grip in grips:
        assert not reader.is_done()
        grip.close()
    assert reader.is_done()


def test_withdrawn_file_without_readers_is_waited_for_by_nobody(state, place):
    """A remover does not wait if no reader has a grip on the file."""
    state.create("file", b"data")
    grip = Directory.open(str(place)).grip("file")

    assert state.withdraw("file") is None
    assert not grip.take(), "a grip taken after the removal fails"
    assert state.withdraw("file") is None
    grip.close()
    if sys.platform != "win32":
        (place / "file").symlink_to(place)
        assert state.withdraw("file") is None
        assert [] == state.names()


def test_only_an_empty_child_is_removed(state):
    """Removing a child directory that is not empty does nothing."""
    assert not state.remove_child("child")
    with state.child("child", create=True) as child:
        child.create("file", DATA)
        assert not state.remove_child("child")
        child.remove("file")
    assert state.remove_child("child")
    assert [] == state.names()


@POSIX
def test_directory_that_was_removed_meanwhile_is_missing(state):
    """A writer in a removed directory gets its own error, so it can make the directory again."""
    with state.child("child", create=True) as child:
        state.remove_child("child")
        for write in (
            lambda: child.create("file", DATA),
            lambda: child.replace("file", DATA),
            lambda: child.rewrite("file", DATA),
            lambda: child.append("file", DATA, sync=True),
            lambda: child.lock("lock", Deadline(1)).__enter__(),
        ):
            with pytest.raises(StateMissingError, match="child/"):
                write()
        assert child.read("file", 9) is None


def test_sweep_removes_old_orphans_only(state, place):
    """Sweeping removes old unfinished files, but not those of a writer at work."""
    state.create("file", DATA)
    now = time.time()
    for name, age in {"old": 61, "new": 0, "future": -3600}.items():
        orphan = place / (TEMPORARY + name)
        orphan.write_bytes(DATA)
        os.utime(orphan, (now - age, now - age))

    assert 2 == state.sweep(60)
    assert [TEMPORARY + "new", "file"] == listed(place)


# Errors


def test_file_is_no_child(state):
    """A file is never removed as a directory."""
    state.create("child", DATA)

    with pytest.raises(StateError, match="child cannot be removed"):
        state.remove_child("child")

    assert ["child"] == state.names()


@POSIX
@pytest.mark.parametrize(
    ("called", "outcome", "operation"),
    [
        ("posix.Files.is_still", {"return_value": False}, lambda state: state.read("file", 9)),
        (
            "steps.open_new",
            {"side_effect": FileExistsError},
            lambda state: state.append("new", b"", sync=False),
        ),
    ],
)
def test_file_that_never_stands_still_is_given_up(state, mocker, called, outcome, operation):
    """A file that is replaced endlessly gives an error instead of an endless loop."""
    state.create("file", b"data")
    mocker.patch(f"keylease.statefile.{called}", **outcome)
    before = listed(DESCRIPTORS) if DESCRIPTORS.is_dir() else None

    with pytest.raises(StateError, match="temporarily unavailable"):
        operation(state)

    assert before == (listed(DESCRIPTORS) if DESCRIPTORS.is_dir() else None)


def test_error_is_ours_and_names_the_file_below_the_state_directory(state, place):
    """The error is one line with the file's name below the state directory, not the full path."""
    with state.child("sessions", create=True) as child:
        (place / "sessions" / "file").mkdir()
        with pytest.raises(StateError) as caught:
            child.remove("file")

    message = str(caught.value)
    assert message.startswith("state file sessions/file cannot be removed: ")
    assert str(place) not in message
    assert "\n" not in message


@POSIX
def test_error_never_carries_control_characters(state, place):
    """A file name with escape sequences is printed escaped."""
    name = "evil\x1b[2Jname\nnext\udcff"
    (place / os.fsencode(name).decode(errors="surrogateescape")).mkdir()

    with pytest.raises(UnsafeStateError) as caught:
        state.read(name, 1)

    assert (str(caught.value) + caught.value.hint).isprintable()
    assert "evil\\x1b[2Jname\\nnext\\udcff" in str(caught.value)


# Locks


def test_lock_is_free_again_after_the_block(state):
    """The lock is free after the block, also after an error."""
    for _ in range(3):
        with pytest.raises(KeyError), state.lock("lock", Deadline(1)):
            raise KeyError

    with state.lock("lock", Deadline(0)):
        assert ["lock"] == state.names()


def test_lock_excludes_another_thread(state):
    """The lock excludes another thread of the same process."""
    with (
        state.lock("lock", Deadline(1)),
        pytest.raises(LockTimeoutError, match="lock is held"),
        state.lock("lock", Deadline(0)),
    ):
        pytest.fail("both have the lock")


def test_errors_in_the_locked_block_stay_what_they_are(state, place):
    """An error in the locked block is not reported as a failing lock."""
    with pytest.raises(FileNotFoundError), state.lock("lock", Deadline(1)):
        (place / "nothing").stat()


def test_lock_waits_for_its_turn(state, mocker):
    """A waiting request goes on as soon as the lock is free."""
    order = []
    inside = threading.Event()
    refused = threading.Event()
    try_lock = state._files.try_lock

    def notice(fd):
        locked = try_lock(fd)
        if not locked:
            refused.set()
        return locked

    def hold():
        with state.lock("lock", Deadline(5)):
            inside.set()
            assert refused.wait(5)
            order.append("first")

    mocker.patch.object(state._files, "try_lock", side_effect=notice)
    thread = threading.Thread(target=hold)
    thread.start()
    assert inside.wait(5)
    with state.lock("lock", Deadline(5)):
        order.append("second")
    thread.join(WAIT_SECONDS)

    assert ["first", "second"] == order


def test_who_had_to_queue_lets_others_go_first(state, mocker):
    """A process that takes the lock in a loop lets waiting processes go first."""
    answers = iter([False, True])
    mocker.patch.object(state._files, "try_lock", side_effect=lambda _fd: next(answers, True))
    mocker.patch.object(state._files, "unlock")
    sleep = mocker.patch("keylease.statefile.lock.time.sleep")

    pauses = []
    for _ in range(3):
        with state.lock("lock", Deadline(1)):
            pauses.append(sleep.call_count)

    assert [1, 2, 2] == pauses


@POSIX
def test_lock_whose_file_was_removed_is_taken_anew(state, place, mocker):
    """A lock file that is removed during a wait does not let two processes in."""
    try_lock = state._files.try_lock
    removals = iter([(place / "lock").unlink, lambda: None])

    def remove_first(fd):
        next(removals)()
        return try_lock(fd)

    mocker.patch.object(state._files, "try_lock", side_effect=remove_first)

    with state.lock("lock", Deadline(1)), (place / "lock").open("rb") as file:
        mocker.stopall()
        assert not state._files.try_lock(file.fileno()), "the lock is on a file without a name"


def test_modules_are_light():
    """Importing the state files adds almost nothing to the helper's start."""
    program = (
        "import sys; import keylease.statefile, keylease.system.paths;"
        "print(*sorted({'json', 'logging', 'pathlib', 'random', 'ctypes', 'shutil', 'tempfile',"
        " 'platformdirs', 'dataclasses', 'subprocess'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-S", "-c", program],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
        capture_output=True,
        check=True,
        text=True,
        timeout=WAIT_SECONDS,
    )

    expected = ["ctypes"] if sys.platform == "win32" else []
    assert expected == done.stdout.split()
