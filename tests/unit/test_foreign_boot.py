"""A process with another boot id refuses, and destroys nothing that may be in use."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.rig import EXAMPLE, ForeignClock, Rig, bring, get_password
from support.shares import MemoryShares

from keylease.errors import (
    ForeignBootError,
    KeychainUnavailableError,
    SessionEndedError,
    SessionNotFoundError,
    StateError,
)
from keylease.model import CAP_SECONDS, IDLE_SECONDS
from keylease.shares.policy import PolicyShares
from keylease.testing import MemoryKeyStore

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

OTHER = EXAMPLE._replace(host="other.example")


@pytest.fixture(params=["survives", "forgets"])
def rig(request: pytest.FixtureRequest, tmp_path: Path) -> Rig:
    """Return a service with a live session, once for each kind of keychain."""
    keystore = MemoryKeyStore(survives_reboot=request.param == "survives")
    rig = Rig(tmp_path / "keylease", keystore=keystore)
    rig.session.store(bring())
    return rig


def inside(rig: Rig) -> Rig:
    """Return what a container with its own boot id has over the same home."""
    return rig.again(clock=ForeignClock(rig.clock))


def files(rig: Rig) -> dict[str, bytes]:
    """Return every file of the state but the audit log and the time of the last sweep."""
    kept = [path for path in rig.path.rglob("*") if path.is_file()]
    return {
        str(path): path.read_bytes()
        for path in kept
        if "audit" not in path.parts and path.name != "swept"
    }


def refused(call: Callable[[], object]) -> None:
    """Check that a call refuses because of the boot, and ends nothing."""
    with pytest.raises(ForeignBootError, match="another boot, which may still be running"):
        call()


def test_everything_that_reads_refuses_and_leaves_everything(rig: Rig) -> None:
    """No reading command in a container ends or releases a session of the machine."""
    before = files(rig)
    (live,) = [session for session, _ in rig.session.sessions()]

    refused(lambda: inside(rig).session.get(EXAMPLE))
    refused(lambda: inside(rig).session.validate(EXAMPLE))
    refused(lambda: inside(rig).session.extend(EXAMPLE))
    refused(lambda: inside(rig).session.load(live.id))
    refused(inside(rig).session.sessions)
    refused(lambda: inside(rig).session.listing("web"))
    unknown: list[StateError] = []
    assert [] == inside(rig).session.sessions(unknown)
    assert ["the session for https://example.com belongs to"] == [
        str(error).partition(" another")[0] for error in unknown
    ]

    assert before == files(rig)
    assert "session.ended" not in [event for event, _ in rig.events()]
    assert get_password(rig)


def test_store_and_collection_leave_the_sessions_of_the_machine(rig: Rig) -> None:
    """A sweep in a container deletes no session of the machine, and each keeps its own."""
    (mine,) = rig.sealed()
    inside(rig).session.store(bring(password=b"its own"))
    inside(rig).session.store(bring(OTHER))
    collected = inside(rig).session.collect()

    assert (0, 0) == collected[:2]
    assert mine in rig.sealed()
    assert b"its own" == get_password(inside(rig))
    assert b"its own" != get_password(rig)
    # The machine does not end the container's session either.
    rig.again().session.collect()
    assert b"its own" == get_password(inside(rig))


def test_what_its_user_ends_has_ended_everywhere(rig: Rig) -> None:
    """A logout in a container ends the session that it names, and nothing else."""
    rig.session.store(bring(OTHER))

    assert 1 == len(inside(rig).session.terminate(EXAMPLE))

    with pytest.raises(SessionNotFoundError):
        rig.again().session.get(EXAMPLE)
    assert rig.again().session.get(OTHER)


def test_echo_memory_of_the_machine_outlives_a_container(rig: Rig) -> None:
    """A sweep in a container keeps the echo records, so an echo still revives nothing."""
    rig.session.get(EXAMPLE)
    rig.session.terminate(EXAMPLE)
    inside(rig).session.store(bring(OTHER))
    inside(rig).session.collect()

    assert rig.again().session.store(bring()) is None


@pytest.mark.parametrize("shares", ["dead", "out of reach"])
def test_share_that_is_not_there_proves_nothing_in_another_boot(rig: Rig, shares: str) -> None:
    """Another machine has its own shares in memory; a missing share there destroys no session."""
    memory = MemoryShares(rig.clock)
    rig = rig.again(shares=(memory, PolicyShares()))
    rig.session.store(bring(OTHER))
    theirs = MemoryShares(rig.clock)
    theirs.refusing = None if shares == "dead" else "it is not here"
    container = inside(rig).again(shares=(theirs, PolicyShares()), clock=ForeignClock(rig.clock))

    with pytest.raises(StateError):
        container.session.get(OTHER)
    container.session.collect()

    assert rig.session.get(OTHER)


def test_session_of_another_boot_is_removed_when_its_time_is_over(rig: Rig) -> None:
    """A session of another boot is removed once the wall clock says that it is over."""
    rig.clock.advance(IDLE_SECONDS)

    with pytest.raises(SessionEndedError, match="idle"):
        inside(rig).session.get(EXAMPLE)
    assert [] == rig.sealed()


def test_clock_set_back_over_a_reboot_releases_nothing_and_heals(rig: Rig) -> None:
    """A machine without a clock battery refuses until its clock is right, and then recovers."""
    rig.clock.reboot()
    if not rig.keystore.survives_reboot:
        rig.keystore.reboot()
    rig.clock.set_wall(1_000_000_000)
    # A keychain that a reboot empties refuses before any session is read.
    with pytest.raises((ForeignBootError, KeychainUnavailableError)):
        rig.again().session.get(EXAMPLE)
    assert 1 == len(rig.sealed())

    rig.clock.set_wall(1_790_000_000 + 60)
    with pytest.raises(SessionNotFoundError):
        rig.again().session.get(EXAMPLE)
    assert [] == rig.sealed()


# The vault in a keychain that a reboot empties.


@pytest.fixture
def forgetful(tmp_path: Path) -> Rig:
    """Return a service with a live session and a keychain that a reboot empties."""
    rig = Rig(tmp_path / "keylease", keystore=MemoryKeyStore(survives_reboot=False))
    rig.session.store(bring())
    return rig


def test_another_machine_does_not_replace_the_vault(forgetful: Rig) -> None:
    """Another machine without the key makes no new key and destroys nothing."""
    before = files(forgetful)
    elsewhere = forgetful.again(
        clock=ForeignClock(forgetful.clock), keystore=MemoryKeyStore(survives_reboot=False)
    )

    for call in (
        lambda: elsewhere.session.get(EXAMPLE),
        lambda: elsewhere.session.store(bring()),
        lambda: elsewhere.session.create(EXAMPLE, bring().credential),  # type: ignore[arg-type]
        elsewhere.session.open_vault,
    ):
        with pytest.raises(KeychainUnavailableError, match="the vault was made in another boot"):
            call()

    assert before == files(forgetful)
    assert get_password(forgetful)


def test_machine_that_started_later_waits_for_the_sessions_of_the_other(forgetful: Rig) -> None:
    """A vault older than this boot is not replaced while one of its sessions may be in use."""
    forgetful.clock.advance(3600)
    forgetful.session.store(bring())
    before = files(forgetful)

    class Later(ForeignClock):
        """The clock of a machine that started half an hour ago."""

        def now(self):
            moment = super().now()
            return moment._replace(boot_ns=1800 * 10**9)

    elsewhere = forgetful.again(
        clock=Later(forgetful.clock), keystore=MemoryKeyStore(survives_reboot=False)
    )
    forgetful.clock.advance(1)
    with pytest.raises(ForeignBootError):
        elsewhere.session.store(bring())
    assert before == files(forgetful)

    forgetful.clock.advance(CAP_SECONDS)
    assert elsewhere.session.store(bring()) is not None
