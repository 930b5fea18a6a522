"""Whether the keychain is there and unlocked: the one that the vault is pinned to, if any."""

from __future__ import annotations

from typing import TYPE_CHECKING

from keylease import config, keystores
from keylease.cli.doctor.base import KEYCHAIN_SECONDS, Finding
from keylease.clock import Deadline
from keylease.errors import ConfigError, KeychainUnavailableError, StateError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from keylease.cli.doctor.base import Subject
    from keylease.keystores.base import KeyStore


def check(subject: Subject) -> Iterator[Finding]:
    """Fetch the vault's keys; without a vault, look whether a key could be put somewhere."""
    try:
        record = subject.record
    except StateError:
        found = "it cannot be read which keychain the vault is pinned to"
        yield Finding("warn", found, "see what is said of the state")
        return
    if record is None:
        keystore = _choose(subject)
        yield Finding("ok", f"{keystore.title} ({keystore.name}) is there for the first key")
        return
    error = subject.opening.error
    if isinstance(error, KeychainUnavailableError):
        yield Finding("fail", f"the vault is pinned to {record.keychain}: {error}", error.hint)
        return
    # A key that is not found was looked for, so the keychain has answered.
    title = subject.wiring.vault.keystore(record).title
    yield Finding("ok", f"{title} ({record.keychain}) is unlocked, and the vault is pinned to it")


def _choose(subject: Subject) -> KeyStore:
    deadline = Deadline(KEYCHAIN_SECONDS)
    try:
        options = {"keychain": subject.keychain}
        user, policy = config.user_file(), config.machine_policy()
        wanted = config.load(options, user=user, policy=policy).keychain
    except ConfigError:
        # Another check says what is wrong with it.
        wanted = subject.keychain
    if wanted is None:
        return keystores.choose(deadline)
    keystore = keystores.open_keystore(wanted, deadline)
    keystore.probe()
    return keystore
