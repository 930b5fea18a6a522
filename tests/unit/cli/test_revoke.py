"""`keylease revoke`: everything is gone, or it is said what is not."""

from __future__ import annotations

import json
import sys

import pytest
from support.shares import MemoryShares

from keylease.errors import StateError
from keylease.shares.policy import PolicyShares
from keylease.statefile import Directory

URL = "https://git.example"
QUESTION = "protocol=https\nhost=git.example\n\n"


def kinds(console):
    """Return which keys are in the keychain."""
    return [item.kind for item in console.keystore.items]


def sealed(console):
    """Return the sealed files."""
    return list(console.state.glob("sessions/*/*.sealed"))


def events(console):
    """Return event and reason of each audit line."""
    return [(line["event"], line["reason"]) for line in console.audit()]


def test_revoke_leaves_nothing_that_opens_a_session(console):
    """Key, shares, files and records of use are gone; the log and its key stay, and say so."""
    shares = MemoryShares(console.clock)
    console.shares = (shares, PolicyShares())
    console.login()
    console.login("https://two.example")

    said = console.run("revoke", "--yes")

    assert (0, "") == (said.code, said.err)
    service = f"keylease:{json.loads((console.state / 'vault.json').read_text())['vault']}"
    assert [
        "marked the vault as revoked",
        f"deleted the vault key {service}:session-key.1 from memory of this process",
        "ended 2 sessions",
    ] == said.out.splitlines()
    assert ["audit-key"] == kinds(console)
    assert ({}, []) == (shares.held, list(console.state.glob("sessions/*/*")))
    assert 1 == events(console).count(("vault.revoked", None))
    assert 2 == events(console).count(("session.ended", "revoked"))
    assert ("key.deleted", None) == events(console)[-1]
    assert console.audit()[-1]["mac"], "it vouches for the lines before the keychain was asked"
    assert 0 == console.run("audit", "verify").code


def test_revocation_stays_until_a_person_ends_it(console):
    """No `get` and no `store` of a tool brings anything back; a login does."""
    console.login()
    console.run("revoke", "--yes")

    assert 5 == console.run("status").code
    assert 5 == console.run("extend", URL).code
    assert ["audit-key"] == kinds(console)

    console.login()
    assert [URL] == console.urls()
    assert 2 == console.status()["keychain"]["generation"]


def test_key_that_is_put_back_does_not_undo_it(console):
    """A copy of the key opens no session after the revocation."""
    console.login()
    (session, *_), (item, *_) = sealed(console), console.keystore.items
    (key,) = console.keystore.read([item])
    kept = session.read_bytes()
    console.run("revoke", "--yes")
    console.keystore.add(item, key)
    session.parent.mkdir(0o700)
    session.write_bytes(kept)
    session.chmod(0o600)

    assert 5 == console.run("status").code
    assert [] == sealed(console)


def test_revoke_of_a_revoked_vault_looks_again(console):
    """An admin's script can run twice, and the second run tells that all is gone."""
    console.login()
    console.run("revoke", "--yes")

    said = console.run("revoke", "--yes")

    assert (0, "") == (said.code, said.err)
    assert "the vault is revoked since 2026-09-21T14:13:20Z" == said.out.splitlines()[0]
    assert "there is no vault key keylease:" in said.out
    assert "ended 0 sessions" == said.out.splitlines()[-1]
    assert 1 == events(console).count(("vault.revoked", None))


def test_revoke_finishes_what_an_admin_began(console):
    """The key was deleted in the keychain, and keylease has not run since."""
    console.login()
    console.revoke()

    said = console.run("revoke", "--yes")

    assert (0, "") == (said.code, said.err)
    assert [] == sealed(console)
    assert 1 == events(console).count(("vault.revoked", None))


@pytest.mark.parametrize("words", [("revoke",), ("revoke", "--yes")])
def test_nothing_is_made_where_there_is_nothing(console, words):
    """A script for all users of a machine leaves no trace with those who have no vault."""
    said = console.run(*words)

    assert (0, "there is no vault, so there is nothing to revoke\n", "") == said
    assert not console.state.exists()


def test_state_without_a_vault_has_nothing_to_revoke(console):
    """A state directory without a vault has no session to end."""
    console.run("extend", "https://git.example")
    assert console.state.exists()

    said = console.run("revoke", "--yes")

    assert (0, "there is no vault, so there is nothing to revoke\n", "") == said


def test_locked_keychain_keeps_the_key_and_nothing_else(console):
    """The sessions end; the remaining key is reported with a remedy."""
    console.login()
    console.keystore.lock()

    said = console.run("revoke", "--yes")

    assert 4 == said.code
    assert ["marked the vault as revoked", "ended 1 session"] == said.out.splitlines()
    assert "may still be in memory of this process: the keychain in memory is locked" in said.err
    assert "keylease: hint: unlock the keychain and revoke again, or run: forget " in said.err
    assert [] == sealed(console)

    console.keystore.recover()
    assert ["session-key", "audit-key"] == kinds(console), "the control: it was there"
    assert 5 == console.run("status").code, "and the vault stays revoked all the same"
    assert 0 == console.run("revoke", "--yes").code
    assert ["audit-key"] == kinds(console)


def test_revoke_goes_on_without_an_audit_log(console):
    """Ending is never held up by the log."""
    console.login()
    (console.state / "audit").rename(console.state / "away")
    (console.state / "audit").write_text("in the way")

    said = console.run("revoke", "--yes")

    assert (0, "") == (said.code, said.err)
    assert ["audit-key"] == kinds(console)
    assert [] == sealed(console)


def test_revoke_goes_on_where_the_mark_cannot_be_written(console, monkeypatch):
    """On a full disk the key and the files go first; the mark is tried again in their place."""
    console.login()
    replace, refused = Directory.replace, []

    def full(self, name, data):
        if name == "vault.json" and not refused:
            refused.append(name)
            msg = "no space left on device"
            raise StateError(msg)
        replace(self, name, data)

    monkeypatch.setattr(Directory, "replace", full)

    said = console.run("revoke", "--yes")

    assert ["vault.json"] == refused
    assert (0, "") == (said.code, said.err)
    assert "marked the vault as revoked" in said.out


def test_revoke_says_that_it_could_not_mark(console, monkeypatch):
    """Where the disk takes nothing at all, the key is deleted and the mark is owed."""
    console.login()

    def full(*_):
        msg = "no space left on device"
        raise StateError(msg)

    monkeypatch.setattr(Directory, "replace", full)

    said = console.run("revoke", "--yes")

    assert 6 == said.code
    assert "keylease: error: no space left on device\n" in said.err
    assert ["audit-key"] == kinds(console)
    assert [] == sealed(console)


@pytest.mark.skipif(sys.platform == "win32", reason="a directory is removed in another way there")
def test_file_that_cannot_be_removed_is_counted(console):
    """A file that cannot be removed is reported, and everything else is removed."""
    console.login()
    console.login("https://two.example")
    file = sealed(console)[0]
    file.unlink()
    file.mkdir(0o700)

    said = console.run("revoke", "--yes")

    assert 6 == said.code
    assert "ended 1 session\n" in said.out
    assert f"{file.name} cannot be removed" in said.err
    assert "error: 1 sealed file is left" in said.err
    assert ["audit-key"] == kinds(console)
    assert [file] == sealed(console)


def test_share_out_of_reach_is_a_warning(console):
    """Without its file a share opens nothing, and it dies by itself."""
    shares = MemoryShares(console.clock)
    console.shares = (shares, PolicyShares())
    console.login()
    shares.refusing = "this process is in a container"

    said = console.run("revoke", "--yes")

    assert 0 == said.code
    assert "keylease: warning: 1 volatile share could not be removed\n" in said.err
    assert [] == sealed(console)


def test_broken_record_is_said(console):
    """With an unreadable vault.json the key is unknown, but the files are removed."""
    console.login()
    (console.state / "vault.json").write_text("garbage")

    said = console.run("revoke", "--yes")

    assert 4 == said.code, "the key is there, and a script for all users has to tell"
    assert "session-key" in kinds(console)
    assert (
        "keylease: error: the vault is not marked, and its key may still be there:"
        " vault.json is not a vault record of format 1\n"
    ) in said.err
    assert "delete the item keylease:VAULT:session-key.NUMBER" in said.err
    assert 1 == said.err.count("error: ")
    assert "ended 1 session\n" in said.out
    assert [] == sealed(console)


@pytest.mark.skipif(sys.platform == "win32", reason="links need a privilege there")
def test_one_reason_is_said_once(console):
    """Several steps stop at the same thing; a person reads it one time."""
    console.login()
    sessions = console.state / "sessions"
    sessions.rename(console.state.parent / "elsewhere")
    sessions.symlink_to(console.state.parent / "elsewhere")

    said = console.run("revoke", "--yes")

    assert 6 == said.code
    assert 1 == said.err.count("is a symbolic link")
    assert ["audit-key"] == kinds(console)


def test_without_a_terminal_nothing_is_done_unless_agreed(console, monkeypatch):
    """A script without --yes changes nothing and gets an error."""
    console.login()

    def nobody(_):
        from keylease.errors import UsageError  # noqa: PLC0415 - only here

        msg = "there is no terminal to ask on"
        raise UsageError(msg)

    monkeypatch.setattr("keylease.system.terminal.ask", nobody)

    said = console.run("revoke")

    assert 2 == said.code
    assert "hint: nothing was changed; to skip the question: --yes\n" in said.err
    assert [URL] == console.urls()


@pytest.mark.parametrize(
    ("answer", "code"),
    [(b"y", 0), (b"YES ", 0), (b"", 1), (b"n", 1), (b"yeah", 1), (b"\xff", 1)],
)
def test_only_yes_is_yes(console, monkeypatch, answer, code):
    """An answer that is not plain changes nothing."""
    console.login()
    monkeypatch.setattr("keylease.system.terminal.ask", lambda _: answer)

    said = console.run("revoke")

    assert code == said.code
    assert ([] if code == 0 else [URL]) == console.urls()
