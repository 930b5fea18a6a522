"""Renames that Python lacks, on the real system."""

from __future__ import annotations

import os
import sys

import pytest

from keylease.system import rename

POSIX = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such call")


@pytest.fixture
def directory(tmp_path):
    """Return a descriptor of a directory with two files."""
    (tmp_path / "one").write_text("first")
    (tmp_path / "other").write_text("second")
    fd = os.open(tmp_path, os.O_RDONLY)
    yield fd
    os.close(fd)


def content(place):
    """Return the content of each file."""
    return {file.name: file.read_text() for file in place.iterdir()}


@POSIX
def test_a_file_that_is_there_is_never_overwritten(tmp_path, directory):
    """The system itself refuses to overwrite, so no other program can interfere."""
    with pytest.raises(FileExistsError):
        rename.without_overwriting("one", "other", directory)
    assert {"one": "first", "other": "second"} == content(tmp_path)

    assert rename.without_overwriting("one", "new", directory)
    assert {"new": "first", "other": "second"} == content(tmp_path)


@POSIX
def test_two_files_are_exchanged(tmp_path, directory):
    """Exchanging two files leaves both names valid at every moment."""
    del directory
    assert rename.exchange(str(tmp_path / "one"), str(tmp_path / "other"))
    assert {"one": "second", "other": "first"} == content(tmp_path)


@POSIX
def test_a_refusal_is_no_missing_call(tmp_path, directory):
    """A refusal by the system is not taken for a missing call."""
    with pytest.raises(FileNotFoundError):
        rename.without_overwriting("none", "new", directory)
    with pytest.raises(FileNotFoundError):
        rename.exchange(str(tmp_path / "none"), str(tmp_path / "one"))


def test_where_there_is_no_such_call_nothing_is_touched(tmp_path, monkeypatch):
    """Without the call nothing changes, and the caller can choose another way."""
    monkeypatch.setattr(rename, "_NAME", "no_such_call")
    (tmp_path / "one").write_text("first")

    assert not rename.exchange(str(tmp_path / "one"), str(tmp_path / "other"))
    assert not rename.without_overwriting("one", "other", -1)
    assert {"one": "first"} == content(tmp_path)
