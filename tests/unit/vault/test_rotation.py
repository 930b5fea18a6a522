"""What a rotation or a revocation does to the vault key and to sealed sessions."""

from __future__ import annotations

import pytest
from support.rig import EXAMPLE, Rig, bring

from keylease.errors import KeychainUnavailableError, VaultRevokedError
from keylease.keystores.base import Item
from keylease.secrets.secret import Secret
from keylease.statefile import Directory
from keylease.testing import MemoryKeyStore
from keylease.vault.vault import Vault


@pytest.fixture
def rig(tmp_path):
    """Return a service with one live session."""
    rig = Rig(tmp_path / "keylease")
    rig.session.store(bring())
    return rig


def custody(rig):
    """Return the custody of the rig's key, as the next process has it."""
    rig = rig.again()
    return rig.custody


def add_key(rig, generation):
    """Add a key of another generation beside the vault's own, as a crash leaves one."""
    item = Item(rig.vault.record().vault, "session-key", generation)
    rig.keystore.add(item, Secret(bytes(range(32))))


def generations(rig):
    """Return the generations of the session keys in the keychain."""
    return [item.generation for item in rig.keystore.items if item.kind == "session-key"]


def dying_after(steps, delete):
    """Return a deletion that works that many times and then kills the process."""
    left = iter(range(steps))

    def dying(item):
        if next(left, None) is None:
            raise KeyboardInterrupt
        return delete(item)

    return dying


def test_revocation_takes_the_keys_of_a_crash_along(rig):
    """A revocation deletes the keys that an interrupted rotation left, too."""
    custody(rig).rotate()
    add_key(rig, 1)
    add_key(rig, 3)

    assert custody(rig).revoke().deleted
    assert [] == generations(rig)


@pytest.mark.parametrize("left", [(4,), (3, 4), (2, 4), (1, 2, 3, 4), (1, 3, 6)])
@pytest.mark.parametrize("end", ["revoke", "rotate"])
def test_keys_that_several_crashes_left_are_all_deleted(rig, left, end):
    """After any number of interrupted rotations no old key remains in the keychain."""
    for _ in range(4):
        custody(rig).rotate()
    for generation in left:
        add_key(rig, generation)

    done = getattr(custody(rig), end)()

    assert [] == done.failures
    assert ([6] if end == "rotate" else []) == generations(rig)


def test_rotations_that_are_killed_one_after_the_other_leave_nothing_for_good(rig, monkeypatch):
    """Wherever several rotations die, the next complete one deletes all that they left."""
    for steps in (0, 0, 1, 0, 2, 0):
        with monkeypatch.context() as patch:
            patch.setattr(rig.keystore, "delete", dying_after(steps, rig.keystore.delete))
            with pytest.raises(KeyboardInterrupt):
                custody(rig).rotate()
    assert 2 < len(generations(rig)), "the control: there is something to find"

    custody(rig).rotate()

    assert [rig.vault.record().generation] == generations(rig)


def test_revocation_takes_the_keys_of_rotations_that_came_before_it_along(rig, monkeypatch):
    """Marking the vault can take seconds; a revocation also deletes the keys made meanwhile."""
    waiting, rotating = custody(rig), custody(rig)
    mark = type(rig.vault).revoke

    def slow(vault, now):
        for _ in range(3):
            rotating.rotate()
        return mark(vault, now)

    monkeypatch.setattr(type(rig.vault), "revoke", slow)

    done = waiting.revoke()

    assert done.deleted
    assert [] == generations(rig)
    assert done.record is not None
    assert 4 == done.record.generation, "what is said is said of the key that was deleted"


@pytest.mark.parametrize("end", ["revoke", "rotate"])
def test_audit_keys_outlive_everything(rig, end):
    """Old audit keys verify the log of past years, so none is ever deleted."""
    before = [item for item in rig.keystore.items if item.kind == "audit-key"]
    rig.keystore.add(before[0]._replace(generation=2), Secret(bytes(range(32))))
    custody(rig).rotate()

    getattr(custody(rig), end)()

    assert [1, 2] == [item.generation for item in rig.keystore.items if item.kind == "audit-key"]


def test_revocation_in_a_container_does_not_say_that_the_key_is_gone(rig):
    """In a container the empty keychain of the same kind does not prove that the key is gone."""
    inside = rig.again(keystore=MemoryKeyStore(instance="container"))

    done = inside.custody.revoke()

    assert isinstance(done.key_failure, KeychainUnavailableError)
    assert not done.deleted
    assert [1] == generations(rig)
    assert [] == rig.sealed()


def test_key_that_is_still_there_was_not_deleted(rig, monkeypatch):
    """A deletion that the keychain confirms but does not do is detected."""
    monkeypatch.setattr(rig.keystore, "delete", lambda _: True)

    done = custody(rig).revoke()

    assert "is still there" in str(done.key_failure)


def test_revocation_is_in_force_before_anything_is_deleted(rig, monkeypatch):
    """A revocation killed at its second step has already stopped every release."""

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
    """A rotation killed at any point leaves a working vault whose key is in the keychain."""

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


def test_nothing_is_sealed_under_the_key_that_was_replaced_meanwhile(rig, monkeypatch):
    """A process that read the old key before a rotation refuses to seal under it afterwards."""
    keys = rig.vault.open(rig.clock.now())
    custody(rig).rotate()
    (line,) = [line for line in rig.lines() if line["event"] == "key.rotated"]
    slow = rig.again()
    monkeypatch.setattr(Vault, "open", lambda *_: keys)

    with pytest.raises(KeychainUnavailableError, match="replaced"):
        slow.session.store(bring(EXAMPLE._replace(host="other.example")))

    assert [] == rig.sealed()
    assert line["mac"]
