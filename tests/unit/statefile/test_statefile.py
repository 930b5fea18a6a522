"""Private files as their users see them; the attacks on them are in tests/security."""

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
    """Return a path where the state directory can be."""
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
    """The first run needs no set-up."""
    path = tmp_path / "home" / ".local" / "state" / "keylease"

    with Directory.open(str(path), create=True) as state:
        state.create("vault.json", DATA)

    assert DATA == (path / "vault.json").read_bytes()


@POSIX
@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077, 0o777])
def test_everything_is_private_whatever_the_umask(tmp_path, umask):
    """Nobody else can read what is made, and its owner can, however the login is set up."""
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
    """A machine where keylease was never used is told apart from a broken one."""
    with pytest.raises(StateMissingError, match="cannot be opened: "):
        Directory.open(str(place))

    assert not place.exists()


def test_nothing_above_the_state_directory_is_made_unasked(tmp_path):
    """Looking for a session on a new machine leaves no trace."""
    with pytest.raises(StateMissingError):
        Directory.open(str(tmp_path / "home" / "state" / "keylease"))

    assert [] == listed(tmp_path)


@POSIX
@pytest.mark.usefixtures("usual_umask")
def test_directory_above_that_another_program_makes_meanwhile_is_used(tmp_path, mocker):
    """The first login on a new machine does not fail because another program starts too."""
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
    """Looking for the sessions of a host makes no trace of that host."""
    with pytest.raises(StateMissingError, match="sessions"):
        state.child("sessions")

    assert [] == list(place.iterdir())


def test_child_is_made_once_and_opened_again(state):
    """The second session of a host finds the directory of the first."""
    with state.child("sessions", create=True) as child:
        child.create("one", DATA)

    with state.child("sessions", create=True) as child, state.child("sessions") as again:
        assert [["one"], ["one"]] == [child.names(), again.names()]


@pytest.mark.parametrize("path", ["", "keylease", "./keylease", "../keylease"])
def test_state_directory_needs_an_absolute_path(path):
    """State never depends on the directory that git happens to run in."""
    with pytest.raises(ValueError, match="absolute"):
        Directory.open(path, create=True)


def test_root_is_no_state_directory(place):
    """A slip in an environment variable does not spread files over the root."""
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
    """No name, wherever it came from, leads out of the directory."""
    with pytest.raises(ValueError, match="name"):
        operation(state, name)

    assert [] == list(place.iterdir())


@pytest.mark.skipif(sys.platform != "win32", reason="names of devices are Windows' own trap")
@pytest.mark.parametrize("name", ["NUL", "con", "COM1.json", "a:b", "a\\b", "a.", "a ", "a\x1fb"])
def test_name_is_no_device_of_windows(state, name):
    """A file that would be a console or a stream of another file is refused."""
    with pytest.raises(ValueError, match="name"):
        state.create(name, DATA)


@pytest.mark.skipif(not DESCRIPTORS.is_dir(), reason="needs /proc to count descriptors")
def test_no_descriptor_is_left_open(state):
    """A program that uses the library for days does not run out of files."""

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
    """What git starts next does not get the state along with it."""
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
    """What was stored comes back, however long it is."""
    data = random.Random(length).randbytes(length)
    state.create("file", data)

    assert data == state.read("file", length)
    assert length == state.size("file")


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_secret_buffers_are_written_as_they_are(state, kind):
    """A sealed buffer need not be copied into bytes to be stored."""
    data = kind(DATA)

    state.create("created", data)
    state.replace("replaced", data)
    state.rewrite("rewritten", data)
    state.append("appended", data, sync=True)

    assert [DATA] * 4 == [state.read(name, len(DATA)) for name in sorted(state.names())]


def test_file_that_is_not_there_is_none(state):
    """Absence is an answer, not an error."""
    assert (None,) * 4 == (
        state.read("file", 1),
        state.read_start("file", 1),
        state.read_tail("file", 1),
        state.size("file"),
    )


def test_file_that_is_too_long_is_refused(state):
    """A file that somebody blew up cannot fill the memory."""
    state.create("file", DATA)

    with pytest.raises(UnsafeStateError, match=f"longer than its limit of {len(DATA) - 1} bytes"):
        state.read("file", len(DATA) - 1)


@pytest.mark.parametrize(("size", "expected"), [(0, b""), (3, b"xyz"), (6, b"uvwxyz"), (9, None)])
def test_tail_is_the_end_of_the_file(state, size, expected):
    """The last line of a long log is found without reading the log."""
    state.create("file", b"uvwxyz")

    assert (b"uvwxyz" if expected is None else expected) == state.read_tail("file", size)


@pytest.mark.parametrize(("size", "expected"), [(0, b""), (3, b"uvw"), (6, b"uvwxyz"), (9, None)])
def test_start_is_the_beginning_of_the_file(state, size, expected):
    """The first line of a long log is found without reading the log."""
    state.create("file", b"uvwxyz")

    assert (b"uvwxyz" if expected is None else expected) == state.read_start("file", size)


def test_unfinished_files_are_not_listed(state, place):
    """What a killed writer left is never taken for a session."""
    state.create("file", DATA)
    (place / (TEMPORARY + "0123")).write_bytes(DATA)

    assert ["file"] == state.names()


# Writing


def test_create_never_overwrites(state, place):
    """Of two that make the same file, one learns that it came second."""
    state.create("file", b"first")

    with pytest.raises(StateError, match=r"(?i)file cannot be created: .*exist"):
        state.create("file", b"second")

    assert b"first" == state.read("file", 9)
    assert ["file"] == listed(place)


@POSIX
def test_create_never_overwrites_where_the_system_call_is_unknown(state, place, mocker):
    """An old kernel or a network file system gets the same answer."""
    mocker.patch("keylease.system.rename._NAME", "no_such_call")
    state.create("file", b"first")

    with pytest.raises(StateError, match="file exists"):
        state.create("file", b"second")

    assert b"first" == state.read("file", 9)
    assert ["file"] == listed(place)


def test_replace_makes_and_replaces(state, place):
    """The vault's record can be renewed, and the old one is gone."""
    state.replace("file", b"first")
    state.replace("file", b"second")

    assert b"second" == state.read("file", 9)
    assert ["file"] == listed(place)


def test_rewrite_keeps_the_file_and_changes_its_bytes(state, place):
    """The record of the last use costs one write, not a new file."""
    state.rewrite("file", b"first")
    before = (place / "file").stat().st_ino
    state.rewrite("file", b"again")

    assert (b"again", before) == (state.read("file", 9), (place / "file").stat().st_ino)


def test_rewrite_leaves_nothing_of_a_longer_file(state):
    """A record of another size cannot leave its end behind."""
    state.rewrite("file", b"something longer")
    state.rewrite("file", b"short")

    assert b"short" == state.read("file", 99)


@pytest.mark.parametrize("sync", [True, False])
def test_append_adds_at_the_end(state, sync):
    """The log keeps every line, in order."""
    for line in (b"one\n", b"two\n", b"three\n"):
        state.append("log", line, sync=sync)

    assert b"one\ntwo\nthree\n" == state.read("log", 99)


def test_write_that_goes_on_after_a_pause_is_whole(state, mocker):
    """A system that takes a record in two pieces gets both."""
    state.rewrite("file", b"first")
    write = os.write
    mocker.patch("os.write", side_effect=lambda fd, data: write(fd, memoryview(data)[:3]))

    state.rewrite("file", b"again")
    state.append("file", b"and more", sync=True)

    assert b"againand more" == state.read("file", 99)


@POSIX
def test_file_system_that_cannot_sync_a_directory_will_do(state, mocker):
    """A network file system without that call is no broken disk."""
    fsync = os.fsync

    def refuse_directories(fd):
        if stat.S_ISDIR(os.fstat(fd).st_mode):
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        fsync(fd)

    mocker.patch("os.fsync", side_effect=refuse_directories)
    state.create("file", DATA)

    assert DATA == state.read("file", len(DATA))


def test_bytes_are_written_as_they_are(state):
    """No platform turns a line feed into something else."""
    data = b"\n\r\n\x1a\0end"

    state.create("created", data)
    state.append("appended", data, sync=True)
    state.rewrite("rewritten", data)

    assert [data] * 3 == [state.read(name, 99) for name in sorted(state.names())]


def test_truncate_cuts(state):
    """A torn line can be taken off the end of the log."""
    state.create("log", b"whole\ntor")

    state.truncate("log", 6)

    assert b"whole\n" == state.read("log", 99)


def test_truncate_never_lengthens(state):
    """A wrong size does not fill the log with zeros."""
    state.create("log", b"whole\n")

    with pytest.raises(StateError, match="shorter"):
        state.truncate("log", 7)

    assert b"whole\n" == state.read("log", 99)


def test_truncate_needs_the_file(state):
    """There is nothing to cut where there is no log."""
    with pytest.raises(StateMissingError):
        state.truncate("log", 0)

    assert [] == state.names()


def test_remove_says_whether_it_was_there(state):
    """Ending a session twice is no error."""
    state.create("file", DATA)

    assert [True, False] == [state.remove("file"), state.remove("file")]
    assert [] == state.names()


def test_move_takes_a_file_into_another_directory(state):
    """Its bytes come along, what was there is replaced, and nothing stays behind."""
    with state.child("child", create=True) as child:
        child.create("new", b"old")
        state.create("file", b"data")

        assert state.move("file", child, "new")
        assert not state.move("file", child, "new")

        assert b"data" == child.read("new", 9)
        assert ["child"] == state.names()


def test_grip_tells_whether_the_file_is_still_there(state, place):
    """A reader learns in the last moment that the file was removed, exchanged or moved."""
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
    """The name is gone at once, and the reader is told of until it lets go."""
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
    """Nothing is there to wait for: no reader, no grip taken, no file, none that is ours."""
    state.create("file", b"data")
    grip = Directory.open(str(place)).grip("file")

    assert state.withdraw("file") is None
    assert not grip.take(), "and who comes late gets nothing"
    assert state.withdraw("file") is None
    grip.close()
    if sys.platform != "win32":
        (place / "file").symlink_to(place)
        assert state.withdraw("file") is None
        assert [] == state.names()


def test_only_an_empty_child_is_removed(state):
    """Tidying up after one session never takes another with it."""
    assert not state.remove_child("child")
    with state.child("child", create=True) as child:
        child.create("file", DATA)
        assert not state.remove_child("child")
        child.remove("file")
    assert state.remove_child("child")
    assert [] == state.names()


@POSIX
def test_directory_that_was_removed_meanwhile_is_missing(state):
    """A writer that lost the race against tidying up can tell, and make the directory again."""
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
    """What crashes leave does not pile up, and a writer at work is left alone."""
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
    """Tidying up never removes a file in the belief that it is a directory."""
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
    """A file that is exchanged all the time cannot keep a request busy for ever."""
    state.create("file", b"data")
    mocker.patch(f"keylease.statefile.{called}", **outcome)
    before = listed(DESCRIPTORS) if DESCRIPTORS.is_dir() else None

    with pytest.raises(StateError, match="temporarily unavailable"):
        operation(state)

    assert before == (listed(DESCRIPTORS) if DESCRIPTORS.is_dir() else None)


def test_error_is_ours_and_names_the_file_below_the_state_directory(state, place):
    """The message fits on a line and says which file, not where somebody's home is."""
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
    """A file name with an escape sequence does nothing to the terminal of who reads about it."""
    name = "evil\x1b[2Jname\nnext\udcff"
    (place / os.fsencode(name).decode(errors="surrogateescape")).mkdir()

    with pytest.raises(UnsafeStateError) as caught:
        state.read(name, 1)

    assert (str(caught.value) + caught.value.hint).isprintable()
    assert "evil\\x1b[2Jname\\nnext\\udcff" in str(caught.value)


# Locks


def test_lock_is_free_again_after_the_block(state):
    """One request after the other gets the lock, also if one fails."""
    for _ in range(3):
        with pytest.raises(KeyError), state.lock("lock", Deadline(1)):
            raise KeyError

    with state.lock("lock", Deadline(0)):
        assert ["lock"] == state.names()


def test_lock_excludes_another_thread(state):
    """Two sessions of one program do not write at once."""
    with (
        state.lock("lock", Deadline(1)),
        pytest.raises(LockTimeoutError, match="lock is held"),
        state.lock("lock", Deadline(0)),
    ):
        pytest.fail("both have the lock")


def test_errors_in_the_locked_block_stay_what_they_are(state, place):
    """What fails under a lock is not reported as a failing lock."""
    with pytest.raises(FileNotFoundError), state.lock("lock", Deadline(1)):
        (place / "nothing").stat()


def test_lock_waits_for_its_turn(state, mocker):
    """A request that finds the lock taken goes on as soon as it is free."""
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
    """A process that needs the lock again at once does not take it from under those who wait."""
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
    """Somebody who deletes the state while a process waits does not let two in at once."""
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
    """The helper starts twice for each git command, and state files add next to nothing."""
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
