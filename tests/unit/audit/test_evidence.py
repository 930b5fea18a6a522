"""Whether the line that was the end is in the files, however many others are behind it."""

import pytest
from support.audit_place import KEY, Place

from keylease.audit import evidence
from keylease.audit import head as heads
from keylease.audit.dayfile import mend
from keylease.secret import Secret

DAY = 86_400


@pytest.fixture
def place(tmp_path):
    """Return a log of three days, with a line that is not synced at the end of each."""
    place = Place(tmp_path / "keylease")
    for _ in range(3):
        place.write()
        place.write()
        place.end()
        place.clock.advance(DAY)
    return place


def found(place, **changes):
    """Return whether the end and the last synced line of such a head are in the files."""
    head = (place.audit / "head").read_bytes()[: heads.HEAD_BYTES]
    end = heads.parse(head)._replace(**changes)
    with place.state() as state, state.child("audit") as directory:
        days = {path.name: mend(directory, path.name)[0] for path in place.audit.glob("*.jsonl")}
        key = Secret(KEY)
        return (
            evidence.has_end(directory, days, end),
            evidence.has_synced(directory, days, end, key),
        )


def test_end_is_found_behind_others(place):
    """Lines that came later, in whatever file, do not hide it."""
    end = heads.parse(place.pin.data)
    place.end(key=None)
    place.clock.advance(DAY)
    place.end(key=None)

    assert (True, True) == found(place, seq=end.seq, digest=end.digest)


@pytest.mark.parametrize("changes", [{"digest": "ab" * 32}, {"seq": 3}, {"seq": 70}])
def test_another_line_is_not_the_end(place, changes):
    """Number and digest both count."""
    assert (False, True) == found(place, **changes)


def test_nothing_synced_asks_for_nothing(place):
    """A head that knows of no line on the disk does not miss one."""
    assert (True, True) == found(place, synced=0)


def test_synced_line_has_the_mac_of_the_key(place):
    """A line of that number which somebody else wrote is not it, nor is one without a MAC."""
    place.end(key=None)

    assert (True, False) == found(place, synced=10)
    path = sorted(place.audit.glob("*.jsonl"))[-2]
    path.write_bytes(path.read_bytes().replace(b'"pid":', b'"pid":1'))
    assert (False, False) == found(place, synced=7)
    path.write_bytes(b'{"seq":9,"event":0}\n')
    assert (False, False) == found(place, synced=9)


def test_mac_is_found_in_any_file(place):
    """One line with a MAC is enough to miss a head."""
    with place.state() as state, state.child("audit") as directory:
        assert evidence.has_mac(directory, [place.newest().name])
        path = place.newest()
        path.write_bytes(b'{"seq":9,"username":"\\",\\"mac\\":\\"","mac":null}\n')
        assert not evidence.has_mac(directory, [path.name, "none.jsonl"])
