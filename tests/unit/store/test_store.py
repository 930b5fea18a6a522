"""The store: one lock for all sessions, and ending them without a key."""

import sys

import pytest
from support.rig import EXAMPLE
from support.sealed import Place

from keylease.errors import LockTimeoutError
from keylease.statefile.descriptor import TEMPORARY
from keylease.store.buckets import LONGEST_SEALED

POSIX = pytest.mark.skipif(sys.platform == "win32", reason="modes and links are those of POSIX")
OTHER = EXAMPLE._replace(host="other.example")


def nothing(_touch):
    """Return that no echo can come."""
    return False


@pytest.fixture
def place(tmp_path):
    """Return an empty state directory with a store in it."""
    return Place(tmp_path / "keylease")


def test_destroying_needs_no_key(place):
    """Sessions can be ended without a key: after a revocation and with a locked keychain."""
    ids = [place.put(target).id for target in (EXAMPLE, OTHER)]
    announced = []

    def announce(over):
        announced.extend((session, place.names()) for session in sorted(over))

    assert sorted(ids) == sorted(place.store().destroy(lambda _: True, announce, nothing).sessions)
    assert [(session, []) for session in sorted(ids)] == announced, "told after it is done"
    assert [] == place.names()


def test_destroying_is_by_the_header(place):
    """Destroying by header keeps the sessions of the current boot and generation."""
    kept = place.put()
    place.put(OTHER, created=place.clock.now()._replace(boot="ff" * 16))
    store = place.store()

    store.destroy(
        lambda header: header is None or header.created.boot == "ff" * 16, lambda _: None, nothing
    )

    assert [f"{kept.id}.sealed", f"{kept.id}.touch"] == place.names()


def test_destroying_takes_what_is_no_sealed_file(place):
    """A file without a valid header is removed, too."""
    session = place.put()
    place.file(session).write_bytes(b"garbage")
    judged = []

    place.store().destroy(lambda header: judged.append(header) or True, lambda _: None, nothing)

    assert [None] == judged
    assert [] == place.names()


def test_destroying_can_leave_the_touch_records_for_an_echo(place):
    """`logout --all` can keep the touch records, so that an echo is still recognised."""
    session = place.put()
    place.put(username="bob")
    with place.sessions() as sessions:
        sessions.roll(sessions.of(EXAMPLE)[0], place.clock.now(), released=True, seconds=900)
    place.store().destroy(lambda _: True, lambda _: None, lambda touch: touch.released)
    with place.sessions() as sessions:
        assert [session.id] == [record.id for record in sessions.remembered()]

    place.store().tidy(nothing)
    assert [] == place.names(), "and when no echo can come any more, they go"


@POSIX
@pytest.mark.parametrize("way", ["mode", "link", "directory", "symbolic link", "too long"])
def test_one_bad_file_does_not_keep_the_others_alive(place, tmp_path, way):
    """One file that cannot be removed does not stop the others, and is reported."""
    sessions = [place.put(EXAMPLE._replace(host=f"{count}.example")) for count in range(5)]
    place.put(sessions[2].target, username="zoe")  # in the same directory, after the bad one
    path = place.file(sessions[2])
    if way == "mode":
        path.chmod(0o644)
    elif way == "link":
        (tmp_path / "second").hardlink_to(path)
    elif way == "directory":
        path.unlink()
        path.mkdir(0o700)
    elif way == "symbolic link":
        path.rename(tmp_path / "elsewhere")
        path.symlink_to(tmp_path / "elsewhere")
    else:
        path.write_bytes(bytes(LONGEST_SEALED + 1))

    if way == "directory":
        destroyed = place.store().destroy(lambda _: True, lambda _: None, nothing)
        (failure,) = destroyed.failures
        assert f"{sessions[2].id}.sealed cannot be removed" in str(failure)
        assert 5 == len(destroyed.sessions)
        assert {sessions[2].id} == {name.partition(".")[0] for name in place.names()}
    else:
        destroyed = place.store().destroy(lambda _: True, lambda _: None, nothing)
        assert (6, []) == (len(destroyed.sessions), destroyed.failures)
        assert [] == place.names()
    if way in {"link", "symbolic link"}:
        elsewhere = [each for each in tmp_path.iterdir() if each != place.path]
        assert 1 == len(elsewhere), "what a link points to is left alone"


def test_what_killed_writers_left_is_swept(place, monkeypatch):
    """An unfinished file that is a minute old is deleted with its bucket."""
    session = place.put()
    orphan = place.file(session).with_name(TEMPORARY + "0123")
    orphan.write_bytes(b"half a file")
    orphan.chmod(0o600)
    for module in ("store.echoes", "store.opened"):
        monkeypatch.setattr(f"keylease.{module}.ORPHAN_SECONDS", -1.0)
    place.put()
    assert not orphan.exists()

    orphan.write_bytes(b"half a file")
    place.store().destroy(lambda _: True, lambda _: None, nothing)
    assert [] == place.names()


@pytest.mark.parametrize("name", [".DS_Store", "desktop.ini", "x" * 32, "AB" * 16, "ab" * 15])
def test_what_other_programs_put_beside_the_buckets_is_left_alone(place, name):
    """A foreign file, such as a file manager's, blocks neither `status` nor `logout --all`."""
    place.put()
    stray = place.path / "sessions" / name
    stray.write_bytes(b"anything")
    with place.sessions() as sessions:
        assert 1 == len(sessions.all())
    place.store().destroy(lambda _: True, lambda _: None, nothing)

    assert b"anything" == stray.read_bytes()
    assert 0 == place.store().count()


def test_who_does_not_want_to_wait_does_not(place):
    """A cleanup does not wait for a lock that another process holds."""
    patient = place.store(seconds=3600)
    with place.sessions(), pytest.raises(LockTimeoutError), place.keys() as keys:
        patient.exclusive(keys, at_once=True).__enter__()

    with place.keys() as keys, patient.exclusive(keys, at_once=True) as sessions:
        assert not sessions.grown, "the control: it is free"


def test_a_store_that_waits_too_long_refuses(place):
    """A stopped process that holds the lock does not hang git."""
    with place.sessions(), pytest.raises(LockTimeoutError):
        place.store(0.05).count()
