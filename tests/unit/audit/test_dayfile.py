"""Whatever a crash leaves at the end of a day file is set aside at once or refused."""

import os
import sys

import pytest
from support.audit_place import CALLER, KEY, Place

from keylease.audit.chain import Surroundings
from keylease.audit.events import Entry
from keylease.audit.log import AuditLog
from keylease.errors import AuditError, StateError
from keylease.secrets.secret import Secret
from keylease.statefile.directory import Directory, Files
from keylease.system.clock import Deadline

MIB = 1 << 20
HOLES = pytest.mark.skipif(sys.platform != "linux", reason="files have no holes elsewhere")


class Looks(Deadline):
    """A deadline that passes after a number of looks at it, independent of the clock."""

    def __init__(self, count):
        super().__init__(3600)
        self.left = count

    def remaining(self):
        """Return whether there are looks left."""
        self.left -= 1
        return 3600.0 if self.left >= 0 else 0.0


@pytest.fixture
def place(tmp_path):
    """Return a log of two lines."""
    place = Place(tmp_path / "keylease")
    place.write()
    place.write()
    return place


@pytest.fixture
def reads(monkeypatch):
    """Return a list that collects the size of each read."""
    seen, original = [], os.read

    def read(fd, size):
        data = original(fd, size)
        seen.append(len(data))
        return data

    monkeypatch.setattr(os, "read", read)
    return seen


@pytest.fixture
def syncs(monkeypatch):
    """Return a list that gets an entry for each wait for the disk."""
    seen = []
    for name in ("sync", "sync_data", "sync_directory"):
        original = getattr(Files, name)

        def sync(self, *fd, original=original):
            seen.append(1)
            return original(self, *fd)

        monkeypatch.setattr(Files, name, sync)
    return seen


def write(place, looks):
    """Append a line as a process that may check its deadline so many times."""
    place.clock.advance(1)
    log = AuditLog(place.state, Looks(looks), CALLER, Surroundings(place.pin, place.witness, 90))
    log.key = Secret(KEY)
    log.log(Entry("session.released"), place.clock.now())


def aside(place):
    """Return the files with what was set aside."""
    return [path for path in place.audit.iterdir() if ".torn-" in path.name]


@HOLES
@pytest.mark.parametrize("torn", [b"", b'{"seq":3,"time":"20'])
@pytest.mark.parametrize("zeros", [1, 4096, 512 * MIB, 1 << 40])
def test_zeros_behind_the_last_line_are_set_aside_in_one_file(place, reads, syncs, zeros, torn):
    """Any number of zeros after a power cut moves to one file with few syncs, losing no byte."""
    path = place.newest()
    good = path.read_bytes()
    path.write_bytes(good + torn)
    os.truncate(path, len(good) + len(torn) + zeros)
    reads.clear()
    write(place, 100)

    (found,) = aside(place)
    assert len(torn) + zeros == found.stat().st_size
    with found.open("rb") as file:
        assert torn + b"\0" == file.read(len(torn) + 1)
    assert found.stat().st_blocks * 512 <= MIB, "the zeros use no disk space"
    assert sum(reads) < MIB
    assert len(syncs) < 10
    assert [None, None, 0, None] == [lost for _, _, lost in place.told()]
    assert 4 == place.verify()


def test_zeros_that_are_on_the_disk_are_set_aside_as_well(place):
    """Written zeros are set aside too, as not every file system has holes."""
    path = place.newest()
    with path.open("ab") as file:
        file.write(b'{"seq"' + bytes(3 * MIB + 5))
    write(place, 1000)

    (found,) = aside(place)
    assert b'{"seq"' + bytes(3 * MIB + 5) == found.read_bytes()
    assert 4 == place.verify()


@HOLES
def test_zeros_that_take_too_long_to_read_are_refused_in_time(place, reads):
    """Zeros that take too long to read are refused at the deadline, without a change."""
    path = place.newest()
    with path.open("r+b") as file:
        file.seek(1 << 30)
        file.write(b"\0" * 8192)  # so the file does not end in its hole
    size = path.stat().st_size
    reads.clear()
    with pytest.raises(AuditError, match="too many or too large files to read in time") as caught:
        write(place, 200)

    assert "move large or foreign files out of audit" in caught.value.hint
    assert sum(reads) < 200 * 65536 + MIB
    assert size == path.stat().st_size
    assert [] == aside(place)


@HOLES
@pytest.mark.parametrize("end", [b"x", b"\n", b"x\n"])
def test_one_line_of_a_gibibyte_is_foreign(place, reads, end):
    """A line of a gibibyte is refused with its place after a few reads."""
    path = place.newest()
    with path.open("r+b") as file:
        file.seek(1 << 30)
        file.write(end)
    reads.clear()
    with pytest.raises(AuditError, match=r"the last line of audit/.* is not one of keylease's"):
        write(place, 100)

    assert sum(reads) < MIB
    assert (1 << 30) + len(end) == path.stat().st_size
    assert [] == aside(place)


def test_a_file_of_nothing_but_zeros_is_empty(place):
    """A day file of only zeros counts as empty."""
    path = place.newest()
    path.write_bytes(bytes(5000))
    place.pin.data = None
    (place.audit / "head").unlink()
    write(place, 100)

    (found,) = aside(place)
    assert bytes(5000) == found.read_bytes()
    assert [1, 2] == [seq for seq, _, _ in place.told()]


def test_a_crash_between_the_two_steps_repeats_them(place, monkeypatch):
    """A crash before the cut repeats setting aside under the same name."""
    path = place.newest()
    with path.open("ab") as file:
        file.write(b'{"seq"' + bytes(5000))

    def crash(*_):
        msg = "the machine stops here"
        raise StateError(msg)

    with monkeypatch.context() as patch:
        patch.setattr(Directory, "truncate", crash)
        with pytest.raises(AuditError, match="stops here"):
            write(place, 100)
    write(place, 100)

    (found,) = aside(place)
    assert b'{"seq"' + bytes(5000) == found.read_bytes()
    assert 4 == place.verify()


def test_an_end_is_not_held_up_by_what_is_in_the_directory(place):
    """An end does not wait for a slow directory, and its lost line is counted."""
    os.truncate(place.newest(), place.newest().stat().st_size + 5000)
    log = AuditLog(place.state, Looks(0), CALLER, Surroundings(place.pin, place.witness, 90))
    log.key = Secret(KEY)
    log.log_or_gap(Entry("session.ended", "ok", "logout"), place.clock.now())
    write(place, 100)

    assert "audit.gap" in [event for _, event, _ in place.told()]


def test_more_day_files_than_can_be_looked_at_in_time_are_refused(place):
    """Thousands of foreign day files are refused by the deadline."""
    for number in range(500):
        (place.audit / f"{1000 + number}-01-01.jsonl").touch(0o600)
    (place.audit / "head").unlink()
    with pytest.raises(AuditError, match="too many or too large files to read in time"):
        write(place, 400)
    write(place, 5000)

    assert "session.released" == place.records()[-1]["event"], "the control"


def test_a_rotation_that_is_late_is_finished_by_the_next(place, monkeypatch):
    """A rotation that runs out of time goes on at the next line, so no release waits long."""
    for _ in range(30):
        place.clock.advance(86_400)
        place.write()
    place.days = 1
    removed, original = [], Directory.remove

    def remove(self, name):
        removed.append(name)
        looks.left = 0  # the time is up after the first one
        return original(self, name)

    looks = Looks(1000)
    monkeypatch.setattr(Directory, "remove", remove)
    place.clock.advance(86_400)
    log = AuditLog(place.state, looks, CALLER, Surroundings(place.pin, place.witness, 1))
    log.key = Secret(KEY)
    log.log(Entry("session.released"), place.clock.now())
    assert 1 == len(removed)

    monkeypatch.setattr(Directory, "remove", original)
    place.clock.advance(86_400)
    place.write()
    assert len(list(place.audit.glob("*.jsonl"))) <= 3


def test_files_that_are_not_keyleases_cost_nothing(place, monkeypatch):
    """Foreign files in the directory are never opened."""
    for number in range(1000):
        (place.audit / f"{number}.txt").touch()
    (place.audit / "head").unlink()
    opened, original = [], Files.open_file

    def open_file(self, name, flags):
        opened.append(name)
        return original(self, name, flags)

    monkeypatch.setattr(Files, "open_file", open_file)
    write(place, 100)

    assert set() == {name for name in opened if name.endswith(".txt")}
    assert place.newest().name in opened, "the control"
