"""The recorded end is found in the files, however many lines follow it."""

import os

import pytest
from support.audit_place import KEY, Place

from keylease.audit import head as heads
from keylease.audit.dayfile import LastLine, mend
from keylease.audit.evidence import Evidence
from keylease.audit.line import LONGEST_LINE
from keylease.errors import StateError
from keylease.secrets.secret import Secret
from keylease.statefile import Directory

DAY = 86_400


@pytest.fixture
def place(tmp_path):
    """Return a log of three days, each with an unsynced last line."""
    place = Place(tmp_path / "keylease")
    for _ in range(3):
        place.write()
        place.write()
        place.end()
        place.clock.advance(DAY)
    return place


def found(place, **changes):
    """Return whether the files have the end and the last synced line of such a head."""
    head = (place.audit / "head").read_bytes()[: heads.HEAD_BYTES]
    end = heads.parse(head)._replace(**changes)
    with place.state() as state, state.child("audit") as directory:
        names = [path.name for path in place.audit.glob("*.jsonl")]
        days = {name: mend(directory, name, in_time)[0] for name in names}
        evidence = Evidence(directory, days, in_time)
        return evidence.has_end(end), evidence.has_synced(end, Secret(KEY))


def in_time():
    """Never run out of time."""


def test_end_is_found_behind_others(place):
    """Later lines in any file do not hide the recorded end."""
    end = heads.parse(place.pin.data)
    place.end(key=None)
    place.clock.advance(DAY)
    place.end(key=None)

    assert (True, True) == found(place, seq=end.seq, digest=end.digest)


@pytest.mark.parametrize("changes", [{"digest": "ab" * 32}, {"seq": 3}, {"seq": 70}])
def test_another_line_is_not_the_end(place, changes):
    """The end must match in both number and digest."""
    assert (False, True) == found(place, **changes)


def test_nothing_synced_asks_for_nothing(place):
    """A head without synced lines misses none."""
    assert (True, True) == found(place, synced=0)


def test_synced_line_has_the_mac_of_the_key(place):
    """The synced line counts only with a MAC of the key."""
    place.end(key=None)

    assert (True, False) == found(place, synced=10)
    path = sorted(place.audit.glob("*.jsonl"))[-2]
    path.write_bytes(path.read_bytes().replace(b'"pid":', b'"pid":1'))
    assert (False, False) == found(place, synced=7)
    path.write_bytes(b'{"seq":9,"event":0}\n')
    assert (False, False) == found(place, synced=9)


def test_mac_is_found_in_any_file(place):
    """A line with a MAC is found in any file, and a name that looks like a MAC is not."""
    with place.state() as state, state.child("audit") as directory:
        path = place.newest()
        assert Evidence(directory, {path.name: None}, in_time).has_mac()
        path.write_bytes(b'{"seq":9,"username":"\\",\\"mac\\":\\"","mac":null}\n')
        assert not Evidence(directory, {path.name: None, "none.jsonl": None}, in_time).has_mac()


@pytest.mark.parametrize("before", [0, 1 << 20, (1 << 20) - 30, (1 << 20) + LONGEST_LINE])
def test_line_is_found_wherever_the_pieces_of_a_file_meet(place, before):
    """A line that spans two read blocks is found."""
    lines = place.newest().read_bytes().splitlines(keepends=True)
    filler = b'{"seq":99,"time":"x"}\n'
    count = before // len(filler)
    # Padding behind the lines moves them to the border of two blocks.
    behind = filler * count + b" " * (before - count * len(filler) - 1) + b"\n" if before else b""
    place.newest().write_bytes(b"".join(lines) + behind)
    name, end = place.newest().name, heads.parse(place.pin.data)

    with place.state() as state, state.child("audit") as directory:
        evidence = Evidence(directory, {name: LastLine(99, "")}, in_time)

        assert evidence.has_end(end)
        assert evidence.has_synced(end, Secret(KEY))
        assert evidence.has_mac()
        assert not evidence.has_end(end._replace(digest="ab" * 32)), "the control"


def test_a_large_file_is_read_in_pieces_and_not_for_long(place, monkeypatch):
    """A file of one GiB costs bounded memory and time."""
    path = place.newest()
    os.truncate(path, 1 << 30)
    sizes, original = [], Directory.read_tail

    def read_tail(self, name, size, *, end=None):
        sizes.append(size)
        return original(self, name, size, end=end)

    def in_time_for_some():
        if len(sizes) == 20:
            msg = "late"
            raise StateError(msg)

    monkeypatch.setattr(Directory, "read_tail", read_tail)
    with place.state() as state, state.child("audit") as directory:
        evidence = Evidence(directory, {path.name: LastLine(99, "")}, in_time_for_some)
        for ask in (evidence.has_mac, lambda: evidence.has_end(heads.parse(place.pin.data))):
            sizes.clear()
            with pytest.raises(StateError, match="late"):
                ask()
            assert 20 == len(sizes)
            assert max(sizes) <= 2 << 20
