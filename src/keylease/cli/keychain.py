"""Describe a vault's keychain without contacting it."""

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
    """The keychain's title; its name if this machine no longer has it."""
    removal_command: str | None
    """The platform's command that deletes the key; `None` if unknown."""


def place(record: VaultRecord) -> KeyLocation:
    """Return where the vault key is. This works for a locked keychain, too."""
    try:
        keystore = keystores.open_keystore(record.keychain, Deadline(0))
        return KeyLocation(keystore.title, keystore.removal_command(record.session_item))
    except KeychainUnavailableError:
        return KeyLocation(record.keychain, None)


def has_state() -> bool:
    """Return whether there is a state directory. Opening it would create it."""
    try:
        os.lstat(state_directory())
    except OSError as error:
        # For any other error return True: opening the directory then reports it.
        return not isinstance(error, FileNotFoundError | NotADirectoryError)
    return True
