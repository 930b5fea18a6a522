"""A search finds the requested lines and says what they prove."""

import tracemalloc

import pytest
from support.audit_files import DAY, KEY, OTHER_KEY, START, Log
from support.audit_place import KEY as PLACE_KEY
from support.audit_place import Place

from keylease.audit.read import reader
from keylease.audit.read.query import Filter, Search, last
from keylease.model import NANOSECONDS
from keylease.secrets.secret import Secret

ELSEWHERE = {
    "namespace": "docker",
    "protocol": "https",
    "host": "other.example:8443",
    "path": "group/project",
}


def at(seconds):
    """Return a moment of the log by the wall clock."""
    return int((START + seconds) * NANOSECONDS)


@pytest.fixture
def log(tmp_path):
    """Return a log of three days with lines of every kind."""
    log = Log(tmp_path / "audit")
    log.add(10, "vault.created")
    log.add(20, "session.created", session="a" * 32)
    log.add(30, session="a" * 32)
    log.add(DAY + 10, "session.refused", outcome="refused", reason="not_found", session=None)
    log.add(DAY + 20, "session.created", session="b" * 32, target=ELSEWHERE, username="bob\x7f\n")
    log.add(2 * DAY, "session.ended", reason="idle", session="a" * 32)
    log.add(2 * DAY + 0.5, "session.ended", reason="cap", session="b" * 32, username=None)
    return log


def search(log, keys=(KEY,), *, reverse=False, limit=None, **wanted):
    """Return a search in the log."""
    held = [Secret(key) for key in keys]
    return Search(str(log.directory), Filter(**wanted), held, reverse=reverse, limit=limit)


def seqs(log, **wanted):
    """Return the numbers of the lines found."""
    return [record.seq for record in search(log, **wanted)]


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ({}, [1, 2, 3, 4, 5, 6, 7]),
        ({"reverse": True}, [7, 6, 5, 4, 3, 2, 1]),
        ({"limit": 2}, [1, 2]),
        ({"limit": 0}, []),
        ({"reverse": True, "limit": 3}, [7, 6, 5]),
        ({"events": ("session.created",)}, [2, 5]),
        ({"events": ("session.created", "session.ended")}, [2, 5, 6, 7]),
        ({"outcome": "refused"}, [4]),
        ({"reason": "idle"}, [6]),
        ({"session": "aaaa"}, [2, 3, 6]),
        ({"session": "a" * 32}, [2, 3, 6]),
        ({"session": "ab"}, []),
        ({"username": "ada"}, [2, 3, 4, 6]),
        ({"username": "bob\x7f\n"}, [5]),
        ({"username": "bob"}, []),
        ({"target": "git.example"}, [2, 3, 4, 6, 7]),
        ({"target": "other.example"}, [5]),
        ({"target": "other.example:8443"}, [5]),
        ({"target": "*.example"}, [2, 3, 4, 5, 6, 7]),
        ({"target": "https://git.example"}, [2, 3, 4, 6, 7]),
        ({"target": "https://other.example:8443"}, [5]),
        ({"target": "https://other.example:8443/group"}, [5]),
        ({"target": "https://other.example:8443/gro"}, []),
        ({"target": "http://git.example"}, []),
        ({"target": "example"}, []),
        ({"target": "[go]it.example"}, [2, 3, 4, 6, 7]),
        ({"target": "https://*.example:84??/*"}, [5]),
        ({"target": "*"}, [2, 3, 4, 5, 6, 7]),
        ({"target": "docker *"}, [5]),
        ({"target": "docker https://other.example:8443"}, [5]),
        ({"target": "docker https://git.example"}, []),
        ({"target": "web https://git.example"}, [2, 3, 4, 6, 7]),
        ({"since_ns": at(DAY + 10), "until_ns": at(2 * DAY)}, [4, 5]),
        ({"since_ns": at(2 * DAY) + 1}, [7]),
        ({"since_ns": at(2 * DAY + 0.5)}, [7]),
        ({"until_ns": at(30)}, [1, 2]),
        ({"until_ns": at(30) + 1}, [1, 2, 3]),
        ({"session": "aaaa", "events": ("session.ended",)}, [6]),
    ],
)
def test_what_fits_is_found(log, wanted, expected):
    """A search finds exactly the lines that match."""
    assert expected == seqs(log, **wanted)


def test_whole_log_verifies(log):
    """A whole log with its MACs verifies."""
    found = search(log)
    list(found)

    assert (7, None, None) == found.trust()


def test_part_of_the_log_verifies(log):
    """A search in a part of the log does not miss the other days."""
    for wanted in ({"since_ns": at(DAY)}, {"reverse": True, "limit": 2}, {"limit": 3}):
        found = search(log, **wanted)
        list(found)
        assert (None, None) == found.trust()[1:]


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize(
    ("old", "new"),
    [(b'"ada"', b'"eve"'), (b'"reason":"idle"', b'"reason":"cap"'), (b'"seq":6,', b'"seq":9,')],
)
def test_what_was_changed_is_told(log, reverse, old, new):
    """A search that shows a forged line says so."""
    for path in log.directory.glob("*.jsonl"):
        path.write_bytes(path.read_bytes().replace(old, new))
    found = search(log, reverse=reverse)
    list(found)

    assert found.trust().misfit


@pytest.mark.parametrize("number", range(1, 6))
def test_line_that_was_taken_out_is_told(log, number):
    """A line missing between the lines read is reported."""
    for path in log.directory.glob("*.jsonl"):
        lines = path.read_bytes().splitlines(keepends=True)
        kept = [line for line in lines if b'"seq":%d,' % (number + 1) not in line]
        path.write_bytes(b"".join(kept))
    found = search(log)
    list(found)

    assert f"lines {number + 1} to {number + 1} were not found there" == found.trust().misfit


def test_last_line_that_was_changed_is_told(log):
    """A changed last line is found by its own MAC, as no later line links to it."""
    path = log.directory / log.file
    path.write_bytes(path.read_bytes().replace(b'"reason":"cap"', b'"reason":"idle"'))
    found = search(log)
    list(found)

    assert "line 7 does not have the MAC of the audit key" == found.trust().misfit


def test_line_of_nobody_is_told_and_not_shown(log):
    """A line that keylease never writes is reported and not shown."""
    path = log.directory / "2026-11-21.jsonl"
    path.write_bytes(path.read_bytes() + b'{"event":"\x1b[2J"}\n')
    found = search(log)

    assert 7 == len(list(found))
    assert "keylease did not write a line of audit/2026-11-21.jsonl" == found.trust().misfit


def test_file_under_another_days_name_is_told(log):
    """A day file under another day's name is reported, since searches would miss its lines."""
    (log.directory / "2026-11-22.jsonl").rename(log.directory / "2026-11-19.jsonl")
    found = search(log)
    list(found)

    assert found.trust().misfit


@pytest.mark.parametrize("keys", [(), (OTHER_KEY,)])
def test_without_the_key_that_is_told(log, keys):
    """With the keychain locked, a search shows the lines and says that they are unproven."""
    found = search(log, keys)

    assert 7 == len(list(found))
    assert found.trust().misfit is None
    assert "line 7 has its MAC from an audit key that is not at hand" == found.trust().unvouched


def test_end_without_a_mac_is_told(log):
    """A log's end that was written with the keychain locked is reported as unproven."""
    log.key = None
    log.add(2 * DAY + 9)
    found = search(log)
    list(found)

    assert "line 8 was written without the audit key" == found.trust().unvouched


def test_clock_that_was_set_back_raises_no_doubt(log):
    """Lines in an older day's file are found and raise no doubt."""
    log.add(DAY + 3600)
    log.add(2 * DAY + 3600)
    found = search(log)

    assert {1, 2, 3, 4, 5, 6, 7, 8, 9} == {record.seq for record in found}
    assert found.trust().misfit is None


@pytest.mark.parametrize("wanted", [{}, {"events": ("login",)}, {"reverse": True}])
def test_memory_does_not_grow_with_the_log(tmp_path, wanted):
    """A search through years needs no more memory than one through a day."""
    peaks = []
    for lines in (300, 4000):
        log = Log(tmp_path / str(lines)).fill(days=3, lines=lines)
        sum(1 for _ in search(log, **wanted))
        tracemalloc.start()
        sum(1 for _ in search(log, **wanted))
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()

    assert peaks[1] < peaks[0] + 8 * reader.BLOCK


def test_last_lines_come_oldest_first(log):
    """The last lines of a log are shown oldest first."""
    found, places = last(str(log.directory), 3)

    assert [5, 6, 7] == [each.record.seq for each in found]
    assert reader.sizes(str(log.directory)) == places


def test_line_that_is_being_written_is_left_to_who_follows(log):
    """An unfinished line is neither shown nor reported as missing."""
    path = log.directory / log.file
    size = path.stat().st_size
    path.write_bytes(path.read_bytes() + b'{"seq":8')

    found, places = last(str(log.directory), 1)

    assert [7] == [each.record.seq for each in found]
    assert size == places[log.file]


def test_clock_that_was_set_back_is_no_hole(tmp_path):
    """Lines that a set-back clock put into a day not asked for are no gap."""
    place = Place(tmp_path / "keylease")
    now = place.clock.now().wall_ns // NANOSECONDS
    for wall in (now, now - DAY, now - DAY, now):
        place.clock.set_wall(wall)
        place.write()
        place.write()
    place.write()
    wanted = Filter(since_ns=(now - 3600) * NANOSECONDS)
    keys = [Secret(PLACE_KEY)]

    search = Search(str(place.audit), wanted, keys)
    assert [1, 2, 7, 8, 9] == [record.seq for record in search]
    assert None is search.trust().misfit
    search = Search(str(place.audit), Filter(), keys, reverse=True, limit=6)
    assert [9, 8, 7, 2, 1, 6] == [record.seq for record in search]
    assert None is search.trust().misfit

    path = place.newest()
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*lines[:3], *lines[4:]]))
    search = Search(str(place.audit), wanted, keys)
    assert [1, 2, 7, 9] == [record.seq for record in search]
    assert "lines 8 to 8 were not found there" == search.trust().misfit
