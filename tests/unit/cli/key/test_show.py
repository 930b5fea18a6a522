"""`keylease key show`: where the key is and how to delete it, and never the key."""

from __future__ import annotations

import json

import pytest

from keylease import keystores
from keylease.errors import KeychainMissingError


def shown(console):
    """Return what a program reads."""
    return json.loads(console.run("key", "show", "--json").out)


def vault(console):
    """Return the vault's id."""
    return json.loads((console.state / "vault.json").read_text())["vault"]


def test_key_show_tells_everything_but_the_key(console):
    """A person can find the item in the keychain's own window, and copy the command."""
    console.login()
    console.clock.advance(2 * 86_400 + 3 * 3600)
    service = f"keylease:{vault(console)}:session-key.1"

    said = console.run("key", "show")

    assert (0, "") == (said.code, said.err)
    assert {
        "key": "generation 1, available",
        "keychain": "memory of this process (memory)",
        "item": f"{service}, user name keylease",
        "made": "2026-09-21T14:13:20Z, 2 d 3 h ago",
        "to delete it": f"forget {service} keylease",
        "audit key": f"keylease:{vault(console)}:audit-key.1; keep it, it verifies the audit log",
    } == dict((part.strip() for part in line.split("  ", 1)) for line in said.out.splitlines())


def test_json_is_what_is_documented(console):
    """Programs read the same under names that stay."""
    console.login()
    console.clock.advance(61)

    assert {
        "format": 1,
        "state": "available",
        "keychain": "memory",
        "title": "memory of this process",
        "service": f"keylease:{vault(console)}:session-key.1",
        "username": "keylease",
        "generation": 1,
        "created": "2026-09-21T14:13:20Z",
        "age_seconds": 61,
        "revoked": None,
        "removal_command": f"forget keylease:{vault(console)}:session-key.1 keylease",
        "audit_service": f"keylease:{vault(console)}:audit-key.1",
    } == shown(console)


@pytest.mark.parametrize(
    ("change", "code", "state"),
    [
        ("none", 0, "none"),
        ("lock", 4, "unavailable"),
        ("vanish", 4, "unavailable"),
        ("revoke", 5, "revoked"),
        ("reboot", 0, "reset"),
    ],
)
def test_every_state_of_the_key_is_told(console, change, code, state):
    """Whatever is wrong, where the key is or was is told, and the exit code says the rest."""
    console.keystore.survives_reboot = change != "reboot"
    if change != "none":
        console.login()
        {
            "lock": console.keystore.lock,
            "vanish": console.keystore.vanish,
            "revoke": console.revoke,
            "reboot": console.clock.reboot,
        }[change]()

    said = console.run("key", "show", "--json")

    assert (code, state) == (said.code, json.loads(said.out)["state"])
    assert code == console.run("key", "show").code


def test_looking_changes_nothing(console):
    """It makes no vault, ends no session, and writes no line."""
    assert 0 == console.run("key", "show").code
    assert not console.state.exists()

    console.login()
    console.clock.advance(901)
    lines = console.audit()
    console.run("key", "show")

    assert lines == console.audit()
    assert 1 == len(list(console.state.glob("sessions/*/*.sealed")))


def test_keychain_that_is_gone_from_the_machine_keeps_its_name(console, monkeypatch):
    """A backend that was uninstalled is still named, and no command is made up."""
    console.login()

    def missing(*_):
        msg = "the backend is not installed"
        raise KeychainMissingError(msg)

    monkeypatch.setattr(keystores, "open_keystore", missing)

    said = console.run("key", "show")

    assert 4 == said.code
    assert "memory (memory)" in said.out
    assert "not known on this machine" in said.out


def test_date_that_was_edited_by_hand_is_no_traceback(console):
    """A record that makes no sense in one field is shown as it is, safe for a terminal."""
    console.login()
    path = console.state / "vault.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"created": "yester\x1bday"}))

    assert "made          yester\\x1bday\n" in console.run("key", "show").out
    assert shown(console)["age_seconds"] is None


def test_no_form_shows_the_key(console):
    """Not in hexadecimal, not in base64, not raw."""
    console.login()
    from base64 import b64encode  # noqa: PLC0415 - only here

    (key,) = console.keystore.read([console.keystore.items[0]])
    raw = bytes(key.reveal())

    for words in ((), ("--json",)):
        said = console.run("key", "show", *words)
        for form in (raw.hex(), b64encode(raw).decode(), repr(raw)[2:-1]):
            assert form not in said.out + said.err
