"""Where the key is, told without asking the keychain."""

from __future__ import annotations

import pytest

from keylease.cli.keychain import has_state, place
from keylease.keystores import PREFERENCE
from keylease.vault.record import VaultRecord

RECORD = VaultRecord("0123456789abcdef", "kernel", "", 3, 1, "", "")


def test_place_names_the_keychains_own_command():
    """A locked keychain, too, has a title and a command."""
    found = place(RECORD)

    assert "Linux kernel keyring" == found.title
    assert "keyctl invalidate %user:keylease:0123456789abcdef:session-key.3" == (
        found.removal_command
    )


@pytest.mark.parametrize("name", PREFERENCE["linux"][:2])
def test_every_usual_keychain_is_known(name):
    """No command is made up, and none is missing."""
    assert RECORD.session_item.service in (place(RECORD._replace(keychain=name)).removal_command)


@pytest.mark.parametrize(("make", "there"), [("nothing", False), ("file", False), ("own", True)])
def test_state_is_looked_for_without_making_it(tmp_path, monkeypatch, make, there):
    """Asking for the vault does not make one."""
    path = tmp_path / "a" / "state"
    if make == "file":
        (tmp_path / "a").write_text("")
    elif make == "own":
        path.mkdir(parents=True)
    monkeypatch.setenv("KEYLEASE_STATE_DIR", str(path))

    assert there == has_state()
    assert there == path.exists()
