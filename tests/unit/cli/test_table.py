"""Columns, times and durations as people read them."""

from __future__ import annotations

import io
import sys

import pytest

from keylease.cli import table


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self):
        """Say so."""
        return True


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (-1, "0 s"),
        (0, "0 s"),
        (59, "59 s"),
        (60, "1 min"),
        (61, "1 min 1 s"),
        (900, "15 min"),
        (3600, "1 h"),
        (3601, "1 h 1 s"),
        (28799, "7 h 59 min"),
        (43200, "12 h"),
    ],
)
def test_duration(seconds, said):
    """Two units are enough, and what is left is never rounded up."""
    assert said == table.duration(seconds)


def test_time_is_utc():
    """Two people in two places read the same."""
    assert "2026-09-21T14:13:20Z" == table.time(1_790_000_000_999_999_999)


def test_time_is_read_as_it_is_written():
    """The age of a key is counted from what the record says."""
    assert 1_790_000_000 == table.read_time(table.time(1_790_000_000_999_999_999))


@pytest.mark.parametrize("text", ["", "yesterday", "2026-09-21", "2026-13-21T14:13:20Z", "\x1b"])
def test_time_that_was_edited_by_hand_is_none(text):
    """A record that makes no sense in one field is no traceback."""
    assert table.read_time(text) is None


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((0, "session"), "0 sessions"),
        ((1, "session"), "1 session"),
        ((2, "session"), "2 sessions"),
        ((1, "file is", "files are"), "1 file is"),
        ((2, "file is", "files are"), "2 files are"),
    ],
)
def test_number_of_things_is_said_as_people_say_it(words, said):
    """One session is not `1 sessions`."""
    assert said == table.counted(*words)


def test_wide_and_combining_characters_are_measured():
    """A Chinese host name does not shift the columns beside it."""
    assert [2, 4, 1, 5] == [table.columns(text) for text in ("ab", "例子", "e\u0301", "ＡＢc")]


def test_columns_stand_below_their_heads():
    """Each word begins where its head begins, wide characters counted as two."""
    assert ["HEAD  B", "例子  x", "a     y"] == table.lay_out(
        ("HEAD", "B"), [("例子", "x"), ("a", "y")]
    )


def test_narrow_terminal_gets_blocks_and_the_whole_names(monkeypatch):
    """On 30 columns nothing is cut: the end of a host's name is what tells it from another's."""
    monkeypatch.setattr(sys, "stdout", Terminal())
    monkeypatch.setenv("COLUMNS", "30")
    host = "https://" + "sub." * 10 + "example"

    lines = table.lay_out(("TARGET", "USER", "IDLE"), [(host, "ada", "15 min")])

    assert [host, "  USER  ada", "  IDLE  15 min"] == lines


def test_pipe_gets_one_line_for_each_session(monkeypatch):
    """`keylease status | grep` works however long the names are."""
    monkeypatch.setenv("COLUMNS", "30")

    lines = table.lay_out(("TARGET", "USER"), [("x" * 500, "ada")])

    assert 2 == len(lines)
