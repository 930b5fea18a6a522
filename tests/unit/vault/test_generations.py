"""What the absence of a key means."""

import pytest
from support.rig import ForeignClock, text
from support.vaults import Place

from keylease.errors import (
    KeychainUnavailableError,
    LockTimeoutError,
    VaultRevokedError,
)
from keylease.keystores.base import Item
from keylease.secrets.secret import Secret
from keylease.system.clock import Deadline
from keylease.testing import MemoryKeyStore


@pytest.fixture
def place(tmp_path):
    """Return an empty state directory and an empty keychain."""
    return Place(tmp_path / "keylease")


@pytest.fixture
def forgetful(tmp_path):
    """Return a vault with a keychain that a reboot empties."""
    return Place(tmp_path / "keylease", MemoryKeyStore(survives_reboot=False))


def test_another_instance_of_the_keychain_is_not_asked(place):
    """A container's kernel keyring has the same name and is not the vault's."""
    place.keychain = MemoryKeyStore(instance="the user's")
    place.create()
    mine, place.keychain = place.keychain, MemoryKeyStore(instance="the container's")

    with pytest.raises(
        KeychainUnavailableError, match=r"pinned to .*the user's.* sees .*the container's"
    ):
        place.open()
    with pytest.raises(KeychainUnavailableError):
        place.create(revive=True)
    place.keychain = mine
    assert place.open() is not None


def test_a_reboot_of_a_forgetful_keychain_is_no_revocation(forgetful):
    """After a reboot the kernel keyring is empty, and a bare store may start a new vault."""
    old = forgetful.create()
    forgetful.clock.reboot()
    forgetful.keychain.reboot()

    assert forgetful.open() is None
    assert forgetful.notice() is None
    assert old != forgetful.create()


def test_after_a_reboot_a_new_generation_starts_by_itself(forgetful):
    """After a reboot of a server a new generation starts without a login."""
    forgetful.create()
    forgetful.clock.reboot()
    forgetful.keychain.reboot()

    forgetful.create()

    assert (2, 2) == (forgetful.file()["generation"], forgetful.file()["audit_generation"])
    assert forgetful.open() is not None


def test_a_revocation_before_a_reboot_outlives_it(forgetful):
    """A reboot does not undo an admin's revocation."""
    forgetful.create()
    forgetful.revoke()
    forgetful.notice()
    forgetful.clock.reboot()
    forgetful.keychain.reboot()

    with pytest.raises(VaultRevokedError):
        forgetful.open()
    with pytest.raises(VaultRevokedError):
        forgetful.create()


def test_deleting_the_key_in_the_boot_it_was_made_in_is_a_revocation(forgetful):
    """On a server without a desktop, deleting the key within its boot is a revocation."""
    forgetful.create()
    forgetful.revoke()

    with pytest.raises(VaultRevokedError):
        forgetful.open()


def test_a_keychain_that_survives_is_asked_after_a_reboot(place):
    """A keychain that survives a reboot has the same key, which opens nothing of another boot."""
    key = place.create()
    place.clock.reboot()

    assert key == place.open()


def test_a_crash_after_the_key_was_put_does_not_reuse_it(place):
    """A key that already has the next generation's name is replaced by a fresh one."""
    place.create()
    record = place.vault().record()
    place.revoke()
    place.notice()
    left = Item(record.vault, "session-key", 2)
    place.keychain.add(left, Secret(b"l" * 32))

    assert b"l" * 32 != place.create(revive=True)
    assert place.open() == text(place.keychain.read([left])[0])


# Keys that a rotation left behind.


def add_key(place, generation):
    """Add a key of another generation beside the vault's own, as a crash leaves one."""
    item = place.vault().record().session_item._replace(generation=generation)
    place.keychain.add(item, Secret(bytes(range(32))))


def rotated(place, times):
    """Make a vault whose key was replaced that many times, with the old ones deleted."""
    place.create()
    for _ in range(times):
        place.vault().rotate(place.clock.now())
        place.vault().delete_left_keys()


@pytest.mark.parametrize("left", [(), (5,), (4,), (7,), (2, 3, 4, 5, 7), (1, 3, 5)])
def test_keys_that_were_left_are_found_from_the_current_one_back(place, left):
    """Left-over keys may open yesterday's copies, so they are found, deleted and counted."""
    rotated(place, 5)
    for generation in left:
        add_key(place, generation)

    assert len(left) == place.vault().delete_left_keys()
    assert [6] == [item.generation for item in place.keychain.items if item.kind == "session-key"]
    assert 0 == place.vault().delete_left_keys()


def test_two_absent_keys_are_the_end_of_the_search(place):
    """The search for a thousand generations ends after two absent keys."""
    rotated(place, 5)
    add_key(place, 3)
    asked = []
    read = place.keychain.read

    def spy(items):
        asked.extend(item.generation for item in items)
        return read(items)

    place.keychain.read = spy

    assert 0 == place.vault().delete_left_keys()
    assert [5, 4, 7] == asked


def test_oldest_key_is_deleted_first(place, monkeypatch):
    """The oldest key is deleted first, so a crash leaves no gap that hides the others."""
    rotated(place, 5)
    for generation in (2, 3, 4, 5):
        add_key(place, generation)
    deleted = []
    delete = place.keychain.delete
    monkeypatch.setattr(
        place.keychain, "delete", lambda item: deleted.append(item.generation) or delete(item)
    )

    place.vault().delete_left_keys()

    assert [2, 3, 4, 5] == deleted[:4]


def test_key_of_another_process_that_is_making_one_is_left_alone(place):
    """A process adds the next key before it records it, so the search waits for its lock."""
    place.create()
    with place.state() as state, state.lock("lock", Deadline(1)):
        add_key(place, 2)
        with pytest.raises(LockTimeoutError):
            place.vault(seconds=0.05).delete_left_keys()

    assert 2 in [item.generation for item in place.keychain.items]


def test_other_keychain_is_not_searched_for_old_keys(place):
    """In a container the search is refused; it does not claim that no old key is left."""
    place.create()
    place.keychain = MemoryKeyStore(instance="the container's")

    with pytest.raises(KeychainUnavailableError):
        place.vault().delete_left_keys()


def test_without_a_vault_no_key_was_left(place):
    """On a new machine no keychain is searched."""
    assert 0 == place.vault().delete_left_keys()
    assert [] == place.opened


def test_new_generation_of_a_person_takes_the_old_keys_along(place):
    """A login after a revocation deletes all older keys, because no later run looks for them."""
    rotated(place, 1)
    add_key(place, 1)
    place.revoke()

    place.create(revive=True)

    assert [3] == [item.generation for item in place.keychain.items if item.kind == "session-key"]


def kernel_place(tmp_path):
    """Return a vault in a user's first kernel keyring."""
    keyring = MemoryKeyStore(survives_reboot=False, instance="uid=7 keyring=1")
    return Place(tmp_path / "keylease", keyring)


def test_keyring_that_was_lost_is_no_revocation(tmp_path):
    """Before Linux 5.3 the keyring ends with the user's last process; the next one starts anew."""
    place = kernel_place(tmp_path)
    old = place.create()
    place.keychain = MemoryKeyStore(survives_reboot=False, instance="uid=7 keyring=2")

    assert place.open() is None
    assert place.notice() is None
    assert old != place.create()
    assert (2, None) == (place.file()["generation"], place.file()["revoked"])
    assert place.open() is not None


@pytest.mark.parametrize("instance", ["uid=7 keyring=1", "uid=7"])
def test_key_that_was_deleted_from_its_keyring_was_revoked(tmp_path, instance):
    """If the keyring lacks the key, or its identity is unknown, the key counts as deleted."""
    place = kernel_place(tmp_path)
    place.create()
    place.keychain = MemoryKeyStore(survives_reboot=False, instance=instance)

    with pytest.raises(VaultRevokedError):
        place.open()
    with pytest.raises(VaultRevokedError):
        place.create()


def test_keyring_of_another_user_is_not_asked_whatever_its_number(tmp_path):
    """Only the same user in the same namespace can have lost the vault's keyring."""
    place = kernel_place(tmp_path)
    place.create()
    place.keychain = MemoryKeyStore(survives_reboot=False, instance="uid=8 keyring=2")

    with pytest.raises(KeychainUnavailableError, match="sees another one"):
        place.open()


def test_revocation_outlives_the_keyring(tmp_path):
    """A recorded revocation stays when the keyring is lost, too."""
    place = kernel_place(tmp_path)
    place.create()
    place.revoke()
    place.notice()
    place.keychain = MemoryKeyStore(survives_reboot=False, instance="uid=7 keyring=2")

    with pytest.raises(VaultRevokedError):
        place.create()


def test_keyring_of_another_boot_is_not_taken_for_a_lost_one(tmp_path):
    """Another machine with the same home has another keyring, and does not replace the vault."""
    place = kernel_place(tmp_path)
    place.create()
    place.keychain = MemoryKeyStore(survives_reboot=False, instance="uid=7 keyring=2")
    place.clock = ForeignClock(place.clock)

    with pytest.raises(KeychainUnavailableError, match="the vault was made in another boot"):
        place.create()
