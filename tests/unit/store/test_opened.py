"""Sealed sessions: a session is found exactly where it was put, and nothing else is opened."""

import shutil
import sys

import pytest
from support.rig import EXAMPLE, PASSWORD, credential, text
from support.sealed import Place

from keylease.errors import StateError, UnsafeStateError, UsageError
from keylease.secrets.secret import Secret
from keylease.shares.base import ShareUnavailableError
from keylease.shares.policy import PolicyShares
from keylease.statefile import Directory
from keylease.store.buckets import LONGEST_SEALED
from keylease.system.clock import Deadline

POSIX = pytest.mark.skipif(sys.platform == "win32", reason="modes and links are those of POSIX")


OTHER = EXAMPLE._replace(host="other.example")


@pytest.fixture
def place(tmp_path):
    """Return an empty state directory with a store in it."""
    return Place(tmp_path / "keylease")


@pytest.fixture
def shared(tmp_path):
    """Return a store with volatile shares."""
    return Place(tmp_path / "keylease", shared=True)


def test_what_was_put_is_found_and_opened(place):
    """A session comes back with every fact, and with its credential on request."""
    session = place.put(EXAMPLE._replace(path="a.git"), expires=2_000_000_000, authtype="Basic")

    with place.sessions() as sessions:
        (found,) = sessions.of(EXAMPLE)
        assert session == found.session
        assert PASSWORD == text(sessions.open(found).secret)


def test_a_host_that_has_no_session_has_none(place):
    """A similar host and the same host in another namespace find nothing."""
    place.put()

    for changed in (
        {"host": "example.com.attacker.example"},
        {"host": "EXAMPLE.COM"},
        {"host": "example.com:443"},
        {"host": "example.com."},
        {"host": "ex\u0430mple.com"},
        {"protocol": "http"},
        {"namespace": "docker"},
    ):
        assert [] == place.find(EXAMPLE._replace(**changed)), changed
    assert 1 == len(place.find()), "the control: it is there"


def test_every_session_of_a_host_is_found_whatever_its_path(place):
    """A search that leaves path and user open finds every session of the host."""
    paths = {place.put(EXAMPLE._replace(path=path)).id for path in (None, "", "a", "b")}

    assert paths == {found.id for found in place.find(EXAMPLE._replace(path="c"))}


def test_all_sessions_are_listed(place):
    """The list has the sessions of all hosts."""
    expected = {place.put(target).id for target in (EXAMPLE, OTHER, OTHER)}

    with place.sessions() as sessions:
        assert expected == {found.id for found in sessions.all()}
    assert 3 == place.store().count()


def test_the_disk_shows_no_names(place):
    """The directory shows neither hosts nor users."""
    place.put()
    everything = b"".join(
        str(path).encode() + (path.read_bytes() if path.is_file() else b"")
        for path in place.path.rglob("*")
    )

    for needle in (b"example", b"alice", b"https", PASSWORD):
        assert needle not in everything
    assert b"KLSF" in everything, "the control: the sealed file was looked at"


def test_a_use_is_written_down(place):
    """The next process knows when the session was last used and released."""
    session = place.put()
    place.clock.advance(60)
    now = place.clock.now()
    with place.sessions() as sessions:
        sessions.roll(sessions.of(EXAMPLE)[0], now, released=True, seconds=900)
    (found,) = place.find()
    assert (now, now) == (found.session.used, found.session.released)

    place.clock.advance(60)
    later = place.clock.now()
    with place.sessions() as sessions:
        sessions.roll(sessions.of(EXAMPLE)[0], later, released=False, seconds=900)
    (found,) = place.find()
    assert (later, now) == (found.session.used, found.session.released)
    assert session.created == found.session.created


@pytest.mark.parametrize(
    "damage", ["gone", "torn", "empty", "flipped", "older header", "another's"]
)
def test_a_lost_touch_record_makes_a_session_older_never_younger(place, damage):
    """Without its touch record a session counts as last used at its creation."""
    other = place.put(OTHER)
    session = place.put()
    place.clock.advance(60)
    with place.sessions() as sessions:
        for target in (EXAMPLE, OTHER):
            sessions.roll(sessions.of(target)[0], place.clock.now(), released=True, seconds=900)
    path = place.file(session, ".touch")
    whole = path.read_bytes()
    if damage == "gone":
        path.unlink()
    elif damage == "older header":
        # The same session sealed again has another header, so its old record does not fit.
        place.file(session).unlink()
        with place.sessions() as sessions:
            sessions.put(session, credential(), seconds=900)
        path.write_bytes(whole)
    else:
        path.write_bytes(
            {
                "torn": whole[:80] + bytes(len(whole) - 80),
                "empty": b"",
                "flipped": whole[:40] + bytes([whole[40] ^ 1]) + whole[41:],
                "another's": place.file(other, ".touch").read_bytes(),
            }[damage]
        )

    (found,) = place.find()
    assert (session.created, None) == (found.session.used, found.session.released)
    (kept,) = place.find(OTHER)
    assert kept.session.used > session.created, "the control: the other one was used"


def test_a_touch_record_from_a_backup_makes_a_session_older(place):
    """A touch record from a backup shows an earlier use, so the session ends earlier."""
    session = place.put()
    old = place.file(session, ".touch").read_bytes()
    place.clock.advance(60)
    with place.sessions() as sessions:
        sessions.roll(sessions.of(EXAMPLE)[0], place.clock.now(), released=True, seconds=900)
    place.file(session, ".touch").write_bytes(old)

    (found,) = place.find()
    assert session.used == found.session.used


def test_removing_leaves_nothing(place):
    """Removing a session deletes its files and its empty bucket."""
    place.put()
    with place.sessions() as sessions:
        sessions.remove(sessions.of(EXAMPLE)[0], keep_touch=False)

    assert [] == place.find()
    assert ["echoes", "lock"] == sorted(path.name for path in (place.path / "sessions").iterdir())
    assert [] == list((place.path / "sessions" / "echoes").iterdir())


def test_a_touch_record_can_outlive_its_session(place):
    """An echo is recognised after the session's end, even under another vault key."""
    session = place.put()
    with place.sessions() as sessions:
        sessions.remove(sessions.of(EXAMPLE)[0], keep_touch=True)

    with place.sessions(key=b"w" * 32, generation=2) as sessions:
        (record,) = sessions.remembered()
        assert session.id == record.id
        assert record.fits(sessions.mark(EXAMPLE, "alice", Secret(PASSWORD)))
        assert not record.fits(sessions.mark(OTHER, "alice", Secret(PASSWORD)))
        assert session.id == sessions.recall(record).id
        sessions.tidy_echoes(lambda _: False, Deadline(1))
        assert [] == sessions.remembered()

    assert [] == place.names()


def test_a_file_that_somebody_put_beside_the_records_is_none(place):
    """A file whose name is not that of a record is ignored."""
    place.put()
    for name in (".DS_Store", "aa", "zz" * 32 + "." + "ab" * 16 + ".echo"):
        (place.path / "sessions" / "echoes" / name).touch(0o600)

    with place.sessions() as sessions:
        assert [] == sessions.remembered()


def test_the_touch_record_of_a_live_session_is_not_of_an_ended_one(place):
    """The echo of a live session is matched with that session, not with ended ones."""
    place.put()
    with place.sessions() as sessions:
        assert [] == [*sessions.remembered(), *sessions.left(EXAMPLE)]


@pytest.mark.parametrize(
    "misuse",
    [
        lambda sessions, found: sessions.open(found),
        lambda sessions, found: sessions.roll(
            found, found.header.created, released=True, seconds=1
        ),
    ],
)
def test_what_could_not_be_opened_is_neither_released_nor_rolled(place, misuse):
    """Using a session without judging it first is a mistake in the program and raises an error."""
    place.put()
    with place.sessions(key=b"w" * 32) as sessions:
        (found,) = sessions.all()
        with pytest.raises(ValueError, match="opened"):
            misuse(sessions, found)


def test_a_former_generation_is_found_but_not_opened(place):
    """The header tells the generation, so the reason of the refusal can be given."""
    place.put()
    with place.sessions(key=b"w" * 32, generation=2) as sessions:
        (found,) = sessions.all()

    assert found.session is None
    assert found.opened is None
    assert 1 == found.header.generation


def test_keys_that_were_wiped_are_not_used(place):
    """Sessions used after their block has ended seal nothing under a wiped key."""
    keys = place.keys()
    with keys, place.store().exclusive(keys) as sessions:
        pass

    with pytest.raises(ValueError, match="wiped"):
        sessions.put(place.session(), credential(), seconds=900)
    assert [] == place.names()


def test_a_share_is_half_of_the_key(shared):
    """Without its share a file cannot be opened, even with the vault key."""
    session = shared.put()
    (found,) = shared.find()
    assert 1 == found.header.share
    assert found.session is not None, "the control: with its share it opens"

    shared.shares.destroy(session.id)

    (found,) = shared.find()
    assert found.session is None
    assert found.header is not None


def test_another_sessions_share_does_not_open(shared):
    """The share of another session does not open a file."""
    one, other = shared.put(), shared.put(OTHER)
    held = shared.shares.held
    held[one.id], held[other.id] = held[other.id], held[one.id]

    assert [None, None] == [found.session for found in shared.find() + shared.find(OTHER)]


def test_a_share_lives_as_long_as_its_session(shared):
    """A share is made for the shorter limit, extended at each use, and destroyed at the end."""
    session = shared.put(idle_seconds=900, cap_seconds=600)
    with shared.sessions() as sessions:
        (found,) = sessions.of(EXAMPLE)
        sessions.roll(found, shared.clock.now(), released=True, seconds=42)
        sessions.remove(found, keep_touch=True)

    assert [(session.id, 600), (session.id, 42)] == shared.shares.given
    assert {} == shared.shares.held


def test_whether_the_platform_erases_is_told(place, shared):
    """`status` says `policy` or `erased` for each session, by the place of its share."""
    place.put()
    shared.put(OTHER)

    assert [False] == [found.session.erased for found in place.find()]
    assert [True] == [found.session.erased for found in shared.find(OTHER)]


def test_a_store_that_cannot_keep_a_share_is_passed_over(place):
    """If the kernel takes no share, the session is made without one, and says so."""
    place.shares.refusing = "the quota is used up"
    place.stores = (place.shares, PolicyShares())

    place.put()

    assert [False] == [found.session.erased for found in place.find()]


def test_a_share_that_cannot_be_asked_for_ends_nothing(shared):
    """In a container the kernel has other keys, so a session does not count as ended there."""
    session = shared.put()
    shared.stores = (PolicyShares(),)

    (found,) = shared.find()
    assert isinstance(found.unknown, ShareUnavailableError)
    assert found.session is None
    assert shared.file(session).exists()


def test_share_that_cannot_be_prolonged_is_said(shared):
    """A use that cannot extend the share is an error, not a success."""
    shared.put()
    (found,) = shared.find()
    shared.shares.refusing = "the quota is used up"

    with shared.sessions() as sessions, pytest.raises(ShareUnavailableError):
        sessions.roll(found, shared.clock.now(), released=True, seconds=900)


def test_session_that_was_not_made_leaves_no_share(shared):
    """If the file cannot be written, no share is left behind."""
    session = shared.put()
    with shared.sessions() as sessions, pytest.raises(StateError):
        sessions.put(session, credential(), seconds=900)

    assert {} == shared.shares.held


def test_a_credential_that_is_too_long_makes_no_share(shared):
    """The store itself refuses a credential that is too long, and leaves no share."""
    with pytest.raises(UsageError, match="too long"):
        shared.put(password=b"x" * LONGEST_SEALED)

    assert {} == shared.shares.held
    assert [] == shared.find()


@POSIX
def test_share_is_destroyed_though_the_file_stays(shared):
    """On a disk that accepts no change, an ended session still cannot be opened."""
    session = shared.put()
    (found,) = shared.find()
    file = shared.file(session)
    kept = file.read_bytes()
    file.unlink()
    file.mkdir()
    with shared.sessions() as sessions, pytest.raises(StateError):
        sessions.remove(found, keep_touch=False)
    file.rmdir()
    file.write_bytes(kept)
    file.chmod(0o600)

    assert {} == shared.shares.held
    assert [None] == [each.session for each in shared.find()]


def test_a_file_under_another_name_is_not_opened(place):
    """A session is found under its own id only, so it cannot be listed or ended as another."""
    session = place.put()
    path = place.file(session)
    path.rename(path.with_name("ab" * 16 + ".sealed"))

    (found,) = place.find()
    assert (None, None) == (found.session, found.header)


def test_a_file_in_another_hosts_bucket_is_not_opened(place):
    """A file moved to another host's bucket does not open there."""
    one, other = place.put(), place.put(OTHER)
    shutil.move(place.file(one), place.file(other).parent)

    assert [] == place.find()
    assert {one.id: None, other.id: other} == {
        found.id: found.session for found in place.find(OTHER)
    }


def test_a_file_in_both_buckets_is_a_session_in_its_own_only(place):
    """A copy in another bucket is not a second session."""
    one, other = place.put(), place.put(OTHER)
    shutil.copy2(place.file(one), place.file(other).parent)

    assert [one] == [found.session for found in place.find()]
    assert [None, other] == [found.session for found in place.find(OTHER)]


def test_two_files_exchanged_are_no_session_any_more(place):
    """Of two exchanged files neither opens."""
    one, other = place.put(username="one"), place.put(username="two")
    paths = [place.file(each) for each in (one, other)]
    contents = [path.read_bytes() for path in paths]
    for path, content in zip(paths, reversed(contents), strict=True):
        path.write_bytes(content)

    assert [None, None] == [found.session for found in place.find()]


def test_a_put_that_fails_leaves_no_session(place, monkeypatch):
    """A full disk gives an error and leaves no partial file."""
    for step in ("create", "rewrite"):

        def refuse(*_args, **_more):
            raise StateError("no space left on device")  # noqa: EM101, TRY003 - as the disk says it

        with monkeypatch.context() as patch:
            patch.setattr(Directory, step, refuse)
            with pytest.raises(StateError):
                place.put()
        assert [] == place.find()
        with place.sessions() as sessions:
            assert all(touch.released is None for touch in sessions.left(EXAMPLE))
    place.put()
    assert 1 == len(place.find())


@pytest.mark.parametrize("source", [lambda _: b"", lambda size: bytes(size - 1)])
def test_nothing_is_written_without_randomness(place, monkeypatch, source):
    """Without enough randomness nothing is sealed."""
    with monkeypatch.context() as patch:
        patch.setattr("keylease.secrets.secret.os.urandom", source)
        with place.sessions() as sessions, pytest.raises(StateError, match="random generator"):
            sessions.put(place.session(), credential(), seconds=900)

    assert [] == place.names()


@POSIX
def test_an_unsafe_file_is_refused_not_opened(place):
    """A file that other users could write is not read, and the advice names it."""
    place.file(place.put()).chmod(0o644)

    with pytest.raises(UnsafeStateError) as caught:
        place.find()
    assert "chmod 600" in caught.value.hint


def test_finding_costs_the_same_with_many_sessions_of_other_hosts(place, monkeypatch):
    """A lookup reads the files of one host only, however many others exist."""
    for count in range(20):
        place.put(EXAMPLE._replace(host=f"{count}.example"))
    place.put()
    read = []
    original = Directory.read
    monkeypatch.setattr(
        Directory,
        "read",
        lambda self, name, limit: read.append(name) or original(self, name, limit),
    )
    place.find()

    assert 2 == len(read)
