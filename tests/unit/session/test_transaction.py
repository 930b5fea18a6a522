"""What an absent key means for every operation, and what each refusal leaves."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.rig import EXAMPLE, PASSWORD, Rig, bring, credential, get_password, text

from keylease.errors import (
    AuditError,
    KeychainUnavailableError,
    LockTimeoutError,
    SessionNotFoundError,
    StateError,
    VaultRevokedError,
)
from keylease.statefile import Directory
from keylease.testing import MemoryKeyStore
from keylease.vault.vault import Vault

if TYPE_CHECKING:
    from pathlib import Path

    from keylease.model import Moment
    from keylease.vault.vault import VaultKeys


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    """Return a service on an empty state directory."""
    return Rig(tmp_path / "keylease")


def test_volatile_keychain_starts_a_new_generation_after_reboot(tmp_path: Path) -> None:
    """A keychain emptied by a reboot is not a revocation: the next store makes a new key."""
    keystore = MemoryKeyStore(survives_reboot=False)
    rig = Rig(tmp_path / "keylease", keystore=keystore)
    rig.session.store(bring())
    rig.clock.reboot()
    keystore.reboot()

    with pytest.raises(SessionNotFoundError):
        get_password(rig)
    assert rig.sealed() == []
    rig.again().session.store(bring(password=b"new"))

    assert get_password(rig) == b"new"
    record = rig.vault.record()
    assert record is not None
    assert (2, None) == (record.generation, record.revoked)
    assert "vault.revoked" not in [event for event, _ in rig.events()]


def test_deleted_key_revokes_everything(rig: Rig) -> None:
    """Deleting the key ends every session: nothing is released, and every file is deleted."""
    rig.session.store(bring())
    rig.session.store(bring(EXAMPLE._replace(host="other.example")))
    record = rig.vault.record()
    assert record is not None
    rig.keystore.delete(record.session_item)

    with pytest.raises(VaultRevokedError):
        get_password(rig)

    assert rig.sealed() == rig.touches() == []
    assert [
        ("vault.revoked", None),
        ("session.ended", "revoked"),
        ("session.ended", "revoked"),
        ("session.refused", "revoked"),
    ] == rig.events()[-4:]


def test_revocation_is_sticky(rig: Rig) -> None:
    """After a revocation a store revives nothing, and a login makes a new generation."""
    rig.session.store(bring())
    record = rig.vault.record()
    assert record is not None
    rig.keystore.delete(record.session_item)

    for _ in range(2):
        with pytest.raises(VaultRevokedError):
            rig.again().session.store(bring())
    assert rig.keystore.read([record.session_item]) == [None]
    assert ("session.refused", "revoked") == rig.events()[-1]
    rig.again().session.create(EXAMPLE, credential())

    assert get_password(rig) == PASSWORD
    new = rig.vault.record()
    assert new is not None
    assert (2, 1, None) == (new.generation, new.audit_generation, new.revoked)


def test_restored_key_does_not_undo_a_revocation(rig: Rig) -> None:
    """Restoring the old key after keylease saw the revocation changes nothing."""
    rig.session.store(bring())
    record = rig.vault.record()
    assert record is not None
    (key,) = rig.keystore.read([record.session_item])
    assert key is not None
    rig.keystore.delete(record.session_item)
    with pytest.raises(VaultRevokedError):
        get_password(rig)

    rig.keystore.add(record.session_item, key)

    with pytest.raises(VaultRevokedError):
        get_password(rig)


@pytest.mark.parametrize("state", ["lock", "hang", "vanish"])
def test_unavailable_keychain_deletes_nothing(rig: Rig, state: str) -> None:
    """A locked, hung or missing keychain is not a revocation: nothing is released or lost."""
    rig.session.store(bring())
    getattr(rig.keystore, state)()

    for operation in (
        lambda: rig.session.get(EXAMPLE),
        lambda: rig.session.store(bring(password=b"new")),
        lambda: rig.session.erase(EXAMPLE),
        rig.session.sessions,
    ):
        with pytest.raises(KeychainUnavailableError):
            operation()
    rig.keystore.recover()  # type: ignore[attr-defined]

    assert get_password(rig) == PASSWORD
    assert "vault.revoked" not in [event for event, _ in rig.events()]


def test_logout_of_all_needs_no_key(rig: Rig) -> None:
    """With a locked keychain a user can still end all sessions."""
    rig.session.store(bring())
    rig.keystore.lock()  # type: ignore[attr-defined]

    assert len(rig.session.terminate_all()) == 1

    assert rig.sealed() == []
    assert ("session.ended", "logout") == rig.events()[-1]


def test_deleted_audit_key_stops_release_and_not_the_end(rig: Rig) -> None:
    """Without the audit key nothing is released, but sessions can be ended."""
    rig.session.store(bring())
    record = rig.vault.record()
    assert record is not None
    rig.keystore.delete(record.audit_item)

    with pytest.raises(AuditError):
        get_password(rig)
    assert len(rig.again().session.terminate(EXAMPLE)) == 1
    rig.again().session.create(EXAMPLE, credential())

    assert get_password(rig) == PASSWORD


def test_revocation_needs_no_room_on_the_disk(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """If `vault.json` cannot be written, the files are still deleted: a restored key opens none."""
    rig.session.store(bring())
    record = rig.vault.record()
    assert record is not None
    (key,) = rig.keystore.read([record.session_item])
    assert key is not None
    rig.keystore.delete(record.session_item)
    with monkeypatch.context() as full:
        full.setattr(Directory, "replace", _no_room)
        with pytest.raises(StateError):
            get_password(rig)
    assert rig.sealed() == []

    rig.keystore.add(record.session_item, key)
    with pytest.raises(SessionNotFoundError):
        get_password(rig)


def test_revocation_is_on_record_under_the_audit_key(rig: Rig) -> None:
    """The audit key outlives the session key, so the lines about a revocation have a MAC."""
    rig.session.store(bring())
    record = rig.vault.record()
    assert record is not None
    rig.keystore.delete(record.session_item)
    for _ in range(2):
        with pytest.raises(VaultRevokedError):
            get_password(rig)

    assert "vault.revoked" in [line["event"] for line in rig.lines()]
    assert [] == [line for line in rig.lines() if line["mac"] is None]


def test_key_that_was_replaced_while_waiting_seals_nothing(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A store that read its key before a rotation does not seal under it afterwards."""
    rig.session.store(bring())
    late = rig.again()
    read = Vault.open

    def open_and_be_overtaken(vault: Vault, now: Moment) -> VaultKeys | None:
        keys = read(vault, now)
        renewed = rig.vault.rotate(now)
        assert renewed.generation == 2
        return keys

    monkeypatch.setattr(Vault, "open", open_and_be_overtaken)
    sealed = rig.sealed()

    with pytest.raises(KeychainUnavailableError, match="replaced"):
        late.session.store(bring(EXAMPLE._replace(host="other.example")))

    assert sealed == rig.sealed()


def test_answer_that_comes_too_late_is_none(rig: Rig) -> None:
    """A process stopped between key and lock gives no answer after a revocation."""
    rig.session.store(bring())
    rig.seconds = 0

    with pytest.raises(LockTimeoutError):
        rig.session.get(EXAMPLE)
    rig.seconds = 60
    assert get_password(rig) == PASSWORD


def _no_room(*_: object) -> None:
    msg = "no space left on device"
    raise StateError(msg)


def test_get_before_anything_was_stored_is_a_miss(rig: Rig) -> None:
    """On a fresh machine a get is a miss that is logged and makes no key."""
    with pytest.raises(SessionNotFoundError):
        rig.session.get(EXAMPLE)

    assert rig.vault.record() is None
    assert [("session.refused", "not_found")] == rig.events()


def test_key_that_is_deleted_and_made_anew_meanwhile_is_not_revoked(rig: Rig) -> None:
    """A process that misses the old key because of a new login does not end the new session."""
    rig.session.store(bring())
    late = rig.again()
    record = rig.vault.record()
    assert record is not None
    read = rig.keystore.read
    raced = []

    def read_late(items: object) -> object:
        if not raced:
            raced.append(1)
            rig.keystore.delete(record.session_item)
            rig.again().session.create(EXAMPLE, credential(b"new"))
            return [None, None]
        return read(items)  # type: ignore[arg-type]

    rig.keystore.read = read_late  # type: ignore[assignment,method-assign]

    assert text(late.session.get(EXAMPLE).credential.secret) == b"new"


def test_absence_in_another_keychain_of_the_kind_is_no_revocation(rig: Rig) -> None:
    """A container sees another kernel keyring, so a missing key there was not deleted."""
    rig.session.store(bring())
    elsewhere = MemoryKeyStore()
    elsewhere.instance = lambda: "another"  # type: ignore[method-assign]

    late = rig.again(keystore=elsewhere)
    with pytest.raises(KeychainUnavailableError, match="another"):
        late.session.get(EXAMPLE)
    with pytest.raises(KeychainUnavailableError, match="another"):
        late.session.store(bring())
    with pytest.raises(KeychainUnavailableError, match="another"):
        late.session.create(EXAMPLE, credential())

    assert get_password(rig) == PASSWORD


def test_vault_can_be_made_without_a_session(rig: Rig) -> None:
    """A person can make the vault before the first session; a repeat changes nothing."""
    assert 1 == rig.session.open_vault()
    assert 1 == rig.again().session.open_vault()
    assert [("vault.created", None)] == rig.events()
