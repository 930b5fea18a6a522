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
