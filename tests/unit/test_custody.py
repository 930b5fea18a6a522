"""What becomes of the vault key and of what it sealed, when it is replaced or taken away."""

from __future__ import annotations

import pytest
from support.rig import EXAMPLE, Rig, bring

from keylease.custody import KeyCustody
from keylease.errors import KeychainUnavailableError, VaultRevokedError
from keylease.keystores.base import Item
from keylease.secret import Secret
from keylease.statefile import Directory
from keylease.testing import MemoryKeyStore


@pytest.fixture
def rig(tmp_path):
    """Return a service with one live session."""
    rig = Rig(tmp_path / "keylease")
    rig.session.store(bring())
    return rig


def custody(rig):
    """Return the custody of the rig's key, as the next process has it."""
    rig = rig.again()
    return KeyCustody(rig.clock, rig.vault, rig.store, rig.audit)


def add_key(rig, generation):
    """Put a key of another generation beside the vault's own, as a crash leaves one."""
    item = Item(rig.vault.record().vault, "session-key", generation)
    rig.keystore.add(item, Secret(bytes(range(32))))


def generations(rig):
    """Return the generations of the session keys that are in the keychain."""
    return [item.generation for item in rig.keystore.items if item.kind == "session-key"]


def test_revocation_takes_the_keys_of_a_crash_along(rig):
    """A rotation that was cut off left two keys, and none of them stays."""
    custody(rig).rotate()
    add_key(rig, 1)
    add_key(rig, 3)

    assert custody(rig).revoke().deleted
    assert [] == generations(rig)


def test_revocation_in_a_container_does_not_say_that_the_key_is_gone(rig):
    """Another keychain of the same kind is empty, and that proves nothing about the vault's own."""
    inside = rig.again(keystore=MemoryKeyStore(instance="container"))

    done = KeyCustody(inside.clock, inside.vault, inside.store, inside.audit).revoke()

    assert isinstance(done.key_failure, KeychainUnavailableError)
    assert not done.deleted
    assert [1] == generations(rig)
    assert [] == rig.sealed()


def test_key_that_is_still_there_was_not_deleted(rig, monkeypatch):
    """A keychain that says yes and keeps the key is not believed."""
    monkeypatch.setattr(rig.keystore, "delete", lambda _: True)

    done = custody(rig).revoke()

    assert "is still there" in str(done.key_failure)


def test_revocation_is_in_force_before_anything_is_deleted(rig, monkeypatch):
    """Killed at its second step, it has stopped every release for good."""

    def killed(_):
        raise KeyboardInterrupt

    monkeypatch.setattr(rig.keystore, "delete", killed)
    with pytest.raises(KeyboardInterrupt):
        custody(rig).revoke()
    monkeypatch.undo()

    assert [1] == generations(rig), "the control: the key is there"
    with pytest.raises(VaultRevokedError):
        rig.again().session.get(EXAMPLE)


@pytest.mark.parametrize("step", ["add", "replace", "delete"])
def test_killed_rotation_leaves_the_old_key_or_the_new(rig, monkeypatch, step):
    """Whenever it dies, there is a vault that works, and what it refers to is in the keychain."""

    def killed(*_):
        raise KeyboardInterrupt

    if step == "replace":
        monkeypatch.setattr(Directory, "replace", killed)
    else:
        monkeypatch.setattr(rig.keystore, step, killed)
    with pytest.raises(KeyboardInterrupt):
        custody(rig).rotate()
    monkeypatch.undo()

    assert rig.vault.record().generation in generations(rig)
    fresh = rig.again()
    fresh.session.store(bring(EXAMPLE._replace(host="other.example")))
    custody(rig).rotate()
    assert [rig.vault.record().generation] == generations(rig)
    assert [] == rig.sealed()


def test_nothing_is_sealed_under_the_key_that_was_replaced_meanwhile(rig):
    """Another process read the old key a moment before, and refuses to seal under it after."""
    keys = rig.vault.open(rig.clock.now())
    custody(rig).rotate()
    (line,) = [line for line in rig.lines() if line["event"] == "key.rotated"]
    slow = rig.again()
    slow.vault.open = lambda _: keys

    with pytest.raises(KeychainUnavailableError, match="replaced"):
        slow.session.store(bring(EXAMPLE._replace(host="other.example")))

    assert [] == rig.sealed()
    assert line["mac"]
