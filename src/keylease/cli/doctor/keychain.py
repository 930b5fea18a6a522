"""Whether the keychain is there and unlocked: the one that the vault is pinned to, if any."""

from __future__ import annotations

from typing import TYPE_CHECKING

from keylease.cli.doctor.base import Finding
from keylease.errors import KeychainUnavailableError, StateError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from keylease.cli.doctor.base import Subject


def check(subject: Subject) -> Iterator[Finding]:
    """Fetch the vault's keys; without a vault, look whether a key could be put somewhere."""
    try:
        record = subject.record
    except StateError:
        found = "it cannot be read which keychain the vault is pinned to"
        yield Finding("warn", found, "see what is said of the state")
        return
    if record is None:
        keystore = subject.wiring.choose_keystore()
        yield Finding("ok", f"{keystore.title} ({keystore.name}) is there for the first key")
        return
    error = subject.opening.error
    if isinstance(error, KeychainUnavailableError):
        yield Finding("fail", f"the vault is pinned to {record.keychain}: {error}", error.hint)
        return
    # A key that is not found, or not to be there, was looked for: the keychain has answered.
    title = subject.wiring.vault.keystore(record).title
    yield Finding("ok", f"{title} ({record.keychain}) is unlocked, and the vault is pinned to it")
