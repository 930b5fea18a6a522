"""Generations of the vault's keys in the keychain: which are there, and what their absence means.

A new generation is a new item, and none is ever overwritten. That a key is not there means that it
was deleted, unless a reboot has taken it or this is another keychain of the same kind.
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
"""How many generations in a row have to be absent for the search for old ones to end."""


def existing(
    record: VaultRecord, keystore: KeyStore, now: Moment, *, revive: bool
) -> tuple[Secret | None, Secret | None]:
    """Return the session key and the audit key that are there and count.

    Raises:
        VaultRevokedError: the session key was deleted, and this is nobody who may `revive` it.
        KeychainUnavailableError: nothing can be said.
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
    """Raise if a key that was not found was looked for in another keychain of the same kind.

    Seen in containers: their kernel keyring is another one, in which nothing is found.
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
    """Return whether the record names a key that should be there."""
    if not record.generation or record.revoked is not None:
        return False
    return not (forgotten(record, keystore, now) or emptied(record, keystore, now))


def next_generation(
    record: VaultRecord, keystore: KeyStore, now: Moment
) -> tuple[Secret, VaultRecord]:
    """Put the next generation's session key, and return it with the record that names it."""
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
    """Add a key under a name that is not in the record yet.

    Raises:
        KeychainUnavailableError: the keychain cannot take it now.
    """
    try:
        keystore.add(item, key)
    except KeychainUnavailableError:
        # What bears the name of a generation that is not in the record was left by a crash before
        # that was written. If it is something else that refused, it refuses again.
        keystore.delete(item)
        keystore.add(item, key)


def read_audit(record: VaultRecord, keystore: KeyStore) -> Secret | None:
    """Return the audit key of a revoked vault; nobody waits for it, lines can do without a MAC."""
    try:
        (audit,) = keystore.read((record.audit_item,))
    except KeychainUnavailableError:
        return None
    return audit


def forgotten(record: VaultRecord, keystore: KeyStore, now: Moment) -> bool:
    """Return whether a reboot has emptied the keychain for certain, which is no revocation.

    See `keylease.rules.boot_is_over`: the record has whole seconds of the wall clock.
    """
    began = rfc3339(now.wall_ns - now.boot_ns)
    return _may_be_forgotten(record, keystore, now) and began > record.created


def emptied(record: VaultRecord, keystore: KeyStore, now: Moment) -> bool:
    """Return whether the keychain lost all it had without a reboot, which is no revocation.

    Who deletes a key, or clears the keyring, leaves the keyring.
    """
    if keystore.survives_reboot or record.revoked is not None or record.boot != now.boot:
        return False
    before, after = (
        instance.partition(MEMORY)[2] for instance in (record.instance, keystore.instance())
    )
    return bool(before and after) and before != after


def demand_boot(record: VaultRecord, keystore: KeyStore, now: Moment) -> None:
    """Raise if a key that was not found may have been put in another boot, which may not be over.

    Raises:
        KeychainUnavailableError: it may.
    """
    if _may_be_forgotten(record, keystore, now):
        msg = f"the vault key is not in the {keystore.title}, and this is another boot than its own"
        hint = "run keylease where the vault was made, or start afresh with: keylease revoke"
        raise KeychainUnavailableError(msg, hint)


def _may_be_forgotten(record: VaultRecord, keystore: KeyStore, now: Moment) -> bool:
    return not keystore.survives_reboot and record.boot != now.boot and record.revoked is None


def revoked(record: VaultRecord) -> VaultRevokedError:
    """Return the error that says that the vault key was deleted."""
    if record.revoked is None:
        return VaultRevokedError(f"the vault key was deleted from the keychain {record.keychain}")
    # NOTE: it may be there: a revocation that meets a locked keychain is written down all the same.
    return VaultRevokedError(
        f"the vault key in the keychain {record.keychain} was revoked,"
        f" as written down at {record.revoked}"
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
    """Delete the session keys that changes of the key have left, and return how many there were.

    A change that was killed, or met a locked keychain, leaves the key that was to be replaced; or
    the next one, which is in no record yet. Whoever may be making the next one is kept out by the
    vault's lock. Audit keys are never deleted: lines of their time are verified with them.

    Raises:
        KeychainUnavailableError: one may still be there.
    """
    check_instance(record, keystore)
    # The oldest first: whoever is killed here leaves no gap that the next search would stop at.
    left = (*reversed(_old(record, keystore)), record.generation + 1)
    return sum(delete(record, keystore, generation) for generation in left)


def _old(record: VaultRecord, keystore: KeyStore) -> list[int]:
    """Return the generations before the record's own that have a key, newest first."""
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
