"""The feed gives every line in order, starting where the last consumer stopped."""

from __future__ import annotations

import pytest
from support.rig import EXAMPLE, Rig, bring

from keylease.audit.line import digest
from keylease.audit.read.feed import Lines, Position, Records, position_of, read_position
from keylease.errors import StateError
from keylease.model import NANOSECONDS

DAY = 86_400


@pytest.fixture
def rig(tmp_path):
    """Return a service that has written three days of log, with the wall clock set back once."""
    rig = Rig(tmp_path / "keylease")
    start = rig.clock.now().wall_ns // NANOSECONDS
    for day in (0, 1, 0, 2):
        rig.clock.advance(1)
        rig.clock.set_wall(start + day * DAY + 5)
        rig.again().session.store(bring(EXAMPLE._replace(host=f"h{day}")))
    return rig


def lines(rig, *arguments):
    """Return a feed of lines."""
    return Lines(str(rig.path / "audit"), *arguments)


def numbers(found):
    """Return the numbers of lines."""
    return [line.seq for line in found]


def test_lines_come_in_the_order_of_the_chain(rig):
    """Lines come in chain order, although a clock set back left some in an older file."""
    count = len(rig.lines())

    assert [*range(1, count + 1)] == numbers(lines(rig).there())


@pytest.mark.parametrize("seq", range(1, 6))
def test_a_consumer_goes_on_after_its_place(rig, seq):
    """A consumer that resumes at its place gets each line once."""
    everything = list(lines(rig).there())
    place = position_of(everything[seq - 1])

    assert numbers(everything[seq:]) == numbers(lines(rig, place).there())


def test_place_survives_being_written_down(rig):
    """A place read from a cursor file is the place that was written."""
    place = position_of(next(lines(rig).there()))

    assert place == read_position(place.pack())


@pytest.mark.parametrize("data", [b"", b"7", b"7 \n", b"0 " + b"a" * 64 + b"\n", b"\xff" * 128])
def test_anything_else_is_no_place(data):
    """A file that is no cursor is refused and not overwritten."""
    with pytest.raises(StateError, match="cursor file is not valid"):
        read_position(data)


def test_a_line_that_was_exchanged_is_noticed(rig):
    """A consumer notices when its last line was replaced, as in an older copy of the log."""
    place = Position(2, "0" * 64)

    with pytest.raises(StateError, match="line 2 is not the one that was exported"):
        list(lines(rig, place).there())


def test_a_log_that_ends_before_the_place_is_noticed(rig):
    """A log shorter than the consumer's place is reported, so no new line is missed."""
    with pytest.raises(StateError, match="ends before line 99"):
        list(lines(rig, Position(99)).there())


def test_lines_that_were_removed_meanwhile_are_counted(rig):
    """A shipper that was off for a hundred days learns how many lines it missed."""
    first, *_, last = sorted((rig.path / "audit").glob("*.jsonl"))
    first.unlink()
    taken = lines(rig, Position(1))

    found = numbers(taken.there())

    assert last.exists()
    assert found[0] - 2 == taken.missing > 0


def test_only_the_time_that_is_asked_for(rig):
    """Only lines from the start of a day until before its end are given."""
    start = rig.clock.now().wall_ns - 5 * NANOSECONDS - DAY * NANOSECONDS

    found = list(lines(rig, None, start, start + 60 * NANOSECONDS).there())

    assert 1 == len({line.file for line in found})
    assert len(found) < len(rig.lines())
    assert found[0].file.encode()[:10] in found[0].data


def test_new_lines_follow_what_was_there(rig):
    """New lines follow the old ones, and an unfinished line waits until it is complete."""
    taken = lines(rig)
    before = numbers(taken.there())
    look = taken.follow()
    assert [] == list(look())
    rig.again().session.store(bring(EXAMPLE._replace(host="new")))

    new = list(look())

    assert [before[-1] + 1] == numbers(new)
    assert [] == list(look())


def test_a_half_written_line_is_given_when_it_is_whole(rig):
    """A half-written line is given once it is complete."""
    path = max((rig.path / "audit").glob("*.jsonl"))
    data = path.read_bytes()
    path.write_bytes(data[:-20])
    taken = lines(rig)
    before = numbers(taken.there())
    look = taken.follow()
    assert [] == list(look())

    path.write_bytes(data)

    assert [before[-1] + 1] == numbers(look())


def test_records_leave_out_what_is_no_line_and_count_it(rig):
    """Rubbish in a file is counted and skipped without an error."""
    path = min((rig.path / "audit").glob("*.jsonl"))
    path.write_bytes(b"rubbish\n" + path.read_bytes())
    records = Records(lines(rig).there())

    assert len(rig_lines(rig)) == len(list(records))
    assert 1 == records.unreadable


def rig_lines(rig):
    """Return every line that keylease wrote."""
    files = (rig.path / "audit").glob("*.jsonl")
    return [line for path in files for line in path.read_bytes().splitlines() if line != b"rubbish"]


def test_digest_of_a_place_is_what_the_next_line_links_to(rig):
    """A place's digest is what the next line links to, so consumers can check the chain."""
    first, second, *_ = lines(rig).there()

    assert digest(first.data) == position_of(first).digest
    assert f'"prev":"{position_of(first).digest}"'.encode() in second.data
