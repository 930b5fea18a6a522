"""Every way to end sessions, with a fault at each call that it makes."""

from __future__ import annotations

import pytest
from support.faults import KINDS, Faults, injected
from support.rig import EXAMPLE, Rig, bring
from support.share import part_of
from support.shares import MemoryShares

from keylease.audit.log import AuditLog
from keylease.errors import PolicyError, VaultRevokedError
from keylease.model import Settings, Terms
from keylease.shares.policy import PolicyShares
from keylease.statefile import Directory
from keylease.testing import FrozenClock, MemoryKeyStore

OTHER = EXAMPLE._replace(host="other.example")
DIRECTORY = (
    "child",
    "names",
    "read",
    "replace",
    "rewrite",
    "append",
    "remove",
    "remove_child",
    "withdraw",
    "sweep",
    "lock",
)
KEYSTORE = ("instance", "read", "add", "delete")
SHARES = ("read", "destroy", "sweep")


def custody(rig):
    """Return the custody of the rig's key, as a process has it."""
    return rig.custody


def revoke(rig):
    """Do what `keylease revoke` does; return whether it says that something is left."""
    done = custody(rig).revoke()
    return bool(done.failures or done.sealed or done.key_failure or done.sealed is None)


def rotate(rig):
    """Do what `keylease key rotate` does."""
    return bool(custody(rig).rotate().failures)


def logout_all(rig):
    """Do what `keylease logout --all` does."""
    rig.auth.logout_all()
    return False


def logout(rig):
    """End the sessions of one host, as a person does."""
    rig.auth.logout(EXAMPLE)
    return False


def erase(rig):
    """Do what git does with a password that the server refused."""
    rig.session.erase(EXAMPLE, "alice")
    return False


def collect(rig):
    """Do what `keylease gc` does when every session is over."""
    rig.session.collect()
    return False


def deleted_key(rig):
    """Ask for a session after the vault key was deleted from the keychain."""
    with pytest.raises(VaultRevokedError):
        rig.session.get(EXAMPLE)
    return False


def policy(rig):
    """Ask for a session after the machine's policy has revoked all of them."""
    with pytest.raises(PolicyError):
        rig.session.get(EXAMPLE)
    return False


def replace(rig):
    """Log in again, which ends the existing session."""
    rig.session.store(bring(password=b"another password"))
    return False


class Place:
    """A state with two sessions of one host and one of another, before the ending."""

    def __init__(self, path, end):
        self.end = end
        clock = FrozenClock()
        self.shares = MemoryShares(clock)
        shares = (self.shares, PolicyShares())
        self.rig = Rig(path, clock=clock, keystore=MemoryKeyStore(), shares=shares)
        self.rig.session.store(bring())
        self.rig.session.store(bring(username="bob"))
        self.rig.session.store(bring(OTHER))
        if end is deleted_key:
            self.rig.keystore.delete(self.rig.vault.record().session_item)
        if end is collect:
            clock.advance(900)
        self.settings = Settings(general=Terms(revoked=True)) if end is policy else None

    def process(self):
        """Return the collaborators of the next process."""
        return self.rig.again(settings=self.settings)

    def left(self):
        """Return the targets' sealed files that should be gone and still exist."""
        count = len(self.rig.sealed())
        expected = {logout: 1, erase: 2, replace: 3}.get(self.end, 0)
        return count - expected

    def marked(self):
        """Return whether the vault is marked as revoked, if it should be."""
        return self.end not in {revoke, deleted_key} or bool(self.rig.vault.record().revoked)


ENDINGS = (revoke, rotate, logout_all, logout, erase, collect, deleted_key, policy, replace)


def collaborators(place):
    """Return the collaborators that an ending calls."""
    return {
        Directory: DIRECTORY,
        place.rig.keystore: KEYSTORE,
        place.shares: SHARES,
        AuditLog: ("log_or_gap",),
    }


def attempt(place, faults, monkeypatch):
    """Run the ending with the faults; return whether it reported that it was incomplete."""
    process = place.process()
    with injected(monkeypatch, faults, collaborators(place)):
        try:
            return place.end(process)
        except (Exception, KeyboardInterrupt, pytest.fail.Exception):  # noqa: BLE001 - any says it
            return True


@pytest.mark.parametrize("end", ENDINGS, ids=lambda end: end.__name__)
def test_fault_at_any_call_leaves_nothing_unsaid(tmp_path, monkeypatch, end):
    """After a fault all is ended, or the command says that it is not; the next run ends it."""
    raised, said = True, False
    # In CI the other run takes the other numbers. Both continue to the end, where no call is left.
    for number in part_of(range(1000)):
        place = Place(tmp_path / str(number), end)
        # Each call gets one kind of fault. The code treats all kinds alike.
        faults = Faults(number, KINDS[number % len(KINDS)])

        said = attempt(place, faults, monkeypatch)

        raised = faults.raised
        where = f"call {number}, {faults.names[number:][:1]}"
        # A replaced session whose share cannot be read for a moment stays: the next login ends it.
        assert said or end is replace or (not place.left() and place.marked()), where
        if said or end is replace:
            assert place.end(place.process()) is False or end is rotate, where
        assert 0 == place.left(), where
        assert place.marked(), where
        if not raised:
            break
    assert not raised, "it came to the end"
    assert number > 20, "the control: there were calls to fail"
    assert not said, "the control: without a fault it has nothing to say"


@pytest.mark.parametrize("make", KINDS, ids=lambda make: repr(make())[:14])
def test_keychain_that_fails_holds_up_no_revocation(tmp_path, monkeypatch, make):
    """Whatever a keychain raises at any call, the vault is marked and no session is left."""
    for number in range(3):
        place = Place(tmp_path / str(number), revoke)
        faults = Faults(number, make, lasting=True)
        with injected(monkeypatch, faults, {place.rig.keystore: KEYSTORE}):
            try:
                revoke(place.process())
            except KeyboardInterrupt:
                assert make is KeyboardInterrupt

        assert faults.raised
        assert place.marked()
        assert (0, {}) == (place.left(), place.shares.held)


def test_no_keychain_is_asked_before_everything_is_destroyed(tmp_path, monkeypatch):
    """A revocation killed while the keychain is slow has ended every session, on record."""
    place = Place(tmp_path / "keylease", revoke)
    seen = []

    def asked(*_):
        seen.append((place.left(), place.marked(), place.shares.held, place.rig.events()[-4:]))
        raise KeyboardInterrupt

    for name in KEYSTORE:
        monkeypatch.setattr(place.rig.keystore, name, asked)
    with pytest.raises(KeyboardInterrupt):
        revoke(place.process())

    ended = ("session.ended", "revoked")
    assert (0, True, {}, [("vault.revoked", None), ended, ended, ended]) == seen[0]


@pytest.mark.parametrize("end", [logout_all, policy], ids=lambda end: end.__name__)
def test_ending_without_a_key_asks_no_keychain(tmp_path, monkeypatch, end):
    """An ending that needs no key works while the keychain hangs."""
    place = Place(tmp_path / "keylease", end)
    process = place.process()
    faults = Faults(0, AssertionError, lasting=True)
    with injected(monkeypatch, faults, {place.rig.keystore: KEYSTORE}):
        end(process)

    assert (0, 0) == (faults.count, place.left())
