"""A vault with its file and keychain, as one process after another uses it."""

import json

from support.rig import text

from keylease.statefile import Directory
from keylease.system.clock import Deadline
from keylease.testing import FrozenClock, MemoryKeyStore
from keylease.vault.record import FILE
from keylease.vault.vault import Vault

GOOD = {
    "format": 1,
    "vault": "0123456789abcdef",
    "keychain": "memory",
    "instance": "",
    "generation": 1,
    "audit_generation": 1,
    "created": "2026-09-21T14:13:20Z",
    "boot": "00" * 16,
    "revoked": None,
}
"""What the record of a first vault says, in a state directory that a test describes."""


class Place:
    """A vault, its file and its keychain."""

    def __init__(self, path, keychain=None):
        self.path = path
        self.clock = FrozenClock()
        self.keychain = keychain or MemoryKeyStore()
        self.opened = []

    def state(self):
        """Open the state directory."""
        return Directory.open(str(self.path), create=True)

    def vault(self, *, wanted=None, seconds=2.0):
        """Return the vault as a new process opens it."""

        def open_keystore(name):
            self.opened.append(name)
            return self.keychain

        def choose():
            self.keychain.probe()
            return self.keychain

        return Vault(
            self.state,
            open_keystore=open_keystore,
            choose_keystore=choose,
            wanted=wanted,
            deadline=Deadline(seconds),
        )

    def notice(self):
        """Record a revocation if there is one, as the service does, and return it."""
        now = self.clock.now()
        revocation = self.vault().find_revocation(now)
        if revocation is not None and revocation.first:
            self.vault().mark_revoked(revocation, now)
        return revocation

    def create(self, *, revive=False):
        """Make the missing keys and return the session key's bytes."""
        return text(self.vault().create(self.clock.now(), revive=revive).session)

    def open(self):
        """Return the session key's bytes, or None."""
        keys = self.vault().open(self.clock.now())
        return None if keys is None else text(keys.session)

    def revoke(self):
        """Delete the session key from the keychain, as an admin does."""
        assert self.keychain.delete(self.vault().record().session_item)

    def file(self):
        """Return the content of vault.json."""
        return json.loads((self.path / FILE).read_text("ascii"))
