"""Which live session answers, and the error where none does."""

import pytest
from support.rig import EXAMPLE
from support.sealed import Place

from keylease.errors import SessionEndedError
from keylease.session.judge import Judged, Live
from keylease.session.select import Asked, absence, newest


@pytest.fixture
def place(tmp_path):
    """Return a maker of sessions, each younger than the one before."""
    return Place(tmp_path)


def make(place, path=None, **more):
    """Return a live session, one second younger than the last."""
    place.clock.advance(1)
    return Live(None, place.session(EXAMPLE._replace(path=path), **more))


def test_the_newest_of_those_that_answer_is_chosen(place):
    """A question without a user gets the newest login; one with a user gets that user's."""
    alice, bob = make(place), make(place, username="bob")

    assert bob == newest(Asked(EXAMPLE, None), [bob, alice])
    assert alice == newest(Asked(EXAMPLE, "alice"), [bob, alice])
    assert newest(Asked(EXAMPLE, "eve"), [bob, alice]) is None


def test_a_closer_path_comes_before_a_newer_session(place):
    """A question below a team's path gets the team's session, even if another is newer."""
    team, whole = make(place, "team"), make(place)

    assert team == newest(Asked(EXAMPLE._replace(path="team/a"), closest=True), [team, whole])
    assert whole == newest(Asked(EXAMPLE._replace(path="team2/a"), closest=True), [team, whole])


def test_what_a_peer_cannot_use_is_not_chosen(place):
    """A value for a header is not chosen for a peer that would use it as a password."""
    plain, encoded = make(place), make(place, authtype="Bearer")

    assert plain == newest(Asked(EXAMPLE, None, preencoded=False), [plain, encoded])
    assert encoded == newest(Asked(EXAMPLE, None, preencoded=True), [plain, encoded]), "the control"


def test_only_what_is_like_the_one_that_was_shown_is_chosen(place):
    """After a person has chosen one of several sessions, no other takes its place."""
    shown, other = make(place, "a"), make(place, "b")

    assert shown == newest(Asked(EXAMPLE, None, like=shown.session), [shown, other])
    assert newest(Asked(EXAMPLE, None, like=shown.session), [other]) is None


def test_an_end_that_was_just_found_is_told(place):
    """The error says why a session has just ended, but tells nothing about other sessions."""
    _, session = make(place)
    judged = Judged([], [(session, "idle")], [], [])

    ended = absence(Asked(EXAMPLE, "alice"), judged)
    other = absence(Asked(EXAMPLE, "bob"), judged)

    assert isinstance(ended, SessionEndedError)
    assert "idle" == ended.reason
    assert "the session for https://example.com has ended: idle" == str(ended)
    assert not isinstance(other, SessionEndedError)
    assert "there is no session for https://example.com as bob" == str(other)


def test_a_file_that_nobody_could_open_may_have_been_the_one():
    """A session that was tampered with is reported as ended, not as a plain miss."""
    ended = absence(Asked(EXAMPLE, None), Judged([], [(None, "tampered")], [], []))

    assert isinstance(ended, SessionEndedError)
    assert "tampered" == ended.reason
