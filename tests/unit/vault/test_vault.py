"""The vault: one keychain, one generation, and three answers that are never confused."""

import pytest
from support.rig import text
from support.vaults import GOOD, Place

from keylease.errors import (
    KeychainMissingError,
    KeychainUnavailableError,
    LockTimeoutError,
    StateError,
    VaultRevokedError,
)
from keylease.keystores.base import KEY_BYTES
from keylease.secrets.secret import Secret
from keylease.statefile import Directory
from keylease.system.clock import Deadline
from keylease.testing import MemoryKeyStore
from keylease.vault.record import FILE


@pytest.fixture
def place(tmp_path):
    """Return an empty state directory and an empty keychain."""
    return Place(tmp_path / "keylease")


# Found


def test_without_a_vault_there_are_no_keys(place):
    """Reading the keys makes neither a file nor an item."""
    assert place.open() is None
    assert place.vault().record() is None
    assert () == place.keychain.items
    assert [] == [path.name for path in place.path.iterdir()]


def test_the_first_vault_makes_two_different_keys_and_pins_the_keychain(place):
    """The first vault needs no set-up, and later runs know its keychain."""
    key = place.create()
    session, audit = place.keychain.items
    found = place.file()

    assert KEY_BYTES == len(key)
    assert ("session-key", 1, "audit-key", 1) == (*session[1:], *audit[1:])
    assert session.vault == audit.vault == found["vault"]
    assert 8 == len(bytes.fromhex(found["vault"]))
    first, second = place.keychain.read(place.keychain.items)
    assert not first.matches(second)
    assert {
        **GOOD,
        "vault": found["vault"],
        "boot": place.clock.now().boot,
    } == found


def test_the_same_key_is_found_again(place):
    """A later run gets the same key, so it can open yesterday's sessions."""
    key = place.create()

    assert key == place.open() == place.create() == place.create(revive=True)
    assert 2 == len(place.keychain.items)
    assert ["memory"] * 3 == place.opened[:3]


def test_the_record_holds_no_key(place):
    """vault.json has no key."""
    place.create()
    packed = (place.path / FILE).read_bytes()

    for key in place.keychain.read(place.keychain.items):
        assert text(key) not in packed
        assert text(key).hex().encode() not in packed
    assert place.file()["vault"].encode() in packed, "the control finds what is there"


def test_leaving_wipes_the_session_key_and_leaves_the_audit_key(place):
    """The session key is in memory for one operation only; the log can still be written."""
    place.create()
    with place.vault().open(place.clock.now()) as keys:
        session, audit = keys.session.reveal(), keys.audit.reveal()
        assert any(session)

    assert not any(session)
    assert any(audit)


def test_two_state_directories_have_two_vaults(tmp_path):
    """A test or a demo never touches the user's own keys in the same keychain."""
    keychain = MemoryKeyStore()
    one, other = (Place(tmp_path / name, keychain) for name in ("one", "other"))

    assert one.create() != other.create()
    assert 4 == len(keychain.items)


# Absent


def test_a_deleted_session_key_is_a_revocation(place):
    """A deletion by an admin is seen at once, and no new key is made automatically."""
    place.create()
    place.revoke()

    with pytest.raises(VaultRevokedError, match="deleted from the keychain memory") as caught:
        place.open()
    assert "keylease login" in caught.value.hint
    with pytest.raises(VaultRevokedError):
        place.create()
    assert ["audit-key"] == [item.kind for item in place.keychain.items]


def test_a_revocation_is_written_down_once(place):
    """A revocation is logged once, however many processes see it."""
    place.create()
    place.revoke()

    assert (1, True) == place.notice()[:2]
    assert (1, False) == place.notice()[:2]
    assert "2026-09-21T14:13:20Z" == place.file()["revoked"]


def test_a_key_that_is_there_is_not_marked_as_revoked(place):
    """A second check under the lock protects a vault that was just made again."""
    assert place.notice() is None
    key = place.create()

    assert place.notice() is None
    assert key == place.open()


def test_a_revoked_vault_stays_so_though_the_key_comes_back(place):
    """Restoring the keychain from a backup does not undo a revocation."""
    key = place.create()
    item = place.vault().record().session_item
    place.revoke()
    place.notice()
    place.keychain.add(item, Secret(key))

    with pytest.raises(VaultRevokedError):
        place.open()
    with pytest.raises(VaultRevokedError):
        place.create()


def test_a_person_starts_a_new_generation(place):
    """After a revocation a login makes a key with another name; the audit key stays."""
    old = place.create()
    place.revoke()
    place.notice()
    place.clock.advance(60)

    new = place.create(revive=True)

    assert old != new == place.open()
    assert (2, 1, None, "2026-09-21T14:14:20Z") == tuple(
        place.file()[name] for name in ("generation", "audit_generation", "revoked", "created")
    )
    assert {("session-key", 2), ("audit-key", 1)} == {item[1:] for item in place.keychain.items}


def test_a_copy_of_a_former_generations_key_is_deleted(place):
    """A copy of an old key is deleted, and only the current key stays in the keychain."""
    key = place.create()
    item = place.vault().record().session_item
    place.revoke()
    place.notice()
    place.keychain.add(item, Secret(key))
    place.create(revive=True)

    assert item not in place.keychain.items


def test_a_deleted_audit_key_is_no_revocation(place):
    """Without the audit key the sessions stay alive, but nothing is released."""
    key = place.create()
    place.keychain.delete(place.vault().record().audit_item)

    keys = place.vault().open(place.clock.now())
    assert (key, None) == (text(keys.session), keys.audit)


def test_a_login_makes_a_new_audit_key_and_leaves_the_session_key(place):
    """A login makes a new audit key and loses no session."""
    key = place.create()
    place.keychain.delete(place.vault().record().audit_item)

    assert key == place.create(revive=True)
    assert (1, 2) == (place.file()["generation"], place.file()["audit_generation"])


# Unavailable


@pytest.mark.parametrize("way", ["lock", "hang", "vanish"])
def test_an_unavailable_keychain_is_neither_absent_nor_revoked(place, way):
    """A locked, hung or missing keychain proves nothing, and changes nothing."""
    key = place.create()
    before = (place.path / FILE).read_bytes()
    getattr(place.keychain, way)()

    for attempt in (
        lambda: place.open(),  # noqa: PLW0108 - the three look alike
        lambda: place.create(revive=True),
        place.notice,
    ):
        with pytest.raises(KeychainUnavailableError):
            attempt()
    assert before == (place.path / FILE).read_bytes()

    place.keychain.recover()
    assert key == place.open()


def test_a_keychain_that_refuses_leaves_no_vault(place):
    """On a machine without a keychain the first store is refused and leaves no partial vault."""
    place.keychain.vanish()
    with pytest.raises(KeychainMissingError):
        place.create()

    assert not (place.path / FILE).exists()
    place.keychain.recover()
    assert place.create() == place.open()


def test_another_keychain_is_not_asked(place):
    """A keychain that the vault never used is not searched: no key in it means nothing."""
    place.create()
    with pytest.raises(
        KeychainUnavailableError, match="pinned to the keychain memory, not to kernel"
    ):
        place.vault(wanted="kernel").open(place.clock.now())

    assert [] == place.opened
    assert place.vault(wanted="memory").open(place.clock.now()) is not None


@pytest.mark.parametrize("failing", range(4))
def test_whatever_fails_on_the_way_to_the_first_vault_can_be_tried_again(
    place, monkeypatch, failing
):
    """A failure during the first vault leaves no unused keys, and a retry works."""
    calls = []

    def counted(function):
        def call(*args, **more):
            calls.append(function)
            if len(calls) == failing + 1:
                raise StateError("no space left on device")  # noqa: EM101, TRY003
            return function(*args, **more)

        return call

    with monkeypatch.context() as patch:
        patch.setattr(Directory, "replace", counted(Directory.replace))
        patch.setattr(MemoryKeyStore, "delete", counted(MemoryKeyStore.delete))
        patch.setattr(MemoryKeyStore, "add", counted(MemoryKeyStore.add))
        with pytest.raises(StateError):
            place.create()
    assert place.open() is None
    assert place.vault().record() is None

    assert place.create() == place.open()
    assert [("session-key", 1), ("audit-key", 1)] == [item[1:] for item in place.keychain.items]


def test_another_keychain_can_be_chosen_until_the_first_vault_is_made(place, monkeypatch):
    """Until the first vault exists, the user can choose another keychain."""
    broken = place.keychain
    monkeypatch.setattr(broken, "add", lambda *_: broken.lock() or broken.probe())
    with pytest.raises(KeychainUnavailableError):
        place.create()
    place.keychain = MemoryKeyStore(instance="another")

    place.create()

    assert "another" == place.file()["instance"]


@pytest.mark.parametrize("source", [lambda _: b"", lambda size: bytes(size - 1)])
def test_no_vault_is_made_without_randomness(place, monkeypatch, source):
    """Without enough randomness no vault is made."""
    with monkeypatch.context() as patch:
        patch.setattr("keylease.secrets.secret.os.urandom", source)
        with pytest.raises(StateError, match="random generator"):
            place.create()

    assert () == place.keychain.items
    assert place.open() is None


def test_a_vault_that_waits_too_long_refuses(place):
    """A stopped process that holds the lock does not hang git."""
    place.create()
    with place.state() as state, state.lock("lock", Deadline(1)), pytest.raises(LockTimeoutError):
        place.vault(seconds=0.05).find_revocation(place.clock.now())

    assert place.open() is not None, "reading needs no lock"


# Rotating and revoking the key


def test_rotation_leaves_the_old_key_to_its_caller(place):
    """A rotation records the new key first; its caller then deletes the old one."""
    before = place.create()
    new = place.vault().rotate(place.clock.now())

    assert 2 == new.generation
    assert new == place.vault().record()
    assert [1, 1, 2] == sorted(item.generation for item in place.keychain.items)
    assert before != place.open()


def test_revocation_without_the_keychain_is_written_once(place):
    """A vault can be revoked while its keychain is locked."""
    place.create()
    place.keychain.lock()

    assert place.vault().revoke(place.clock.now())
    assert not place.vault().revoke(place.clock.now())
    with pytest.raises(VaultRevokedError):
        place.open()


def test_no_vault_cannot_be_revoked_or_rotated(place):
    """Without a vault, a rotation and a revocation are refused and make nothing."""
    assert not place.vault().revoke(place.clock.now())
    with pytest.raises(StateError, match="no vault"):
        place.vault().rotate(place.clock.now())
    assert () == place.keychain.items
