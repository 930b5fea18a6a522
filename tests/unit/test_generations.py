"""What the absence of a key means, and what it does not."""

import pytest
from support.rig import text
from support.vaults import Place

from keylease.errors import (
    KeychainUnavailableError,
    VaultRevokedError,
)
from keylease.keystores.base import Item
from keylease.secret import Secret
from keylease.testing import MemoryKeyStore


@pytest.fixture
def place(tmp_path):
    """Return an empty state directory and an empty keychain."""
    return Place(tmp_path / "keylease")


@pytest.fixture
def forgetful(tmp_path):
    """Return one with a keychain that a reboot empties."""
    return Place(tmp_path / "keylease", MemoryKeyStore(survives_reboot=False))


def test_another_instance_of_the_keychain_is_not_asked(place):
    """In a container the kernel keyring has the same name and is another one."""
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
    """The kernel keyring is empty after a reboot, and a bare store may start afresh."""
    old = forgetful.create()
    forgetful.clock.reboot()
    forgetful.keychain.reboot()

    assert forgetful.open() is None
    assert forgetful.notice() is None
    assert old != forgetful.create()


def test_after_a_reboot_a_new_generation_starts_by_itself(forgetful):
    """Nobody has to log in by hand after each reboot of a server."""
    forgetful.create()
    forgetful.clock.reboot()
    forgetful.keychain.reboot()

    forgetful.create()

    assert (2, 2) == (forgetful.file()["generation"], forgetful.file()["audit_generation"])
    assert forgetful.open() is not None


def test_a_revocation_before_a_reboot_outlives_it(forgetful):
    """A reboot is no way around the admin."""
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
    """The admin of a server without a desktop can revoke too."""
    forgetful.create()
    forgetful.revoke()

    with pytest.raises(VaultRevokedError):
        forgetful.open()


def test_a_keychain_that_survives_is_asked_after_a_reboot(place):
    """Its key opens nothing of another boot, and it is the same key."""
    key = place.create()
    place.clock.reboot()

    assert key == place.open()


def test_a_crash_after_the_key_was_put_does_not_reuse_it(place):
    """What bears the next generation's name already is replaced by a fresh key."""
    place.create()
    record = place.vault().record()
    place.revoke()
    place.notice()
    left = Item(record.vault, "session-key", 2)
    place.keychain.add(left, Secret(b"l" * 32))

    assert b"l" * 32 != place.create(revive=True)
    assert place.open() == text(place.keychain.read([left])[0])
