"""A file takes the place of another: whole, and only of the one that was read."""

from __future__ import annotations

import errno
import os
import stat
import sys
from pathlib import Path

import pytest

from keylease.cli import replacement
from keylease.cli.replacement import ChangedError, abandoned, replace, sweep

if sys.platform == "win32":
    pytest.skip("the modes and locks are those of other systems", allow_module_level=True)


@pytest.fixture
def file(tmp_path):
    """Return a file that is to be replaced."""
    path = tmp_path / "config"
    path.write_bytes(b"old")
    return path


def names(file):
    """Return what is in the directory of the file."""
    return sorted(path.name for path in file.parent.iterdir())


def log_in(file):
    """Write the file as docker does at a login: a new one, renamed over it."""
    login = file.with_name("of docker")
    login.write_bytes(b"login")
    login.rename(file)


@pytest.fixture(params=[False, True], ids=["alone", "locked"])
def locked(request):
    """Return whether the tool has a lock of its own."""
    return request.param


def test_the_new_file_takes_the_mode_of_the_old(file, locked):
    """And nothing is left beside it."""
    file.chmod(0o640)

    replace(str(file), b"old", b"new", locked=locked)

    assert b"new" == file.read_bytes()
    assert 0o640 == stat.S_IMODE(file.stat().st_mode)
    assert ["config"] == names(file)


@pytest.mark.parametrize("before", [b"old", None])
@pytest.mark.parametrize("after", [b"new", None])
def test_a_file_is_made_or_removed(file, locked, before, after):
    """A new one is its owner's alone."""
    if before is None:
        file.unlink()

    replace(str(file), before, after, locked=locked and (before or after) is not None)

    assert after == (file.read_bytes() if file.exists() else None)
    if before is None and after is not None:
        assert 0o600 == stat.S_IMODE(file.stat().st_mode)


@pytest.mark.parametrize("call", ["fsync", "flock", "link", "replace", "unlink"])
@pytest.mark.parametrize(
    ("before", "after"), [(b"old", b"new"), (b"old", None), (None, b"new")], ids=str
)
def test_what_another_program_wrote_meanwhile_stays(file, monkeypatch, call, before, after):
    """Whatever step it comes before: the login of docker is there, and is not overwritten."""
    if before is None:
        file.unlink()
    module = replacement.fcntl if call == "flock" else os
    step, fired = getattr(module, call), []

    def write_first(*words, **options):
        monkeypatch.setattr(module, call, step)
        log_in(file)
        fired.append(call)
        return step(*words, **options)

    monkeypatch.setattr(module, call, write_first)
    changed = None
    try:
        replace(str(file), before, after)
    except ChangedError as error:
        changed = error

    assert (b"login" if fired else after) == (file.read_bytes() if file.exists() else None)
    if call in {"fsync", "flock"}:
        assert [call] == fired
        assert changed is not None
    assert [] == [name for name in names(file) if name.endswith(".keylease")]


def test_what_was_written_right_before_the_exchange_is_put_back(file, monkeypatch):
    """The last look is behind the exchange, so there is no moment that is too late."""
    exchange = replacement.exchange

    def write_first(one, other):
        monkeypatch.setattr(replacement, "exchange", exchange)
        log_in(file)
        return exchange(one, other)

    monkeypatch.setattr(replacement, "exchange", write_first)

    with pytest.raises(ChangedError, match="was changed by another program"):
        replace(str(file), b"old", b"new")

    assert b"login" == file.read_bytes()
    assert ["config"] == names(file)


def test_where_files_cannot_be_exchanged_the_last_look_is_before_the_rename(file, monkeypatch):
    """Some file systems know no exchange."""
    monkeypatch.setattr(replacement, "exchange", lambda *_: False)

    with pytest.raises(ChangedError):
        replace(str(file), b"other", b"new")
    replace(str(file), b"old", b"new")

    assert b"new" == file.read_bytes()
    assert ["config"] == names(file)


@pytest.mark.parametrize("before", [b"old", None])
def test_where_there_are_no_links_it_works_as_well(file, locked, before, monkeypatch):
    """FAT and some network file systems have none."""

    def refuse(*_):
        raise OSError(errno.EPERM, "no links here")

    monkeypatch.setattr(os, "link", refuse)
    if before is None:
        with pytest.raises(ChangedError):
            replace(str(file), None, b"new", locked=locked)
        file.unlink()

    replace(str(file), before, b"new", locked=locked)

    assert b"new" == file.read_bytes()
    assert ["config"] == names(file)


def test_the_lock_of_a_running_program_is_respected(file):
    """git is writing just now."""
    file.with_name("config.lock").write_bytes(b"git's")

    with pytest.raises(ChangedError, match=r"is locked .*: .*config\.lock exists"):
        replace(str(file), b"old", b"new", locked=True)

    assert b"old" == file.read_bytes()
    assert ["config", "config.lock"] == names(file)


def test_a_system_that_refuses_leaves_the_old_file(file, monkeypatch, locked):
    """The disk is full."""

    def refuse(_):
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(os, "fsync", refuse)

    with pytest.raises(OSError, match="full"):
        replace(str(file), b"old", b"new", locked=locked)

    assert b"old" == file.read_bytes()
    assert ["config"] == names(file)


def test_a_temporary_of_a_killed_writer_is_swept_with_its_lock(file):
    """The lock is a second name of the temporary. One that is not is another program's."""
    left = file.with_name(".config.0123456789abcdef.keylease")
    left.write_bytes(b"plaintext")
    older = file.with_name("config.4711.keylease")
    older.write_bytes(b"plaintext")
    os.link(left, file.with_name("config.lock"))

    assert [str(left), str(older)] == abandoned(str(file))
    assert 2 == sweep(str(file))

    assert ["config"] == names(file)


def test_a_temporary_of_a_running_writer_stays(file):
    """It is locked as long as the writer lives."""
    with replacement.temporary_for(str(file), [b"x"], 0o600) as temporary:
        file.with_name("config.lock").touch()
        assert [] == abandoned(str(file))
        assert 0 == sweep(str(file))
        assert Path(temporary).exists()

    assert ["config", "config.lock"] == names(file)


def test_names_of_others_stay(file):
    """Only what has such a name is ours."""
    for name in ("x.keylease", ".other.0123456789abcdef.keylease", "config.keylease", "config.x"):
        file.with_name(name).touch()

    assert [] == abandoned(str(file))


def test_a_directory_that_is_not_there_has_nothing_to_sweep(tmp_path):
    """The tool was removed with all of its files."""
    assert [] == abandoned(str(tmp_path / "gone" / "config"))
