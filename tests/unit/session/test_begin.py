"""The facts of a new session."""

import pytest
from support.rig import EXAMPLE, credential
from support.sealed import Place

from keylease.model import Limits, Settings, Terms
from keylease.session.begin import begun, renamed, replaces, whole_seconds
from keylease.session.judge import Live


@pytest.fixture
def place(tmp_path):
    """Return the maker of sessions, and a clock."""
    return Place(tmp_path)


def test_a_session_begins_now_with_the_terms_of_its_target(place):
    """A session begins now, with its credential's facts and within the terms of its target."""
    settings = Settings(limits=Limits(900, 28_800), general=Terms(idle_seconds=60))
    now = place.clock.now()
    held = credential(expires=2_000_000_000, authtype="Basic")

    session = begun(settings, EXAMPLE, held, 7, now)

    assert (EXAMPLE, "alice", "Basic", 2_000_000_000, 7) == (
        session.target,
        session.username,
        session.authtype,
        session.expires,
        session.generation,
    )
    assert (now, now, None) == (session.created, session.used, session.released)
    assert (60, 28_800) == (session.idle_seconds, session.cap_seconds)


def test_no_two_sessions_have_the_same_id(place):
    """An id is 16 random bytes; sealing a session again changes its id and nothing else."""
    one, other = (begun(Settings(), EXAMPLE, credential(), 1, place.clock.now()) for _ in range(2))
    again = renamed(one)

    assert 3 == len({one.id, other.id, again.id})
    assert {32} == {len(each.id) for each in (one, other, again)}
    assert one == again._replace(id=one.id)


@pytest.mark.parametrize(
    ("changed", "username", "expected"),
    [({}, "alice", True), ({}, "bob", False), ({"path": "a"}, "alice", False)],
)
def test_a_session_takes_the_place_of_the_same_user_and_target_only(
    place, changed, username, expected
):
    """A login for one path or user does not replace that of another."""
    live = [Live(None, place.session())]

    found = replaces(live, EXAMPLE._replace(**changed), credential(username=username))

    assert expected is found


@pytest.mark.parametrize(("nanoseconds", "expected"), [(0, 900), (1, 900), (899_999_999_999, 1)])
def test_a_share_lives_not_a_second_less_than_its_session(place, nanoseconds, expected):
    """A platform that counts whole seconds rounds up, so its share does not end early."""
    session = place.session()
    now = session.used._replace(
        wall_ns=session.used.wall_ns + nanoseconds, boot_ns=session.used.boot_ns + nanoseconds
    )

    assert expected == whole_seconds(session, now)
