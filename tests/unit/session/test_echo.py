"""A tool that sends back the credential it got starts no session."""

from __future__ import annotations

from typing import TYPE_CHECKING
from unittest import mock

import pytest
from support.rig import EXAMPLE, PASSWORD, Rig, bring, credential, get_password

from keylease.errors import (
    PolicyError,
    SessionEndedError,
    SessionNotFoundError,
    StateError,
)
from keylease.model import IDLE_SECONDS, Limits, Request, Session, Settings, Target, Terms
from keylease.secrets.secret import Secret
from keylease.store import echoes
from keylease.testing import MemoryKeyStore

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from keylease.vault.rotation import KeyCustody


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    """Return a service on an empty state directory."""
    return Rig(tmp_path / "keylease")


def test_echo_of_a_live_session_changes_nothing(rig: Rig) -> None:
    """git stores back what worked, and session, timeout and cap stay as they were."""
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
    """A path's session answers git's question without path, and its echo makes no wider one."""
    rig.session.create(EXAMPLE._replace(path="a.git"), credential())
    rig.session.get(EXAMPLE)

    rig.session.store(bring())

    assert len(rig.sealed()) == 1
    assert ("session.confirmed", None) == rig.events()[-1]


PASSWORD_OF_OTHERS = b"another password"
WITH_PATH = EXAMPLE._replace(path="a.git")
ELSEWHERE = Target("docker", "https", "registry.example")


def _custody(rig: Rig) -> KeyCustody:
    again = rig.again()
    return again.custody


def _log_in_elsewhere(rig: Rig) -> None:
    """Start a session of another tool family, which makes a new vault key."""
    rig.again().session.create(ELSEWHERE, credential(b"elsewhere"))


def _delete_keys(rig: Rig, *kinds: str) -> None:
    """Delete keys with the platform's own tools."""
    assert isinstance(rig.keystore, MemoryKeyStore)
    for item in rig.keystore.items:
        if item.kind in kinds:
            rig.keystore.delete(item)


def _idle(rig: Rig) -> None:
    rig.clock.advance(61)
    with pytest.raises(SessionEndedError):
        rig.session.get(EXAMPLE)


def _revoke(rig: Rig) -> None:
    assert _custody(rig).revoke().deleted
    _log_in_elsewhere(rig)


def _delete_the_key(rig: Rig) -> None:
    _delete_keys(rig, "session-key")
    _log_in_elsewhere(rig)


def _delete_both_keys(rig: Rig) -> None:
    _delete_keys(rig, "session-key", "audit-key")
    _log_in_elsewhere(rig)


def _rotate_and_die(rig: Rig) -> None:
    """Die after the new key was recorded and before any session was destroyed."""
    rig.vault.rotate(rig.clock.now())


def _revoke_by_policy(rig: Rig) -> None:
    revoked = Settings(targets={"https://example.com": Terms(revoked=True)})
    with pytest.raises(PolicyError):
        rig.again(settings=revoked).session.get(EXAMPLE)


def _revoke_all_by_policy(rig: Rig) -> None:
    with pytest.raises(PolicyError):
        rig.again(settings=Settings(general=Terms(revoked=True))).session.get(EXAMPLE)


def _collect(rig: Rig) -> None:
    rig.clock.advance(61)
    assert 1 == rig.again().session.collect().sessions


def _remove_by_hand(rig: Rig) -> None:
    for path in rig.sealed():
        path.unlink()


ENDS: dict[str, Callable[[Rig], object]] = {
    "idle": _idle,
    "gc": _collect,
    "logout": lambda rig: rig.session.terminate(EXAMPLE),
    "logout of all": lambda rig: rig.session.terminate_all(),
    "erased": lambda rig: rig.session.erase(EXAMPLE),
    "replaced": lambda rig: rig.session.create(WITH_PATH, credential(PASSWORD_OF_OTHERS)),
    "resealed": lambda rig: rig.session.persist(
        rig.session.sessions()[0][0], credential(PASSWORD_OF_OTHERS)
    ),
    "policy for the host": _revoke_by_policy,
    "policy for everything": _revoke_all_by_policy,
    "key rotate": lambda rig: _custody(rig).rotate(),
    "key rotate, killed": _rotate_and_die,
    "key rotate twice": lambda rig: [_custody(rig).rotate() for _ in range(2)],
    "revoke, login elsewhere": _revoke,
    "key deleted, login elsewhere": _delete_the_key,
    "both keys deleted, login elsewhere": _delete_both_keys,
    "removed by hand": _remove_by_hand,
}
# Which tool echoes how: git before 2.46 and the keyring library send nothing more, a newer git adds
# the session's id, and an old git drops the refresh token.
ECHOES: dict[str, Callable[[str], Request]] = {
    "secret": lambda _: bring(),
    "secret and id": lambda held: bring(echoes=(held,)),
    "secret, id of another helper's": lambda _: bring(echoes=("ab" * 16,)),
    "secret and path": lambda _: bring(WITH_PATH),
}


@pytest.mark.parametrize("echo", ECHOES)
@pytest.mark.parametrize("end", ENDS)
def test_echo_does_not_revive_an_ended_session(rig: Rig, end: str, echo: str) -> None:
    """A request that outlives its session does not revive it, however the session ended.

    The control is the same secret two minutes later, or with an id a little after that.
    """
    rig = rig.again(limits=Limits(idle_seconds=60))
    rig.session.create(WITH_PATH, credential())
    held = rig.session.get(EXAMPLE).session
    ENDS[end](rig)

    rig = rig.again()
    assert rig.session.store(ECHOES[echo](held.id)) is None

    assert [PASSWORD] != _passwords(rig)
    assert (("session.confirmed", "refused"), held.id) == _last(rig) or "id of another" in echo
    rig.clock.advance(121)
    assert rig.again().session.store(bring()) is not None
    assert [PASSWORD] == _passwords(rig)
    assert [] == list(rig.path.glob("sessions/echoes/*")), "and the record is swept"


PERSONS: dict[str, Callable[[Rig], Session | None]] = {
    "docker, cargo, terraform or vault login": lambda rig: rig.session.store(bring(is_login=True)),
    "keylease login": lambda rig: rig.session.create(EXAMPLE, credential()),
}


@pytest.mark.parametrize("person", PERSONS)
@pytest.mark.parametrize("end", ENDS)
def test_what_a_person_brings_is_no_echo(rig: Rig, end: str, person: str) -> None:
    """A person's login with the same password starts a session, even right after an end."""
    rig = rig.again(limits=Limits(idle_seconds=60))
    rig.session.create(WITH_PATH, credential())
    rig.session.get(EXAMPLE)
    ENDS[end](rig)
    rig.clock.advance(1)

    assert PERSONS[person](rig.again()) is not None

    assert [PASSWORD] == _passwords(rig)


def test_other_credentials_begin_while_an_echo_may_come(rig: Rig) -> None:
    """The record of one secret does not block another secret, user, host or tool family."""
    rig.session.store(bring())
    rig.session.get(EXAMPLE)
    _custody(rig).rotate()
    rig = rig.again()

    stored = [
        rig.session.store(each)
        for each in (
            bring(password=PASSWORD_OF_OTHERS),
            bring(username="bob"),
            bring(EXAMPLE._replace(host="other.example")),
            bring(EXAMPLE._replace(namespace="docker")),
            bring(EXAMPLE._replace(protocol="http")),
        )
    ]

    assert [] == [each for each in stored if each is None]
    assert rig.session.store(bring()) is None, "the control: the record is there"


def test_live_session_knows_its_own_secret_without_the_audit_key(rig: Rig) -> None:
    """Without the audit key nothing is released, and an echo starts nothing and moves no cap."""
    rig.session.store(bring())
    held = rig.session.get(EXAMPLE).session
    _delete_keys(rig, "audit-key")

    confirmed = rig.again().session.store(bring())

    assert confirmed is not None
    assert (held.id, held.created) == (confirmed.id, confirmed.created)


def test_release_after_the_audit_key_was_replaced_is_remembered_exactly(rig: Rig) -> None:
    """A session older than the new audit key leaves a record that blocks no other credential."""
    rig.session.store(bring())
    rig.session.get(EXAMPLE)
    _delete_keys(rig, "audit-key")
    _log_in_elsewhere(rig)
    rig = rig.again()
    rig.session.get(EXAMPLE)
    rig.session.terminate(EXAMPLE)

    assert rig.session.store(bring()) is None
    assert rig.session.store(bring(username="bob")) is not None


def test_what_a_killed_rotation_left_holds_up_no_session(rig: Rig) -> None:
    """A file of the former key that cannot be removed does not block a login."""
    rig.session.store(bring())
    rig.session.get(EXAMPLE)
    (sealed,) = rig.sealed()
    sealed.unlink()
    sealed.mkdir()
    _rotate_and_die(rig)

    assert rig.again().session.store(bring()) is None, "its echo is known"
    _log_in_elsewhere(rig)
    sealed.rmdir()
    _log_in_elsewhere(rig)
    (settled,) = rig.path.glob("sessions/generation")
    assert 2 == int.from_bytes(settled.read_bytes())


@pytest.mark.parametrize("way", ["forged", "future", "torn", "empty"])
def test_forged_record_releases_nothing(rig: Rig, way: str) -> None:
    """A forged record can refuse a store for two minutes at most, and release nothing."""
    rig.session.store(bring())
    rig.session.get(EXAMPLE)
    rig.session.terminate(EXAMPLE)
    (record,) = rig.path.glob("sessions/echoes/*")
    packed = bytearray(record.read_bytes())
    if way == "forged":
        packed[65:] = bytes(len(packed) - 65)
    elif way == "future":
        packed[49:57] = (2**63).to_bytes(8)
    elif way == "torn":
        del packed[100:]
    else:
        packed.clear()
    record.write_bytes(packed)

    stored = rig.again().session.store(bring())

    assert (way == "forged") == (stored is None)
    rig.clock.advance(121)
    assert rig.again().session.store(bring()) is not None


def test_ten_thousand_records_are_looked_through_by_name(rig: Rig) -> None:
    """A `store` opens only the one record that can match, however many sessions have just ended."""
    rig.session.store(bring())
    rig.session.get(EXAMPLE)
    rig.session.terminate(EXAMPLE)
    (record,) = rig.path.glob("sessions/echoes/*")
    generation, packed = record.name[:16], record.read_bytes()
    for number in range(10_000):
        other = record.with_name(f"{generation}{number:048x}.{number:032x}.echo")
        other.write_bytes(packed)
        other.chmod(0o600)
    with mock.patch.object(echoes, "read", wraps=echoes.read) as read:
        assert rig.again().session.store(bring()) is None

    assert 1 == read.call_count


def test_end_is_not_held_up_by_what_cannot_be_remembered(rig: Rig) -> None:
    """If the record cannot be moved, the session still ends, and its echo is still recognised."""
    rig.session.store(bring())
    rig.session.get(EXAMPLE)
    place = rig.path / "sessions" / "echoes"
    place.rmdir()
    place.write_bytes(b"no directory")

    rig.session.terminate(EXAMPLE)

    assert [] == rig.sealed()
    with pytest.raises(StateError):
        rig.again().session.store(bring())
    place.unlink()
    assert rig.again().session.store(bring()) is None


def _passwords(rig: Rig) -> list[bytes]:
    """Return the passwords that a `get` releases now."""
    try:
        return [get_password(rig)]
    except SessionNotFoundError:
        return []


def _last(rig: Rig) -> tuple[tuple[str, str], str]:
    """Return event, outcome and session of the last line about an echo."""
    line = [each for each in rig.lines() if each["event"] == "session.confirmed"][-1]
    return ((line["event"], line["outcome"]), line["session"])


def test_same_password_after_the_echo_window_is_a_new_session(rig: Rig) -> None:
    """Two minutes after the last release the same password is a new login."""
    rig.session.store(bring())
    rig.session.get(EXAMPLE)
    rig.session.terminate(EXAMPLE)
    rig.clock.advance(121)

    assert rig.session.store(bring()) is not None

    assert get_password(rig) == PASSWORD
    assert len(rig.touches()) == 1


def test_never_released_session_leaves_no_echo(rig: Rig) -> None:
    """A session that was never released leaves no echo, so its password can be stored at once."""
    rig.session.store(bring())
    rig.session.terminate(EXAMPLE)

    assert rig.session.store(bring()) is not None


def test_session_id_tells_an_echo_after_any_time(rig: Rig) -> None:
    """A git that sends the session id is recognised long after the session has ended."""
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
    """An old password with a new refresh token is a new grant; without any token it is an echo."""
    old, new = (("oauth_refresh_token", Secret(token)) for token in (b"old", b"new"))
    rig.session.store(bring(extra=(old,)))
    held = rig.session.get(EXAMPLE).session.id
    again = (("oauth_refresh_token", Secret(b"old")),)

    stored = [rig.session.store(bring(extra=extra)) for extra in ((), again, (new,))]

    assert [True, True, False] == [each is not None and each.id == held for each in stored]
