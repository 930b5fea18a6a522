"""What can be said about a vault's keychain without asking it anything."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple

from keylease import keystores
from keylease.errors import KeychainUnavailableError
from keylease.system.clock import Deadline
from keylease.system.paths import state_directory

if TYPE_CHECKING:
    from keylease.vault.record import VaultRecord


class KeyLocation(NamedTuple):
    """Where the vault key is."""

    title: str
    """As people call it; its name where this machine does not have it any more."""
    removal_command: str | None
    """The platform's own command that deletes the key; `None` if it is not known here."""


def place(record: VaultRecord) -> KeyLocation:
    """Return where the vault key is. A locked keychain has its title, too."""
    try:
        keystore = keystores.open_keystore(record.keychain, Deadline(0))
        return KeyLocation(keystore.title, keystore.removal_command(record.session_item))
    except KeychainUnavailableError:
        return KeyLocation(record.keychain, None)


def has_state() -> bool:
    """Return whether there is a state directory; to open it would be to make it."""
    try:
        os.lstat(state_directory())
    except OSError as error:
        # Where nobody can tell, opening it will say why.
        return not isinstance(error, FileNotFoundError | NotADirectoryError)
    return True
