"""Which session files are live sessions, by their times, seals and shares."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.rig import EXAMPLE, PASSWORD, Rig, bring, get_password, text
from support.shares import MemoryShares

from keylease.errors import (
    SessionEndedError,
    SessionNotFoundError,
)
from keylease.model import IDLE_SECONDS, Limits
from keylease.shares.base import ShareUnavailableError
from keylease.shares.policy import PolicyShares
from keylease.store.opened import Sessions
from keylease.testing import FrozenClock

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    """Return a service on an empty state directory."""
    return Rig(tmp_path / "keylease")


def test_clock_set_back_does_not_revive(rig: Rig) -> None:
    """Setting the wall clock back does not revive an ended session."""
    rig.session.store(bring())
    rig.clock.advance(IDLE_SECONDS + 10)
    rig.clock.set_wall(1_790_000_001)

    with pytest.raises(SessionEndedError, match="idle"):
        get_password(rig)


def test_clock_before_creation_is_the_reason_given(rig: Rig) -> None:
    """A wall clock set to the epoch ends the session, and the log names the clock as the reason."""
    rig.session.store(bring())
    rig.clock.set_wall(1)

    with pytest.raises(SessionEndedError, match="clock"):
        get_password(rig)
    assert ("session.ended", "clock") in rig.events()


def test_reboot_ends_every_session(rig: Rig) -> None:
    """A reboot ends every session, even if the keychain still has the key."""
    rig.session.store(bring())
    rig.clock.reboot()

    with pytest.raises(SessionEndedError, match="reboot"):
        get_password(rig)
    assert rig.sealed() == []
    assert ("session.ended", "reboot") in rig.events()


def test_tampered_file_is_ended_with_that_reason(rig: Rig) -> None:
    """A changed sealed file is removed, and the log says that it was tampered with."""
    rig.session.store(bring())
    (sealed,) = rig.sealed()
    changed = bytearray(sealed.read_bytes())
    changed[-1] ^= 1
    sealed.write_bytes(changed)

    with pytest.raises(SessionEndedError, match="tampered"):
        get_password(rig)
    assert not sealed.exists()


def test_lost_touch_record_makes_a_session_older(rig: Rig) -> None:
    """Deleting or forging the record of the last use gives a session no extra time."""
    rig.session.store(bring())
    rig.clock.advance(600)
    get_password(rig)
    (touch,) = rig.touches()
    forged = bytearray(touch.read_bytes())
    forged[60] ^= 1
    touch.write_bytes(forged)
    rig.clock.advance(400)

    with pytest.raises(SessionEndedError, match="idle"):
        get_password(rig)


def test_restored_touch_record_of_an_earlier_use_makes_a_session_older(rig: Rig) -> None:
    """A touch record from a backup is valid, but shows an earlier use."""
    rig.session.store(bring())
    (touch,) = rig.touches()
    backup = touch.read_bytes()
    rig.clock.advance(600)
    get_password(rig)
    touch.write_bytes(backup)
    rig.clock.advance(400)

    with pytest.raises(SessionEndedError, match="idle"):
        get_password(rig)


def test_crash_before_the_replaced_session_was_ended_brings_nothing_back(rig: Rig) -> None:
    """A crash between a new session and the end of the old one leaves both; one is then ended."""
    rig.session.store(bring(password=b"old"))
    rig.clock.advance(1)
    remove = Sessions.remove
    try:
        Sessions.remove = _crash  # type: ignore[method-assign]
        with pytest.raises(KeyboardInterrupt):
            rig.session.store(bring(password=b"new"))
    finally:
        Sessions.remove = remove  # type: ignore[method-assign]
    assert len(rig.sealed()) == 2, "the control: both are there"

    assert get_password(rig) == b"new"
    assert len(rig.sealed()) == 1
    rig.session.terminate(EXAMPLE)
    with pytest.raises(SessionNotFoundError):
        get_password(rig)


def _crash(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


@pytest.fixture
def shared(tmp_path: Path) -> Rig:
    """Return a process whose sessions have shares that expire by the test's clock."""
    clock = FrozenClock()
    return Rig(tmp_path / "shared", clock=clock, shares=(MemoryShares(clock), PolicyShares()))


def shares_of(rig: Rig) -> MemoryShares:
    """Return the shares that a test can let expire."""
    shares = rig.shares[0]
    assert isinstance(shares, MemoryShares)
    return shares


def test_share_lives_exactly_as_long_as_its_session(shared: Rig) -> None:
    """Each use sets the share's time to that of the session, never beyond the cap."""
    shared = shared.again(limits=Limits(600, 900))
    shared.session.handle(bring())
    shared.clock.advance(500)
    shared.session.get(EXAMPLE)
    shared.clock.advance(300.5)
    shared.session.extend(EXAMPLE)
    shared.session.validate(EXAMPLE)

    assert [600, 400, 100] == [seconds for _, seconds in shares_of(shared).given]


def test_session_whose_share_has_died_is_told_by_its_times(shared: Rig) -> None:
    """If a share expires in the kernel, the log still gets the true reason later."""
    shared.session.handle(bring())
    shared.clock.advance(901)

    with pytest.raises(SessionEndedError) as caught:
        shared.session.get(EXAMPLE)

    assert "idle" == caught.value.reason
    assert ("session.ended", "idle") in shared.events()
    assert [] == shared.sealed()


def test_file_that_is_put_back_after_a_logout_opens_nothing(shared: Rig) -> None:
    """A copied file with the vault key opens nothing after a logout, and the attempt is logged."""
    shared.session.handle(bring())
    (file,) = shared.sealed()
    (touch,) = shared.touches()
    kept = file.read_bytes(), touch.read_bytes()
    shared.session.terminate(EXAMPLE)
    file.parent.mkdir(mode=0o700)
    for path, data in zip((file, touch), kept, strict=True):
        path.write_bytes(data)
        path.chmod(0o600)

    with pytest.raises(SessionEndedError) as caught:
        shared.session.get(EXAMPLE)

    assert "tampered" == caught.value.reason
    assert ("session.ended", "tampered") in shared.events()
    assert [] == shared.sealed()


def test_share_that_cannot_be_asked_for_ends_nothing(shared: Rig) -> None:
    """In a container the kernel has other keys: nothing is released there, and nothing ends."""
    shared.session.handle(bring())
    shares_of(shared).refusing = "this process is in a container"

    for ask in (shared.session.get, shared.session.terminate):
        with pytest.raises(ShareUnavailableError):
            ask(EXAMPLE)
    with pytest.raises(ShareUnavailableError):
        shared.session.sessions()

    assert 1 == len(shared.sealed())
    shares_of(shared).refusing = None
    assert PASSWORD == text(shared.session.get(EXAMPLE).credential.secret)


def test_session_beside_an_unreachable_share_answers(shared: Rig) -> None:
    """A login inside the container works there, whatever session the host has."""
    shared.session.handle(bring())
    shares_of(shared).refusing = "this process is in a container"
    shared.clock.advance(1)

    shared.session.handle(bring(password=b"another"))

    assert b"another" == text(shared.session.get(EXAMPLE).credential.secret)
    assert 2 == len(shared.sealed())


def test_time_ends_a_session_whose_share_cannot_be_asked_for(shared: Rig) -> None:
    """A session that is over by its own record ends without an answer from the kernel."""
    shared.session.handle(bring())
    shares_of(shared).refusing = "this process is in a container"
    shared.clock.advance(901)

    with pytest.raises(SessionEndedError):
        shared.session.get(EXAMPLE)

    assert [] == shared.sealed()
