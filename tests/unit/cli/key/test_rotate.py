"""`keylease key rotate`: a new key, and nothing that the old one opened."""

from __future__ import annotations

import pytest
from support.shares import MemoryShares

from keylease.errors import KeychainUnavailableError
from keylease.shares.policy import PolicyShares


def services(console):
    """Return the keys in the keychain, without the vault's id."""
    return [item.service.rpartition(":")[2] for item in console.keystore.items]


def events(console):
    """Return event, outcome and reason of each audit line since the login."""
    lines = [(line["event"], line["outcome"], line["reason"]) for line in console.audit()]
    return lines[lines.index(("login", "ok", None)) + 1 :]


def test_rotate_makes_a_new_key_and_ends_every_session(console):
    """The old key is gone from the keychain, and so is what it sealed; the log key stays."""
    shares = MemoryShares(console.clock)
    console.shares = (shares, PolicyShares())
    console.login()

    said = console.run("key", "rotate")

    assert (0, "") == (said.code, said.err)
    assert [
        "made vault key generation 2 in memory of this process",
        "ended 1 session",
    ] == said.out.splitlines()
    assert ["audit-key.1", "session-key.2"] == services(console)
    assert {} == shares.held
    assert [] == list(console.state.glob("sessions/*/*"))
    assert [("key.rotated", "ok", None), ("session.ended", "ok", "revoked")] == events(console)
    assert 0 == console.run("status").code, "it is no revocation"


def test_after_a_rotation_everything_works(console):
    """The next login is sealed under the new key, and the next rotation replaces that."""
    console.login()
    console.run("key", "rotate")
    console.login()

    assert ["https://git.example"] == console.urls()
    assert 0 == console.run("key", "rotate").code
    assert ["audit-key.1", "session-key.3"] == services(console)


def test_copy_of_old_key_and_file_does_not_come_back(console):
    """Whoever puts both back finds the file removed."""
    console.login()
    (file,) = console.state.glob("sessions/*/*.sealed")
    kept, item = file.read_bytes(), console.keystore.items[0]
    (key,) = console.keystore.read([item])
    console.run("key", "rotate")
    console.keystore.add(item, key)
    file.parent.mkdir(0o700)
    file.write_bytes(kept)
    file.chmod(0o600)

    assert [] == console.urls()
    assert ("session.ended", "ok", "revoked") == events(console)[-1]
    assert not file.exists()


def test_rotate_with_a_locked_keychain_changes_nothing(console):
    """Sessions live on under the old key."""
    console.login()
    console.keystore.lock()

    assert 4 == console.run("key", "rotate").code

    console.keystore.recover()
    assert ["session-key.1", "audit-key.1"] == services(console)
    assert ["https://git.example"] == console.urls()


def test_rotate_that_cannot_be_written_down_does_not_happen(console):
    """A new key without a line about it would be a hole in the log."""
    console.login()
    (console.state / "audit").rename(console.state / "away")
    (console.state / "audit").write_text("in the way")

    assert 7 == console.run("key", "rotate").code
    assert ["session-key.1", "audit-key.1"] == services(console)


def test_keychain_that_takes_no_new_key_keeps_the_old_one(console, monkeypatch):
    """The line about the change is followed by one that takes it back."""
    console.login()

    def full(*_):
        msg = "the keychain is full"
        raise KeychainUnavailableError(msg)

    monkeypatch.setattr(console.keystore, "add", full)

    assert 4 == console.run("key", "rotate").code
    assert [
        ("key.rotated", "ok", None),
        ("key.rotated", "refused", "keychain_unavailable"),
    ] == events(console)
    assert ["https://git.example"] == console.urls()


def test_old_key_that_stays_is_told(console, monkeypatch):
    """The new key counts and the sessions are over, but somebody has to look at the old one."""
    console.login()
    delete = console.keystore.delete

    def keeping(item):
        if item.generation == 1:
            msg = "the keychain does not delete"
            raise KeychainUnavailableError(msg)
        return delete(item)

    monkeypatch.setattr(console.keystore, "delete", keeping)

    said = console.run("key", "rotate")

    assert 4 == said.code
    assert "keylease: error: the keychain does not delete\n" in said.err
    assert "ended 1 session\n" in said.out
    assert [] == console.urls()


@pytest.mark.parametrize(("change", "code"), [("none", 6), ("revoked", 5), ("reboot", 6)])
def test_there_has_to_be_a_key(console, change, code):
    """Where there is none, rotate makes none and says how to."""
    if change != "none":
        console.keystore.survives_reboot = False
        console.login()
        {"revoked": console.revoke, "reboot": console.clock.reboot}[change]()
    before = console.keystore.items

    said = console.run("key", "rotate")

    assert code == said.code
    assert ("keylease: hint: make one with: keylease init\n" in said.err) == (code == 6)
    assert before == console.keystore.items
    assert console.state.exists() == (change != "none")
