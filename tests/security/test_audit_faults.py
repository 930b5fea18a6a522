"""Faults of the audit log: no release without its line, and no session kept alive for lack of one.

The disk is full or broken, the directory is not writable, writers are killed, clocks jump, names
are hostile. A release is refused before the secret is decrypted. A session still ends. The log
reports later what it could not record, and its chain holds.
"""

import base64
import calendar
import contextlib
import errno
import hashlib
import itertools
import json
import os
import random
import re
import shutil
import signal
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
from support import audit_chain
from support.audit_place import CALLER, Place
from support.audit_place import KEY as KEY_OF_PLACE
from support.fuzz import EXAMPLES
from support.groups import run_group
from support.requirements import require
from support.rig import EXAMPLE, PASSWORD, Rig, bring, credential, text
from support.share import part_of
from support.tracing import require_strace
from support.waiting import WAIT_SECONDS

from keylease.audit import log as log_of_audit
from keylease.audit.events import Entry
from keylease.audit.log import AuditLog
from keylease.audit.read.verify import verify
from keylease.errors import AuditError, KeyleaseError
from keylease.model import Target
from keylease.secrets.secret import Secret
from keylease.statefile.directory import Directory, Files
from keylease.store import opened as sealed_sessions
from keylease.system.clock import BootClock, Deadline

TESTS = Path(__file__).parents[1]
KEY = b"audit key for the writers' test."
OTHER = EXAMPLE._replace(host="other.example")
WRITERS = 8
DAY = 86_400
POSIX = pytest.mark.skipif(sys.platform == "win32", reason="modes and signals are those of POSIX")
FORK = pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform has no fork")
LINUX = pytest.mark.skipif(
    sys.platform != "linux", reason="strace and mount namespaces are Linux's"
)


@pytest.fixture
def rig(tmp_path):
    """Return a service with two sessions and a log of their creation."""
    rig = Rig(tmp_path / "keylease")
    for target in (EXAMPLE, OTHER):
        rig.session.store(bring(target))
        rig.clock.advance(1)
    return rig


@pytest.fixture
def opened(monkeypatch):
    """Return a list that grows by one with each credential that is decrypted."""
    seen = []
    original = sealed_sessions.open_credential
    monkeypatch.setattr(
        sealed_sessions, "open_credential", lambda *args: seen.append(args) or original(*args)
    )
    return seen


def audit_key(rig):
    """Return the bytes of the audit key."""
    (key,) = rig.keystore.read([rig.vault.record().audit_item])
    return text(key)


def contents(rig):
    """Return the content of the log's files."""
    return {path.name: path.read_bytes() for path in (rig.path / "audit").glob("*.jsonl")}


# Faults


def is_log(fd):
    """Return whether a descriptor is one of the log's files."""
    found = os.fstat(fd)
    return any(os.path.samestat(found, path.stat()) for path in is_log.place.glob("audit/*.jsonl"))


@contextlib.contextmanager
def failing(name, number, *, half=False):
    """Make a system call fail on the log's files, after half of its work if `half`."""
    original, calls = getattr(os, name), []

    def fail(fd, *rest):
        if not is_log(fd):
            return original(fd, *rest)
        calls.append(fd)
        if half and len(calls) % 2:
            return original(fd, rest[0][: len(rest[0]) // 2])
        raise OSError(number, os.strerror(number))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, name, fail)
        yield


@contextlib.contextmanager
def unopenable(number):
    """Make the system refuse to open the log's files, as it does without permission."""
    original = Files.open_file

    def refuse(self, name, flags):
        if self.label == "audit":
            raise OSError(number, os.strerror(number))
        return original(self, name, flags)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Files, "open_file", refuse)
        yield


@contextlib.contextmanager
def of_mode(path, mode):
    """Give a directory or file another mode temporarily."""
    before = path.stat().st_mode
    path.chmod(mode)
    try:
        yield
    finally:
        path.chmod(before)


@contextlib.contextmanager
def moved_away(path, put):
    """Put something else in a directory's place temporarily."""
    away = path.with_name("away")
    path.rename(away)
    put(path, away)
    try:
        yield
    finally:
        path.unlink()
        away.rename(path)


@contextlib.contextmanager
def locked(path):
    """Hold the log's lock, as a process does that was stopped halfway."""
    with (
        Directory.open(str(path), create=True) as state,
        state.child("audit") as directory,
        directory.lock("lock", Deadline(1)),
    ):
        yield


@contextlib.contextmanager
def written_into(path):
    """Append to the log from outside keylease."""
    before = path.read_bytes()
    path.write_bytes(before + b"I was here\n")
    try:
        yield
    finally:
        path.write_bytes(before)


def log_file(rig):
    """Return the path of the newest day's file."""
    return max((rig.path / "audit").glob("*.jsonl"))


FAULTS = {
    "write ENOSPC": lambda _: failing("write", errno.ENOSPC),
    "write EIO": lambda _: failing("write", errno.EIO),
    "write EDQUOT": lambda _: failing("write", errno.EDQUOT),
    "write stops half-way": lambda _: failing("write", errno.ENOSPC, half=True),
    "open EACCES": lambda _: unopenable(errno.EACCES),
    "open EROFS": lambda _: unopenable(errno.EROFS),
    "open EMFILE": lambda _: unopenable(errno.EMFILE),
    "directory of another mode": lambda rig: of_mode(rig.path / "audit", 0o755),
    "file of another mode": lambda rig: of_mode(log_file(rig), 0o644),
    "directory is a file": lambda rig: moved_away(rig.path / "audit", lambda path, _: path.touch()),
    "directory is a link": lambda rig: moved_away(
        rig.path / "audit", lambda path, away: path.symlink_to(away)
    ),
    "last line is not ours": lambda rig: written_into(log_file(rig)),
}


@POSIX
@pytest.mark.parametrize("fault", FAULTS)
def test_without_its_line_nothing_is_released_and_everything_can_be_ended(rig, opened, fault):
    """An unwritable log refuses releases, allows ends, and reports later what it missed."""
    is_log.place = rig.path
    before, sealed = contents(rig), rig.sealed()
    touches = [path.read_bytes() for path in rig.touches()]

    with FAULTS[fault](rig):
        for release in (
            lambda: rig.again().session.get(EXAMPLE),
            lambda: rig.again().session.extend(EXAMPLE),
            lambda: rig.again().session.store(bring(EXAMPLE._replace(host="new.example"))),
            lambda: rig.again().session.create(EXAMPLE, credential(b"new")),
        ):
            with pytest.raises(AuditError) as caught:
                release()
            assert caught.value.hint
            assert PASSWORD.decode() not in str(caught.value)
        assert [] == opened, "no credential was decrypted"
        assert sealed == rig.sealed(), "nothing was created"
        assert touches == [path.read_bytes() for path in rig.touches()], "nothing was prolonged"

        (ended,) = rig.again().session.terminate(EXAMPLE)
        assert "example.com" == ended.target.host
        assert 1 == len(rig.sealed())
        rig.again().session.erase(OTHER, None, Secret(PASSWORD))
        assert [] == rig.sealed()
        assert [] == opened
    assert before == contents(rig), "no line, and no part of one, was left"

    rig.again().session.store(bring())
    assert PASSWORD == text(rig.again().session.get(EXAMPLE).credential.secret)
    assert 1 == len(opened), "the control: the spy sees a release"
    told = [(line["event"], line.get("lost")) for line in audit_chain.records(rig.path)]
    # Four refusals and two ends, in one line, before any other line.
    expected = [("audit.gap", 6), ("session.created", None), ("session.released", None)]
    assert expected == told[-3:]
    assert 1 == [event for event, _ in told].count("audit.gap")
    assert len(told) == audit_chain.verify(rig.path, audit_key(rig))


@POSIX
@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC])
def test_a_line_that_does_not_reach_the_disk_is_no_line(rig, opened, number):
    """A failed sync refuses the release and removes its line."""
    is_log.place = rig.path
    name = "fsync" if sys.platform == "darwin" else "fdatasync"
    with failing(name, number):
        with pytest.raises(AuditError):
            rig.again().session.get(EXAMPLE)
        assert [] == opened
        rig.again().session.terminate(EXAMPLE)

    events = [(line["event"], line["reason"]) for line in audit_chain.records(rig.path)]
    # Lines that need no sync are still written.
    assert [("session.refused", "audit"), ("session.ended", "logout")] == events[-2:]
    assert "session.released" not in dict(events)
    assert len(events) == audit_chain.verify(rig.path, audit_key(rig))


def test_a_lock_that_is_held_refuses_a_release_and_no_end(rig, opened):
    """A stopped process that holds the log's lock keeps no session alive."""
    short = rig.again()
    short.seconds = 1
    with locked(rig.path):
        with pytest.raises(AuditError, match="held by another process"):
            short.session.get(EXAMPLE)
        assert [] == opened
        short.session.terminate(EXAMPLE)
    rig.again().session.get(OTHER)

    told = [line["lost"] for line in audit_chain.records(rig.path) if "lost" in line]
    assert [2] == told


def test_without_the_audit_key_nothing_is_released(rig, opened):
    """Without the audit key no secret is released, and sessions can be ended."""
    key = audit_key(rig)
    rig.keystore.delete(rig.vault.record().audit_item)
    with pytest.raises(AuditError, match="audit key"):
        rig.again().session.get(EXAMPLE)
    assert [] == opened
    rig.again().session.terminate(EXAMPLE)

    assert 1 == len(rig.sealed())
    assert [None, None] == [line["mac"] for line in audit_chain.records(rig.path)[-2:]]
    audit_chain.verify(rig.path, key)


@POSIX
def test_when_even_the_count_is_lost_sessions_can_still_be_ended(rig):
    """With the whole state directory read-only for the log, a session can still be ended."""
    is_log.place = rig.path
    with failing("write", errno.EIO), of_mode(rig.path / "audit.gap", 0o644):
        rig.again().session.terminate(EXAMPLE)

    assert 1 == len(rig.sealed())


@FORK
@POSIX
def test_lines_that_many_processes_lose_at_once_are_all_counted(rig):
    """The gap counts the lost lines of all processes that met the fault together."""
    each = 20
    with of_mode(rig.path / "audit", 0o755):
        children = []
        for _ in range(WRITERS):
            child = os.fork()
            if not child:
                lose(rig, each)
            children.append(child)
        assert [0] * WRITERS == [os.waitpid(child, 0)[1] for child in children]
    rig.again().session.get(EXAMPLE)

    assert [WRITERS * each] == [
        line["lost"] for line in audit_chain.records(rig.path) if "lost" in line
    ]


def lose(rig, count):
    """Act as a process that tries to write lines, and end."""
    code = 1
    try:
        # An ending waits briefly for the lock of the count. Eight writers on a busy machine can
        # hold it for longer. This test does not measure how long an ending waits.
        log_of_audit._GAP_SECONDS = WAIT_SECONDS
        for _ in range(count):
            rig.again().audit.log_or_gap(Entry("logout"), rig.clock.now())
        code = 0
    finally:
        os._exit(code)


# Real faults, from outside this process

SCRIPT = """
import json, sys
from pathlib import Path
from support.rig import EXAMPLE, PASSWORD, Rig, bring, credential, text
from keylease.store import opened as sealed_sessions
from keylease.errors import AuditError

opened = []
original = sealed_sessions.open_credential
sealed_sessions.open_credential = lambda *args: opened.append(1) or original(*args)

def get(rig):
    try:
        return text(rig.again().session.get(EXAMPLE).credential.secret) == PASSWORD
    except AuditError as error:
        return str(error)

rig = Rig(Path(sys.argv[1]))
rig.session.store(bring())
told = {}
"""

FULL_DISK = SCRIPT + """
told["before"] = get(rig)
filler = open(rig.path / "filler", "wb", buffering=0)
try:
    while True:
        filler.write(bytes(512))
except OSError as error:
    told["filler"] = error.strerror
for _ in range(100):  # what is left of the last page is room for a few lines
    opened.clear()
    told["full"] = get(rig)
    if told["full"] is not True:
        break
told["opened"] = len(opened)
told["ended"] = len(rig.again().session.terminate(EXAMPLE))
told["sealed"] = len(rig.sealed())
filler.close()
(rig.path / "filler").unlink()
rig.again().session.create(EXAMPLE, credential())
told["after"] = get(rig)
told["lost"] = [line["lost"] for line in rig.lines() if "lost" in line]
print(json.dumps(told))
"""

BROKEN_DISK = SCRIPT + """
told["get"] = get(rig)
told["opened"] = len(opened)
told["ended"] = len(rig.again().session.terminate(EXAMPLE))
told["sealed"] = len(rig.sealed())
told["events"] = rig.events()
print(json.dumps(told))
"""


def run_script(command, script, state, **more):
    """Run a script that can import the tests' support, and return its output."""
    path = os.pathsep.join([str(TESTS), *filter(None, [os.environ.get("PYTHONPATH")])])
    return run_group(
        [*command, sys.executable, "-c", script, str(state)],
        timeout_seconds=120,
        env={**os.environ, "PYTHONPATH": path, **more},
        text=True,
    )


@LINUX
def test_a_disk_that_is_really_full(tmp_path):
    """On a full file system no secret is released, and the session can be ended."""
    require(os.geteuid() == 0, "root", "mounting a small file system")
    require(shutil.which("unshare"), "unshare", "it is not on PATH")
    place = tmp_path / "keylease"
    place.mkdir(mode=0o700)
    # The mount is in its own namespace and disappears with the process.
    mount = 'mount -t tmpfs -o size=128k,mode=700 keylease-test "$KEYLEASE_TEST_STATE"'
    state = {"KEYLEASE_TEST_STATE": str(place)}
    tried = run_script(["unshare", "-m", "sh", "-c", mount, "-"], "", place, **state)
    require(tried.returncode == 0, "mount", "this container may not mount a tmpfs")

    command = ["unshare", "-m", "sh", "-c", f'{mount} && exec "$@"', "-"]
    done = run_script(command, FULL_DISK, place, **state)

    assert 0 == done.returncode, done.stderr
    told = json.loads(done.stdout)
    assert True is told["before"] is told["after"], "the controls: it works with room"
    assert "No space left on device" == told["filler"]
    assert "no space left on device" in told["full"]
    assert (0, 1, 0) == (told["opened"], told["ended"], told["sealed"])
    # The refusal and the end, unless there was room for the shorter of the two lines.
    assert sum(told["lost"]) in {1, 2}


@LINUX
@pytest.mark.parametrize("call", ["fdatasync", "write"])
def test_a_disk_that_is_really_broken(tmp_path, call):
    """A fault that the kernel itself reports refuses the release, and the session can be ended."""
    require_strace()
    log = tmp_path / "keylease" / "audit" / "2026-09-21.jsonl"
    # vault.created and session.created are written and synced; the third line meets the fault.
    inject = [f"--inject={call}:error=EIO:when=3+", f"--trace={call}", "-P", str(log)]
    command = ["strace", "-f", "-o", str(tmp_path / "trace"), *inject]

    done = run_script(command, BROKEN_DISK, tmp_path / "keylease")

    assert 0 == done.returncode, done.stderr
    assert "EIO" in (tmp_path / "trace").read_text(), "the control: the fault was met"
    told = json.loads(done.stdout)
    assert "input/output error" in told["get"]
    assert (0, 1, 0) == (told["opened"], told["ended"], told["sealed"])
    assert ["session.released", None] not in told["events"]


# Torn lines and killed writers


def test_a_line_torn_at_any_offset_is_set_aside_once_and_the_chain_goes_on(rig, monkeypatch):
    """A last line cut at any byte is set aside and reported once, and the log continues."""
    monkeypatch.setattr(Files, "sync_data", lambda *_: None)  # only the speed changes
    monkeypatch.setattr(Files, "sync", lambda *_: None)
    key = audit_key(rig)
    path = log_file(rig)
    *whole, last = path.read_bytes().splitlines(keepends=True)
    log = rig.again().audit
    log.key = Secret(key)
    for cut in range(len(last)):
        path.write_bytes(b"".join([*whole, last[:cut]]))
        # The head has the whole line, which is now missing. Without the head the log says that it
        # is gone.
        (path.parent / "head").unlink()
        for _ in range(2):
            log.log(Entry("login"), rig.clock.now())

        events = [line["event"] for line in audit_chain.records(rig.path)[len(whole) :]]
        expected = ["audit.recovered"] if cut else []
        assert [*expected, "audit.unvouched", "login", "login"] == events, cut
        assert len(whole) + len(events) == audit_chain.verify(rig.path, key)
        aside = list(path.parent.glob("*.torn-*"))
        assert ([last[:cut]] if cut else []) == [each.read_bytes() for each in aside]
        for each in aside:
            each.unlink()


def write_until_killed(state, number):
    """Act as a process that writes lines of all sizes until it is killed."""
    code = 1
    try:
        chance = random.Random(number)
        clock = BootClock()
        if number % 2:
            write = os.write

            def write_some(fd, data):
                # write(2) may write less than requested: make this process die halfway, too.
                done = write(fd, data[:512])
                if chance.random() < 0.01:
                    os.kill(os.getpid(), signal.SIGKILL)
                return done

            os.write = write_some
        while True:
            log = AuditLog(lambda: Directory.open(str(state), create=True), Deadline(60), CALLER)
            log.key = Secret(KEY)
            # An ending waits half a second for the lock, then counts a gap. Eight writers on a busy
            # machine reach that limit; a gap is not a hole in the chain.
            log._patience = 60.0
            # The longest names fill several pages, so a kill can stop a write within them.
            name = chance.choice("a\x1b\U0001f511") * chance.choice((1, 10, 1000, 100_000))
            target = Target("web", "https", name, name)
            entry = Entry("login", "ok", None, f"{number:032x}", target, name)
            if chance.random() < 0.5:
                log.log(entry, clock.now())
            else:
                log.log_or_gap(entry, clock.now())
    finally:
        os._exit(code)


@FORK
@POSIX
def test_writers_that_are_killed_at_random_leave_a_chain_without_a_hole(tmp_path):
    """Eight concurrent writers die at random moments: every line is whole and in its place."""
    state = tmp_path / "keylease"
    kills = max(40, EXAMPLES // 10)
    chance = random.Random(20260921)
    with Directory.open(str(state), create=True):
        pass

    def start(number):
        child = os.fork()
        if not child:
            write_until_killed(state, number)
        return child

    children = [start(number) for number in range(WRITERS)]
    try:
        for number in range(WRITERS, WRITERS + kills):
            time.sleep(chance.uniform(0, 0.05))  # a random moment, not a wait for anything
            victim = chance.randrange(WRITERS)
            os.kill(children[victim], signal.SIGKILL)
            assert signal.SIGKILL == os.waitpid(children[victim], 0)[1], "a writer failed by itself"
            children[victim] = start(number)
    finally:
        for child in children:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
    log = AuditLog(lambda: Directory.open(str(state), create=True), Deadline(10), CALLER)
    log.key = Secret(KEY)
    log.log(Entry("logout"), BootClock().now())

    count = audit_chain.verify(state, KEY)
    events = [record["event"] for record in audit_chain.records(state)]
    assert count > WRITERS, "the control: they did write"
    assert {"login", "logout"} <= set(events) <= {"login", "logout", "audit.recovered"}
    aside = list((state / "audit").glob("*.torn-*"))
    # A second kill between setting a line aside and reporting it leaves the file without its line.
    assert 0 < events.count("audit.recovered") <= len(aside) <= kills + WRITERS


# Clocks


def test_a_wall_clock_that_ran_ahead_and_back_leaves_one_chain(rig):
    """A clock jump to the year 2099 and back neither forks the chain nor stops the log."""
    start = rig.clock.now().wall_ns / 10**9
    for seconds in (0, 2_300_000_000, 0, -86_400, 0, 2_300_000_000, 0):
        rig.clock.advance(1)
        rig.clock.set_wall(start + seconds + 10)
        with contextlib.suppress(KeyleaseError):
            rig.again().session.get(EXAMPLE)
        rig.again().session.store(bring())
        audit_chain.verify(rig.path, audit_key(rig))

    days = sorted(path.name for path in (rig.path / "audit").glob("*.jsonl"))
    assert ["2026-09-20.jsonl", "2026-09-21.jsonl", "2099-08-09.jsonl"] == days
    times = [line["boottime_ns"] for line in audit_chain.records(rig.path)]
    assert sorted(times) == times, "the boot clock tells the order"


def test_ninety_one_days_with_a_jump_to_2099_lose_one_day(tmp_path, monkeypatch):
    """Only whole days of the true age are deleted, across a leap day and a clock jump."""
    monkeypatch.setattr(Files, "sync_data", lambda *_: None)  # only the speed changes
    monkeypatch.setattr(Files, "sync", lambda *_: None)
    monkeypatch.setattr(Files, "sync_directory", lambda *_: None)
    place = Place(tmp_path / "keylease")
    start = calendar.timegm((2028, 1, 15, 23, 59, 50))  # the 29th of February is still ahead
    names = [time.strftime("%Y-%m-%d.jsonl", time.gmtime(start + n * DAY)) for n in range(93)]

    def write(seconds):
        place.clock.set_wall(seconds)
        place.write()
        place.end()

    for day in range(91):
        write(start + day * DAY)
        if day % 30 == 10:
            write(start + 2_300_000_000)
            write(start + (day - 3) * DAY)
            write(start + day * DAY)
    assert names[:91] == [name for name in place.files() if name < "2099"], "a jump removes nothing"
    count = place.verify()
    write(start + 91 * DAY)

    jumped = [name for name in place.files() if name > "2099"]
    assert 1 == len(jumped)
    assert [*names[1:92], *jumped] == place.files()
    (rotated,) = [line for line in place.records() if line["event"] == "audit.rotated"]
    assert names[:1] == rotated["removed"]["files"]
    lines = place.raw()
    first = json.loads(lines[0])
    assert (3, rotated["removed"]["digest"]) == (first["seq"], first["prev"])
    for before, after in itertools.pairwise(lines):
        assert hashlib.sha256(before).hexdigest() == json.loads(after)["prev"]
    assert count - 2 + 3 == len(lines)
    verdict = verify(str(place.audit), [Secret(KEY_OF_PLACE)], place.pin.read())
    assert ("ok", ()) == (verdict.result, verdict.findings)


def test_summer_time_removes_and_splits_nothing(tmp_path, monkeypatch):
    """A day is a UTC day, so an hour that summer time skips or repeats is like any other."""
    place = Place(tmp_path / "keylease")
    zone = "Europe/Berlin"
    monkeypatch.setenv("TZ", zone)
    if hasattr(time, "tzset"):
        time.tzset()
    try:
        for month, day in ((3, 29), (10, 25)):
            for hour in range(-2, 5):
                place.clock.set_wall(calendar.timegm((2026, month, day, 0, 30, 0)) + hour * 3600)
                place.write()
    finally:
        monkeypatch.undo()
        if hasattr(time, "tzset"):
            time.tzset()

    expected = [f"2026-{day}.jsonl" for day in ("03-28", "03-29", "10-24", "10-25")]
    assert expected == place.files()
    assert 14 == place.verify()


# Killed at each step between line, head and pin.

KILLED = """
import sys
from pathlib import Path
from support.audit_place import CALLER, KEY, Place
from keylease.audit.events import Entry
from keylease.audit.chain import Surroundings
from keylease.audit.log import AuditLog
from keylease.audit.read.verify import verify
from keylease.audit.pin import RuntimeDirPin
from keylease.system.clock import Deadline
from keylease.secrets.secret import Secret
from keylease.statefile import Directory

def log(path):
    place = Place(path / "keylease")
    open_run = lambda: Directory.open(str(path / "run"), create=True)
    pin = RuntimeDirPin(open_run, open_run)
    log = AuditLog(place.state, Deadline(5), CALLER, Surroundings(pin, place.witness, 3))
    log.key = Secret(KEY)
    return place, log, pin

if __name__ == "__main__":
    place, log, _ = log(Path(sys.argv[1]))
    place.clock.advance(float(sys.argv[2]))
    log.log(Entry("session.released"), place.clock.now())
    sys.stdout.write("released")
"""


@LINUX
@pytest.mark.parametrize("new_day", [False, True], ids=["same day", "rotation"])
def test_a_writer_killed_at_each_system_call_leaves_a_log_that_goes_on(tmp_path, new_day):
    """Wherever a writer dies, the log is at most one line ahead, and no reported line is lost."""
    require_strace()
    scope = {"__name__": "killed"}
    exec(KILLED, scope)  # noqa: S102 - the very code that the other process runs
    begin = tmp_path / "begin"
    for days in range(5):
        place, log, _ = scope["log"](begin)
        place.clock.advance(days * DAY)
        log.log(Entry("session.released"), place.clock.now())
    advance = str((5 if new_day else 4) * DAY + 5)
    calls = "write,fdatasync,fsync,openat,ftruncate,unlinkat,renameat,renameat2,flock"
    trace = tmp_path / "trace"
    strace = ["strace", "-o", str(trace), "-y", f"--trace={calls}"]

    def run(at, *inject):
        script = "-c", KILLED, str(at), advance
        path = os.pathsep.join([str(TESTS), *filter(None, [os.environ.get("PYTHONPATH")])])
        return run_group(
            [*strace, *inject, sys.executable, *script],
            env={**os.environ, "PYTHONPATH": path},
            text=True,
        )

    control = tmp_path / "control"
    shutil.copytree(begin, control)
    done = run(control)
    assert "released" == done.stdout, done.stderr
    # By name and count, because strace counts each call by itself. The calls before the log opens
    # are the interpreter's.
    seen, steps = Counter(), []
    for line in trace.read_text().splitlines():
        name = line.partition("(")[0]
        seen[name] += 1
        if str(control) in line and ("audit" in line or "run" in line):
            steps.append((name, seen[name]))
    assert {"write", "fdatasync", "openat"} <= {name for name, _ in steps}

    for number, (name, count) in part_of(enumerate(steps)):
        at = tmp_path / f"killed-{number}"
        shutil.copytree(begin, at)
        done = run(at, f"--inject={name}:signal=KILL:when={count}")
        assert (-signal.SIGKILL, "") == (done.returncode, done.stdout), (name, count)
        place, log, pin = scope["log"](at)
        before = verify(str(place.audit), [Secret(KEY_OF_PLACE)], pin.read())
        assert before.result in {"ok", "tail-ahead", "pin-missing"}, (name, count, before)
        place.clock.advance(6 * DAY)
        log.log(Entry("session.released"), place.clock.now())
        after = verify(str(place.audit), [Secret(KEY_OF_PLACE)], pin.read())
        assert ("ok", ()) == (after.result, after.findings), (name, count)
        assert 0 == after.told["audit.truncated"]
        shutil.rmtree(at)


# Names and secrets


@pytest.mark.parametrize(
    "name",
    [
        "evil\nhost=github.com",
        "\x1b]0;owned\x07",
        "a\u2028b\u2029c\x85d",
        "\x7f\x00\x08",
        "x" * (1 << 20),
        "\U0001f511" * (1 << 18),
        "\udcff\udc80",
        '"},"mac":"',
        '{"seq":1}',
    ],
    ids=lambda name: ascii(name[:12]),
)
def test_a_hostile_name_is_one_harmless_line(rig, name):
    """No name can write a line of its own, move a cursor, or stop the log."""
    target = Target("web", "https", name, name)
    before = len(audit_chain.records(rig.path))
    rig.again().session.store(bring(target, username=name))
    rig.again().session.get(target, name)
    rig.again().session.terminate(target, name)

    assert before + 3 == audit_chain.verify(rig.path, audit_key(rig))
    for line in audit_chain.raw_lines(rig.path):
        assert len(line) < 128 * 1024
    told = audit_chain.records(rig.path)[-1]
    assert told["target"]["host"].startswith(name[:1000])


def test_no_operation_leaves_a_trace_of_a_secret(tmp_path):
    """No line and no file has password or token, neither plain, encoded, digested nor counted."""
    rig = Rig(tmp_path / "keylease")
    secret, token, wrong = (f"canary-{name}-7f3a".encode() * 7001 for name in ("pw", "to", "no"))
    extra = (("oauth_refresh_token", Secret(token)),)
    rig.session.store(bring(password=secret, username="canary-user", extra=extra))
    rig.clock.advance(1)
    for operation in (
        lambda session: session.get(EXAMPLE),
        lambda session: session.store(bring(password=secret, username="canary-user")),
        lambda session: session.validate(EXAMPLE),
        lambda session: session.extend(EXAMPLE),
        lambda session: session.sessions(),
        lambda session: session.erase(EXAMPLE, None, Secret(wrong)),
        lambda session: session.store(bring(password=wrong, ephemeral=True)),
        lambda session: session.store(bring(password=wrong, expires=1)),
        lambda session: session.get(OTHER),
        lambda session: session.erase(EXAMPLE, None, Secret(secret)),
        lambda session: session.store(bring(password=secret, username="canary-user")),
        lambda session: session.create(EXAMPLE, credential(token)),
        lambda session: session.terminate_all(),
    ):
        with contextlib.suppress(KeyleaseError):
            operation(rig.again().session)
    rig.again().session.create(OTHER, credential(secret, fields=(("t", Secret(token)),)))

    kept = b"\n".join(
        str(path).encode() + (path.read_bytes() if path.is_file() else b"")
        for path in rig.path.rglob("*")
    )
    log = b"".join(audit_chain.raw_lines(rig.path))
    for each in (secret, token, wrong):
        for needle in (
            each[:15],
            each[:15].hex().encode(),
            *(base64.b64encode(each[at : at + 24])[2:-2] for at in range(3)),
            hashlib.sha256(each).hexdigest().encode(),
            hashlib.sha256(each).digest(),
        ):
            assert needle not in kept
    assert not re.search(rb"\b%d\b" % len(secret), log)
    assert re.search(rb"\b%d\b" % os.getppid(), log), "the control: a number is found"
    assert b"canary-user" in log, "the control: what is looked for is found where it may be"
    assert {"session.released", "session.confirmed", "session.refused", "session.ended"} <= {
        line["event"] for line in audit_chain.records(rig.path)
    }
