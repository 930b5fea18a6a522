"""Login and logout, and their caller."""

from __future__ import annotations

import pytest
from support.rig import EXAMPLE, Rig, credential, text

from keylease.errors import (
    AuditError,
    SessionEndedError,
    SessionNotFoundError,
)
from keylease.session.auth import AuthenticationService


@pytest.fixture
def rig(tmp_path):
    """Return a separate state directory."""
    return Rig(tmp_path / "state")


@pytest.fixture
def auth(rig):
    """Return the login service on it."""
    return AuthenticationService(rig.begin)


def test_login_starts_a_session_that_answers(rig, auth):
    """A tool gets the credential of the login."""
    session = auth.login(EXAMPLE, credential(b"secret", "ada"))

    assert ("ada", EXAMPLE) == (session.username, session.target)
    assert b"secret" == text(rig.session.get(EXAMPLE).credential.secret)


def test_login_is_on_record_after_its_session(rig, auth):
    """The line about the session comes before that of the login: no session lacks its line."""
    session = auth.login(EXAMPLE, credential(username="ada"))

    *_, created, login = rig.lines()
    assert ("session.created", "login") == (created["event"], login["event"])
    assert (session.id, session.id) == (created["session"], login["session"])
    assert ("ada", "example.com") == (login["username"], login["target"]["host"])


def test_login_fails_without_an_audit_log(rig, auth):
    """Without a working audit log no session starts."""
    auth.login(EXAMPLE, credential(b"old"))
    (rig.path / "audit").rename(rig.path / "away")
    (rig.path / "audit").write_text("in the way")

    with pytest.raises(AuditError):
        auth.login(EXAMPLE, credential(b"new"))

    assert 1 == len(rig.sealed())


def test_logout_returns_what_it_ended(rig, auth):
    """Logout returns the sessions that it ended."""
    ada = auth.login(EXAMPLE, credential(username="ada"))
    bob = auth.login(EXAMPLE, credential(username="bob"))

    assert [ada.id] == [session.id for session in auth.logout(EXAMPLE, "ada")]
    assert [bob.id] == [session.id for session in auth.logout(EXAMPLE)]
    assert [] == auth.logout(EXAMPLE)
    assert [("logout", None), ("logout", None), ("logout", "not_found")] == [
        event for event in rig.events() if event[0] == "logout"
    ]


def test_logout_all_works_with_a_locked_keychain(rig, auth):
    """Ending all sessions needs no key."""
    session = auth.login(EXAMPLE, credential())
    rig.keystore.lock()

    assert [session.id] == auth.logout_all()
    assert [] == auth.logout_all()
    assert [] == rig.sealed()


def test_current_is_the_live_session_and_is_not_used(rig, auth):
    """Asking for the current session does not extend it."""
    started = auth.login(EXAMPLE, credential())
    rig.clock.advance(899)

    assert started.id == auth.current(EXAMPLE).id
    rig.clock.advance(1)
    with pytest.raises(SessionEndedError, match="idle"):
        auth.current(EXAMPLE)


def test_current_of_nothing_is_an_error(auth):
    """Asking for the current session where there is none is an error."""
    with pytest.raises(SessionNotFoundError):
        auth.current(EXAMPLE)


# As a click command does.
