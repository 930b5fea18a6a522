"""Generations of the vault's keys: which the keychain holds, and what a missing key means.

A new generation is a new item; no item is overwritten. A missing key means that it was deleted,
unless a reboot emptied the keychain, or this is another keychain of the same kind.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from keylease.errors import KeychainUnavailableError, VaultRevokedError
from keylease.keystores.base import KEY_BYTES, MEMORY
from keylease.model import rfc3339
from keylease.secrets.secret import Secret

if TYPE_CHECKING:
    from keylease.keystores.base import Item, KeyStore
    from keylease.model import Moment
    from keylease.vault.record import VaultRecord

_ABSENT: Final = 2
"""The search for old keys ends after this many absent generations in a row."""


def existing(
    record: VaultRecord, keystore: KeyStore, now: Moment, *, revive: bool
) -> tuple[Secret | None, Secret | None]:
    """Return the session key and the audit key that are in force.

    Raises:
        VaultRevokedError: the session key was deleted, and the caller may not `revive` the vault.
        KeychainUnavailableError: the keychain cannot answer now.
    """
    if not record.generation:
        return None, None
    if forgotten(record, keystore, now):
        check_instance(record, keystore)
        return None, None
    session, audit = keystore.read((record.session_item, record.audit_item))
    if session is None and record.revoked is None:
        check_instance(record, keystore)
        if emptied(record, keystore, now):
            return None, None
        demand_boot(record, keystore, now)
    if record.revoked is not None or session is None:
        if not revive:
            raise revoked(record)
        return None, audit
    return session, audit


def check_instance(record: VaultRecord, keystore: KeyStore) -> None:
    """Raise if the keychain is another one of the same kind; then a missing key proves nothing.

    This happens in containers, which have a kernel keyring of their own.
    """
    instance = keystore.instance()
    if instance.partition(MEMORY)[0] != record.instance.partition(MEMORY)[0]:
        msg = (
            f"the vault is pinned to {keystore.title} ({record.instance}), "
            f"and this process sees another one ({instance})"
        )
        hint = "run keylease where the vault was made, or move its state directory away"
        raise KeychainUnavailableError(msg, hint)


def usable(record: VaultRecord, keystore: KeyStore, now: Moment) -> bool:
    """Return whether the keychain should hold the record's key."""
    if not record.generation or record.revoked is not None:
        return False
    return not (forgotten(record, keystore, now) or emptied(record, keystore, now))


def next_generation(
    record: VaultRecord, keystore: KeyStore, now: Moment
) -> tuple[Secret, VaultRecord]:
    """Make the session key of the next generation; return it with its record."""
    session = Secret.random(KEY_BYTES)
    record = record._replace(
        instance=keystore.instance(),
        generation=record.generation + 1,
        created=rfc3339(now.wall_ns),
        boot=now.boot,
        revoked=None,
    )
    put(keystore, record.session_item, session)
    return session, record


def put(keystore: KeyStore, item: Item, key: Secret) -> None:
    """Add a key that is not in the record yet.

    Raises:
        KeychainUnavailableError: the keychain cannot take it now.
    """
    try:
        keystore.add(item, key)
    except KeychainUnavailableError:
        # A crash before the record was written may have left an item of this name. If the failure
        # has another cause, the second `add` raises again.
        keystore.delete(item)
        keystore.add(item, key)


def read_audit(record: VaultRecord, keystore: KeyStore) -> Secret | None:
    """Return the audit key; `None` if unavailable, because a line about an end may lack its MAC."""
    try:
        (audit,) = keystore.read((record.audit_item,))
    except KeychainUnavailableError:
        return None
    return audit


def forgotten(record: VaultRecord, keystore: KeyStore, now: Moment) -> bool:
    """Return whether a reboot has certainly emptied the keychain, which is no revocation.

    See `keylease.rules.boot_is_over`. The record holds whole seconds of the wall clock.
    """
    began = rfc3339(now.wall_ns - now.boot_ns)
    return _may_be_forgotten(record, keystore, now) and began > record.created


def emptied(record: VaultRecord, keystore: KeyStore, now: Moment) -> bool:
    """Return whether the keychain was replaced by a new one without a reboot: no revocation.

    A user who deletes a key or clears the keyring keeps the same keyring.
    """
    if keystore.survives_reboot or record.revoked is not None or record.boot != now.boot:
        return False
    before, after = (
        instance.partition(MEMORY)[2] for instance in (record.instance, keystore.instance())
    )
    return bool(before and after) and before != after


def demand_boot(record: VaultRecord, keystore: KeyStore, now: Moment) -> None:
    """Check that a missing key does not belong to another boot, which may still be running.

    Raises:
        KeychainUnavailableError: it may belong to another boot.
    """
    if _may_be_forgotten(record, keystore, now):
        msg = f"the {keystore.title} has no vault key, and the vault was made in another boot"
        hint = "run keylease where the vault was made, or start afresh with: keylease revoke"
        raise KeychainUnavailableError(msg, hint)


def _may_be_forgotten(record: VaultRecord, keystore: KeyStore, now: Moment) -> bool:
    return not keystore.survives_reboot and record.boot != now.boot and record.revoked is None


def revoked(record: VaultRecord) -> VaultRevokedError:
    """Return the error for a deleted or revoked vault key."""
    if record.revoked is None:
        return VaultRevokedError(f"the vault key was deleted from the keychain {record.keychain}")
    # NOTE: the key may still exist: a revocation is recorded even if the keychain is locked.
    return VaultRevokedError(
        f"the vault key in the keychain {record.keychain} was revoked at {record.revoked}"
    )


def delete(record: VaultRecord, keystore: KeyStore, generation: int) -> bool:
    """Delete the session key of one generation, and return whether it was there.

    Raises:
        KeychainUnavailableError: it may still be there.
    """
    check_instance(record, keystore)
    item = record._replace(generation=generation).session_item
    deleted = keystore.delete(item)
    (left,) = keystore.read((item,))
    if left is not None:
        left.wipe()
        msg = f"{item.service} was deleted from {keystore.title} and is still there"
        raise KeychainUnavailableError(msg)
    return deleted


def delete_left(record: VaultRecord, keystore: KeyStore) -> int:
    """Delete the left session keys of other generations, and return their number.

    A rotation that was killed, or met a locked keychain, leaves the old key, or the next one before
    it is recorded. The vault's lock keeps out a process that makes the next one. Audit keys are
    never deleted, because they verify older lines.

    Raises:
        KeychainUnavailableError: a key may still be there.
    """
    check_instance(record, keystore)
    # Oldest first: if this process is killed, no gap ends the next search too early.
    left = (*reversed(_old(record, keystore)), record.generation + 1)
    return sum(delete(record, keystore, generation) for generation in left)


def _old(record: VaultRecord, keystore: KeyStore) -> list[int]:
    """Return the former generations that still have a key, newest first."""
    found = []
    absent = 0
    for generation in range(record.generation - 1, 0, -1):
        (key,) = keystore.read((record._replace(generation=generation).session_item,))
        if key is None:
            absent += 1
            if absent == _ABSENT:
                break
        else:
            key.wipe()
            absent = 0
            found.append(generation)
    return found
