"""Files that commands write: whole, private, and never over another one unasked."""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path

import pytest

from keylease.cli.newfile import FileError, write_new
from keylease.errors import UsageError


def names(directory):
    """Return what is in a directory."""
    return [path.name for path in directory.iterdir()]


def test_file_is_whole_and_its_owners_alone(tmp_path):
    """Whatever the umask is."""
    path = tmp_path / "page.html"
    before = os.umask(0)
    try:
        write_new(str(path), [b"one ", b"two"], force=False)
    finally:
        os.umask(before)

    assert b"one two" == path.read_bytes()
    assert ["page.html"] == names(tmp_path)
    if sys.platform != "win32":
        assert 0o600 == stat.S_IMODE(path.stat().st_mode)


def test_file_that_is_there_stays(tmp_path):
    """A wrong name overwrites no file."""
    path = tmp_path / "page.html"
    path.write_bytes(b"dear")

    with pytest.raises(UsageError, match="already"):
        write_new(str(path), [b"new"], force=False)

    assert b"dear" == path.read_bytes()
    assert ["page.html"] == names(tmp_path)


def test_file_that_appears_meanwhile_stays_too(tmp_path):
    """The last look and the last step are one."""
    path = tmp_path / "page.html"

    def parts():
        yield b"new"
        path.write_bytes(b"dear")

    with pytest.raises(UsageError, match="already"):
        write_new(str(path), parts(), force=False)

    assert b"dear" == path.read_bytes()
    assert ["page.html"] == names(tmp_path)


def test_force_replaces_it_in_one_step(tmp_path):
    """And makes it private, whatever it was before."""
    path = tmp_path / "page.html"
    path.write_bytes(b"old")
    path.chmod(0o644)

    write_new(str(path), [b"new"], force=True)

    assert b"new" == path.read_bytes()
    if sys.platform != "win32":
        assert 0o600 == stat.S_IMODE(path.stat().st_mode)


@pytest.mark.skipif(sys.platform == "win32", reason="symbolic links need a privilege there")
def test_link_is_replaced_and_not_followed(tmp_path):
    """A planted link does not lead to an overwritten file."""
    (tmp_path / "other").write_bytes(b"dear")
    (tmp_path / "page.html").symlink_to("other")

    write_new(str(tmp_path / "page.html"), [b"new"], force=True)

    assert b"dear" == (tmp_path / "other").read_bytes()
    assert not (tmp_path / "page.html").is_symlink()


def test_what_fails_half_way_leaves_nothing(tmp_path):
    """Neither half a page nor a temporary file."""

    def parts():
        yield b"half"
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_new(str(tmp_path / "page.html"), parts(), force=False)

    assert [] == names(tmp_path)


def test_directory_that_is_not_there_is_told(tmp_path):
    """In one line, and not by a traceback."""
    with pytest.raises(FileError, match="cannot write the file: No such file"):
        write_new(str(tmp_path / "none" / "page.html"), [b""], force=False)


@pytest.mark.parametrize("force", [False, True])
def test_a_hyphen_makes_no_file(tmp_path, monkeypatch, force):
    """`-` means stdout, not a file of that name."""
    monkeypatch.chdir(tmp_path)

    with pytest.raises(UsageError, match="-"):
        write_new("-", [b"page"], force=force)
    assert [] == names(tmp_path)


def test_name_without_a_directory_is_in_the_present_one(tmp_path, monkeypatch):
    """As every program takes it."""
    monkeypatch.chdir(tmp_path)

    write_new("page.html", [b"x"], force=False)

    assert Path("page.html").exists()


def test_file_system_without_links_is_written_to(tmp_path, monkeypatch):
    """A stick with FAT takes a report, too."""

    def refuse(*_):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)

    write_new(str(tmp_path / "page.html"), [b"x"], force=False)

    assert ["page.html"] == names(tmp_path)
