"""Check that the keychain is there and unlocked: the one that the vault is pinned to, if any."""

from __future__ import annotations

from typing import TYPE_CHECKING

from keylease.cli.doctor.base import Finding
from keylease.errors import KeychainUnavailableError, StateError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from keylease.cli.doctor.base import Subject


def check(subject: Subject) -> Iterator[Finding]:
    """Fetch the vault's keys. Without a vault, check that a keychain can take the first key."""
    try:
        record = subject.record
    except StateError:
        found = "the vault's file cannot be read, so its keychain is not known"
        yield Finding("warn", found, "do what the line of vault says")
        return
    if record is None:
        keystore = subject.wiring.vault.choose_keystore()
        yield Finding("ok", f"{keystore.title} ({keystore.name}) can take the first key")
        return
    error = subject.opening.error
    if isinstance(error, KeychainUnavailableError):
        yield Finding("fail", f"the vault is pinned to {record.keychain}: {error}", error.hint)
        return
    # Any other error means that the keychain has answered.
    title = subject.wiring.vault.keystore(record).title
    yield Finding("ok", f"{title} ({record.keychain}) is unlocked, and the vault is pinned to it")
