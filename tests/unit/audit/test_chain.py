"""The chain's end is found without reading the log, and removed lines are noticed."""

import json

import pytest
from support.audit_place import KEY, MemoryPin, Place
from support.rig import ForeignClock

from keylease.audit import head as heads
from keylease.audit.events import Entry
from keylease.audit.line import digest
from keylease.errors import AuditError, StateError
from keylease.secrets.secret import Secret
from keylease.statefile.directory import Directory, Files

DAY = 86_400
RELEASED = "session.released"


@pytest.fixture
def place(tmp_path):
    """Return an empty state directory with a log in it."""
    return Place(tmp_path / "keylease")


def head_of(place):
    """Return what the head says."""
    data = (place.audit / "head").read_bytes()
    assert heads.verify(data, Secret(KEY))
    return heads.parse(data)


def reads_of(monkeypatch):
    """Return a list that collects the name of each day file read."""
    seen = []
    for name in ("read", "read_tail", "read_start", "content_end"):
        original = getattr(Directory, name)

        def spy(self, file, size, original=original, **more):
            if file.endswith(".jsonl"):
                seen.append(file)
            return original(self, file, size, **more)

        monkeypatch.setattr(Directory, name, spy)
    return seen


def test_head_and_pin_tell_the_last_line(place):
    """Head and pin both record the last line, so removing lines is noticed."""
    place.write()
    place.write()
    place.end()

    found = head_of(place)
    assert 3 == found.seq
    assert 2 == found.synced
    assert place.newest().name == found.file
    assert place.newest().stat().st_size == found.size
    assert digest(place.raw()[-1]) == found.digest
    assert place.clock.now().boot == found.boot
    assert (place.audit / "head").read_bytes() == place.pin.data


def test_a_line_more_reads_no_day_file(place, monkeypatch):
    """Appending a line reads no day file, however long the log is."""
    for _ in range(3):
        place.write()
        place.clock.advance(DAY)
    place.write()
    seen = reads_of(monkeypatch)
    place.write()
    place.end()
    assert [] == seen

    (place.audit / "head").unlink()
    place.write()
    assert set(seen) == {path.name for path in place.audit.glob("*.jsonl")}, "the control"
    assert 7 == place.verify()


@pytest.mark.parametrize("change", ["gone", "empty", "junk", "longer", "other key", "no mac"])
def test_a_head_that_cannot_be_believed_is_made_anew(place, change):
    """A damaged head is rebuilt from the log."""
    place.write()
    place.write()
    path, found = place.audit / "head", head_of(place)
    fake = found._replace(seq=70, digest="ab" * 32)
    data = {
        "empty": b"",
        "junk": b"\xff" * heads.HEAD_BYTES,
        "longer": path.read_bytes() + b"\n",
        "other key": heads.pack(fake, Secret(bytes(32))),
        "no mac": heads.pack(fake._replace(key=None), None),
    }
    path.unlink() if change == "gone" else path.write_bytes(data[change])
    place.write()

    assert [(n, RELEASED, None) for n in (1, 2, 3)] == place.told()
    assert 3 == place.verify()
    assert 3 == head_of(place).seq


@pytest.mark.parametrize("count", [1, 2, 3, 4])
@pytest.mark.parametrize("memory", ["head", "pin", "both"])
def test_lines_that_were_taken_from_the_end_are_told_for_ever(place, count, memory):
    """The next line records how many lines were removed, and the gap in numbers stays."""
    for _ in range(4):
        place.write()
    lines = place.raw()
    place.take(count)
    if memory == "head":
        place.pin.data = None
    if memory == "pin":
        (place.audit / "head").unlink()
    place.write()
    place.write()

    kept = [(seq, RELEASED, None) for seq in range(1, 5 - count)]
    assert [*kept, (5, "audit.truncated", count), (6, RELEASED, None), (7, RELEASED, None)] == (
        place.told()
    )
    assert digest(lines[-1]) == place.records()[-3]["prev"]


def test_a_log_that_was_put_back_from_a_copy_is_noticed(place):
    """An older copy of the whole directory, head included, is noticed."""
    place.write()
    copy = {path.name: path.read_bytes() for path in place.audit.iterdir()}
    for _ in range(3):
        place.write()
    for name, data in copy.items():
        (place.audit / name).write_bytes(data)
    place.write()

    assert [(1, RELEASED, None), (5, "audit.truncated", 3), (6, RELEASED, None)] == place.told()


def test_a_log_that_was_deleted_is_noticed(place):
    """A deleted log is noticed: the chain does not restart at line 1."""
    place.write()
    place.write()
    for path in place.audit.iterdir():
        path.unlink()
    place.write()

    assert [(3, "audit.truncated", 2), (4, RELEASED, None)] == place.told()


def test_a_last_line_that_was_exchanged_is_noticed(place):
    """A replaced last line is noticed and does not become part of the chain."""
    place.write()
    place.write()
    lines = place.raw()
    other = lines[1].replace(b"released", b"extended!"[:8])
    place.newest().write_bytes(lines[0] + other + b" ")  # a torn piece makes it read the files
    place.write()

    assert [1, 2, 3, 4, 5] == [seq for seq, _, _ in place.told()]
    assert ("audit.truncated", 1) in [told[1:] for told in place.told()]


def test_a_forged_memory_does_not_tear_a_hole(place):
    """A pin forged without the audit key cannot make the log record a loss."""
    place.write()
    fake = head_of(place)._replace(seq=1000, digest="cd" * 32)
    for data in (heads.pack(fake, Secret(bytes(32))), heads.pack(fake._replace(key=None), None)):
        place.pin.data = data
        place.write()

    assert 3 == place.verify()


def test_what_a_power_cut_took_is_no_theft(place):
    """Unsynced lines lost in a power cut are recorded as lost, and their numbers are reused."""
    place.write()
    for _ in range(3):
        place.end()
    place.take(2)
    place.pin.data = None
    place.clock.reboot()
    place.write()

    ended = (2, "session.ended", None)
    assert [(1, RELEASED, None), ended, (3, "audit.recovered", 2), (4, RELEASED, None)] == (
        place.told()
    )
    assert 4 == place.verify()


@pytest.mark.parametrize("rebooted", [True, False])
def test_a_reboot_is_no_excuse_for_lines_that_were_on_the_disk(place, rebooted):
    """Synced lines that are missing after a reboot count as removed."""
    for _ in range(3):
        place.write()
    place.take(1)
    place.pin.data = None
    if rebooted:
        place.clock.reboot()
    place.write()

    assert (4, "audit.truncated", 1) == place.told()[2]


def test_another_boot_id_is_no_excuse_for_lines_that_were_taken(place):
    """Missing lines count as removed in a container with another boot id too."""
    place.write()
    for _ in range(3):
        place.end()
    place.take(2)
    place.pin.data = None
    place.clock.advance(60)
    place.clock = ForeignClock(place.clock)
    place.write()

    assert (5, "audit.truncated", 2) == place.told()[2]


def test_a_power_cut_that_took_the_heads_last_bytes_is_survived(place):
    """A power cut that leaves an older head is no evidence of removed lines."""
    place.write()
    before = (place.audit / "head").read_bytes()
    place.write()
    (place.audit / "head").write_bytes(before)
    place.pin.data = None
    place.clock.reboot()
    place.write()

    assert 3 == place.verify()


def test_lines_of_the_day_before_are_on_the_disk_with_the_first_of_the_next(place):
    """The first line of a day syncs the day before, so `synced` holds for all earlier lines."""
    place.write()
    place.end()
    place.clock.advance(DAY)
    synced = []
    original = Files.sync_data

    def spy(self, fd):
        synced.append(fd)
        return original(self, fd)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Files, "sync_data", spy)
        place.end()

    assert 2 == len(synced), "the old file and the new one"
    assert 3 == head_of(place).synced


def test_a_crash_before_the_head_of_a_new_file_does_not_fork_the_chain(place, monkeypatch):
    """A crash before the head names a new file does not fork the chain."""
    place.write()
    place.clock.advance(DAY)
    original = Directory.append

    def crash(self, name, data, *, sync):
        original(self, name, data, sync=sync)
        if data:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Directory, "append", crash)
        with pytest.raises(KeyboardInterrupt):
            place.write()
    place.clock.set_wall(place.clock.now().wall_ns // 10**9 - DAY)
    place.write()

    assert 3 == place.verify()


@pytest.mark.parametrize("day", [0, 1])
def test_a_line_without_the_key_leaves_what_vouches_for_more(place, day):
    """A line written with the keychain locked does not replace the pin that has a MAC."""
    place.write()
    place.write()
    pin = place.pin.data
    place.clock.advance(day * DAY)
    place.end(key=None)
    assert pin == place.pin.data
    place.clock.advance(-day * DAY)
    place.write()
    place.write()

    assert 5 == place.verify()
    assert 5 == head_of(place).seq


def test_a_head_that_cannot_be_written_refuses_nothing(place, monkeypatch):
    """An unwritable head does not refuse a release: the line is on disk."""
    place.write()
    original = Directory.rewrite

    def refuse(self, name, data):
        if name == "head":
            msg = "no"
            raise StateError(msg)
        original(self, name, data)

    with monkeypatch.context() as patch:
        patch.setattr(Directory, "rewrite", refuse)
        place.write()
        place.write()
    place.write()

    assert 4 == place.verify()


def test_a_pin_that_cannot_be_kept_refuses_nothing(place):
    """An unwritable pin does not refuse a line."""

    class Broken(MemoryPin):
        def write(self, data):
            del data
            return False

    place.pin = Broken()
    place.write()
    place.write()

    assert 2 == place.verify()


@pytest.mark.parametrize("seq", [0, -1, 1 << 62, 10**30])
def test_a_number_that_no_line_has_refuses(place, seq):
    """A forged last line with an impossible number is refused instead of continued."""
    place.write()
    line = json.loads(place.raw()[0]) | {"seq": seq}
    with place.newest().open("ab") as file:
        file.write(json.dumps(line).encode() + b"\n")

    with pytest.raises(AuditError, match="last line"):
        place.log().log(Entry("login"), place.clock.now())
