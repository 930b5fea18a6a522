"""Which day files are read, in what order, and how much at once."""

import os
import sys
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keylease.audit.line import LONGEST_LINE
from keylease.audit.read import reader
from keylease.audit.read.times import parse_time
from keylease.errors import StateError, UnsafeStateError


def numbered(*numbers):
    """Return lines that begin as the log's lines do."""
    return b"".join(b'{"seq":%d,"time":"x"}\n' % number for number in numbers)


def write(directory, **files):
    """Write day files of November 2026, each named by its day."""
    for day, data in files.items():
        (directory / f"2026-11-{day[1:]}.jsonl").write_bytes(data)
    return str(directory)


def seqs(found):
    """Return the numbers of lines."""
    return [line.seq for line in found]


@pytest.fixture
def opened(monkeypatch):
    """Return a list that collects the files opened."""
    names, original = [], os.open

    def count(path, *rest, **named):
        names.append(Path(path).name)
        return original(path, *rest, **named)

    monkeypatch.setattr(os, "open", count)
    return names


def test_only_the_days_of_the_range_are_opened(tmp_path, opened):
    """A search in one hour opens one day file, not three months of them."""
    place = write(tmp_path, _20=numbered(1), _21=numbered(2), _22=numbered(3), _23=numbered(4))

    since, until = (parse_time(f"2026-11-{day}T12:00Z", 0) for day in (21, 22))
    found = list(reader.lines(place, since_ns=since, until_ns=until))

    assert [2, 3] == seqs(found)
    assert ["2026-11-21.jsonl", "2026-11-22.jsonl"] == opened


def test_backwards_stops_where_nobody_asks_on(tmp_path, opened):
    """Reading the last lines of a long log opens only the newest file."""
    place = write(tmp_path, _20=numbered(1), _21=numbered(*range(2, 50_000)))

    found = reader.lines(place, reverse=True)

    assert [49_999, 49_998] == [next(found).seq, next(found).seq]
    assert ["2026-11-21.jsonl"] == opened


def test_other_files_are_not_read(tmp_path):
    """Leftovers of a crash and foreign files in the directory are not read as the log."""
    place = write(tmp_path, _20=numbered(1))
    for name in ("2026-11-20.jsonl.torn-5-abc", "lock", "head", "notes.jsonl", "2026-11-1.jsonl"):
        (tmp_path / name).write_bytes(numbered(9))

    assert [1] == seqs(reader.lines(place))


def test_directory_that_is_not_there_has_no_lines(tmp_path):
    """A missing directory is an empty log, not an error."""
    assert [] == list(reader.lines(str(tmp_path / "audit")))


def test_torn_tail_is_given_and_says_so(tmp_path):
    """A torn last line is marked as torn in both directions, not taken for a line."""
    place = write(tmp_path, _20=numbered(1, 2) + b'{"seq":3,"ti')

    for reverse in (False, True):
        found = sorted(reader.lines(place, reverse=reverse), key=lambda line: line.start)
        assert [(True, 1), (True, 2), (False, 3)] == [(line.whole, line.seq) for line in found]


@given(
    st.lists(st.binary(max_size=9).map(lambda data: data.replace(b"\n", b"")), max_size=30),
    st.binary(max_size=5).map(lambda data: data.replace(b"\n", b"")),
    st.integers(min_value=1, max_value=12),
)
@settings(deadline=None)
def test_both_directions_give_the_same_lines(tmp_path_factory, whole, torn, block):
    """Both directions give the same lines, wherever lines fall on block edges."""
    path = tmp_path_factory.mktemp("audit")
    data = b"".join(each + b"\n" for each in whole) + torn
    place = write(path, _20=data)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reader, "BLOCK", block)
        there = list(reader.lines(place))
        patch.setattr(reader, "BLOCK", max(block, 10))
        back = list(reader.lines(place, reverse=True))

    assert data == b"".join(line.data for line in there)
    assert there == back[::-1]
    assert all(data[line.start :].startswith(line.data) for line in there)


@pytest.mark.parametrize("reverse", [False, True])
def test_endless_line_takes_no_memory(tmp_path, reverse):
    """One line of 64 MiB does not fill the memory."""
    path = tmp_path / "2026-11-20.jsonl"
    path.write_bytes(numbered(1) + b"x" * LONGEST_LINE + b"\n" + numbered(2))
    with path.open("r+b") as file:
        file.seek(64 << 20, os.SEEK_END)
        file.write(b"\n" + numbered(3))

    tracemalloc.start()
    found = [line.seq for line in reader.lines(str(tmp_path), reverse=reverse)]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert {1, 2, 3} == {seq for seq in found if seq}
    assert peak < 16 * reader.BLOCK


def test_line_that_is_too_long_is_given_once(tmp_path):
    """A line too long to be ours is reported exactly once."""
    place = write(tmp_path, _20=numbered(1) + b"x" * (4 * reader.BLOCK) + b"\n" + numbered(2))

    found = list(reader.lines(place))

    assert [1, None, 2] == seqs(found)
    assert not found[1].whole


@pytest.mark.skipif(sys.platform == "win32", reason="a FIFO with a name is POSIX's")
def test_fifo_in_the_place_of_a_day_is_refused(tmp_path):
    """A FIFO in place of a day file is refused at once instead of waited for."""
    os.mkfifo(tmp_path / "2026-11-20.jsonl")

    with pytest.raises(UnsafeStateError, match="is not a regular file"):
        list(reader.forward(str(tmp_path), "2026-11-20.jsonl", 10))


@pytest.mark.skipif(sys.platform == "win32", reason="links need a right on Windows")
def test_link_in_the_place_of_a_day_is_refused(tmp_path):
    """A link in place of a day file is refused, so the reader reads only the log."""
    (tmp_path / "else").write_bytes(numbered(1))
    (tmp_path / "2026-11-20.jsonl").symlink_to("else")

    with pytest.raises(StateError, match=r"audit/2026-11-20\.jsonl cannot be read"):
        list(reader.lines(str(tmp_path)))


def test_order_of_the_chain_is_that_of_the_numbers(tmp_path):
    """Lines are ordered by number, so a set-back clock does not reorder the chain."""
    place = write(tmp_path, _21=numbered(1, 2, 5, 6), _22=numbered(3, 4, 7), _20=numbered(8))

    found = list(reader.in_sequence(place, reader.sizes(place)))

    assert [1, 2, 3, 4, 5, 6, 7, 8] == [line.seq for _, line in found]
    assert [1, 2, 1, 2, 3, 4, 3, 1] == [number for number, _ in found]


def test_moved_line_is_found_where_it_was_put(tmp_path):
    """A line moved within its file stays where it is, so that the move is visible."""
    place = write(tmp_path, _21=numbered(1, 3, 2), _22=numbered(4))

    assert [1, 3, 2, 4] == [line.seq for _, line in reader.in_sequence(place, reader.sizes(place))]


def test_only_what_was_there_is_read(tmp_path):
    """Lines appended during a read are left to the next read."""
    place = write(tmp_path, _21=numbered(1, 2))
    found = reader.sizes(place)
    write(tmp_path, _21=numbered(1, 2, 3))

    assert [1, 2] == [line.seq for _, line in reader.in_sequence(place, found)]


def test_follower_gives_what_is_new_and_whole(tmp_path):
    """A follower gives each complete line once, also over midnight and back."""
    place = write(tmp_path, _21=numbered(1))
    follower = reader.Follower(place, reader.sizes(place))

    assert [] == seqs(follower.look())
    write(tmp_path, _21=numbered(1, 2) + b'{"seq":3')
    assert [2] == seqs(follower.look())
    write(tmp_path, _21=numbered(1, 2, 3), _22=numbered(4))
    assert [3, 4] == seqs(follower.look())
    # The clock is set back over midnight, so the older file grows.
    write(tmp_path, _21=numbered(1, 2, 3, 5), _22=numbered(4, 6), _20=numbered(7))
    assert [5, 6, 7] == sorted(seqs(follower.look()))
    assert [] == seqs(follower.look())


def test_follower_gets_over_files_that_go_or_shrink(tmp_path):
    """Rotation and a removed torn tail neither stop a follower nor repeat a line."""
    place = write(tmp_path, _20=numbered(1), _21=numbered(2) + b'{"seq":3')
    follower = reader.Follower(place, reader.sizes(place))

    (tmp_path / "2026-11-20.jsonl").unlink()
    write(tmp_path, _21=numbered(2))
    assert [] == seqs(follower.look())
    write(tmp_path, _21=numbered(2, 3))
    assert [3] == seqs(follower.look())
