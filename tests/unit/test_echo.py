"""A credential that comes back from a tool that was given it starts nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.rig import EXAMPLE, PASSWORD, Rig, bring, credential, get_password

from keylease.errors import (
    SessionEndedError,
    SessionNotFoundError,
)
from keylease.model import IDLE_SECONDS, Limits
from keylease.secret import Secret

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    """Return a service on an empty state directory."""
    return Rig(tmp_path / "keylease")


def test_echo_of_a_live_session_changes_nothing(rig: Rig) -> None:
    """What git stores after a successful request leaves session, timeout and cap as they were."""
    rig.session.store(bring())
    reply = rig.session.get(EXAMPLE)
    files = [path.read_bytes() for path in rig.sealed() + rig.touches()]
    rig.clock.advance(1)

    held = rig.again().session.store(bring())

    assert held is not None
    assert reply.session.id == held.id
    assert files == [path.read_bytes() for path in rig.sealed() + rig.touches()]
    assert (("session.confirmed", None), reply.session.id) == (
        rig.events()[-1],
        rig.lines()[-1]["session"],
    )


def test_echo_without_path_is_one_though_the_session_has_a_path(rig: Rig) -> None:
    """A session for one path answers git's path-less question, and the echo makes no wider one."""
    rig.session.create(EXAMPLE._replace(path="a.git"), credential())
    rig.session.get(EXAMPLE)

    rig.session.store(bring())

    assert len(rig.sealed()) == 1
    assert ("session.confirmed", None) == rig.events()[-1]


@pytest.mark.parametrize("end", ["idle", "logout", "logout of all", "erased"])
def test_echo_does_not_revive_an_ended_session(rig: Rig, end: str) -> None:
    """A slow request that outlives its session does not bring the session back."""
    rig = rig.again(limits=Limits(idle_seconds=60))
    rig.session.store(bring())
    rig.session.get(EXAMPLE)
    if end == "idle":
        rig.clock.advance(61)
        with pytest.raises(SessionEndedError):
            rig.session.get(EXAMPLE)
    elif end == "logout":
        rig.session.terminate(EXAMPLE)
    elif end == "logout of all":
        rig.session.terminate_all()
    else:
        rig.session.erase(EXAMPLE)

    assert rig.again().session.store(bring()) is None

    with pytest.raises(SessionNotFoundError):
        get_password(rig)
    assert ("session.confirmed", None) in rig.events()


def test_same_password_after_the_echo_window_is_a_new_session(rig: Rig) -> None:
    """Two minutes after the last release, who brings the password has typed it."""
    rig.session.store(bring())
    rig.session.get(EXAMPLE)
    rig.session.terminate(EXAMPLE)
    rig.clock.advance(121)

    assert rig.session.store(bring()) is not None

    assert get_password(rig) == PASSWORD
    assert len(rig.touches()) == 1


def test_never_released_session_leaves_no_echo(rig: Rig) -> None:
    """After a logout of what no tool was given, the same password can be stored at once."""
    rig.session.store(bring())
    rig.session.terminate(EXAMPLE)

    assert rig.session.store(bring()) is not None


def test_session_id_tells_an_echo_after_any_time(rig: Rig) -> None:
    """A git that sends the session id back is recognised long after the session is gone."""
    rig.session.store(bring())
    session_id = rig.session.get(EXAMPLE).session.id
    rig.clock.advance(IDLE_SECONDS * 2)

    assert rig.session.store(bring(echoes=(session_id,))) is None

    assert rig.sealed() == []


def test_session_id_with_another_secret_is_no_echo(rig: Rig) -> None:
    """A new password beside the id of an old session is a new credential."""
    rig.session.store(bring(password=b"old"))
    session_id = rig.session.get(EXAMPLE).session.id

    assert rig.session.store(bring(password=b"new", echoes=(session_id,))) is not None

    assert get_password(rig) == b"new"


def test_new_refresh_token_is_no_echo(rig: Rig) -> None:
    """An unchanged password with a new refresh token is a new grant; one without any is an echo."""
    old, new = (("oauth_refresh_token", Secret(token)) for token in (b"old", b"new"))
    rig.session.store(bring(extra=(old,)))
    held = rig.session.get(EXAMPLE).session.id
    again = (("oauth_refresh_token", Secret(b"old")),)

    stored = [rig.session.store(bring(extra=extra)) for extra in ((), again, (new,))]

    assert [True, True, False] == [each is not None and each.id == held for each in stored]


def test_a_peer_that_never_echoes_logs_in_again(rig: Rig) -> None:
    """What cargo brings after a logout is a login, though it was given that token a moment ago."""
    rig.session.store(bring())
    rig.session.get(EXAMPLE)
    rig.session.terminate(EXAMPLE)
    assert rig.session.store(bring()) is None, "the control: it would be an echo"

    assert rig.session.store(bring(fresh=True)) is not None

    assert PASSWORD == get_password(rig)
