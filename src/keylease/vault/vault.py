"""The vault: the keys in the keychain, and whether they are revoked.

`vault.json` has no secret. It pins the keychain that was chosen when the vault was made. Later runs
use that keychain or refuse: another keychain would hold no key, and that would look like a
revocation.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Final, NamedTuple, Self

from keylease.errors import (
    KeychainUnavailableError,
    StateMissingError,
)
from keylease.keystores.base import KEY_BYTES
from keylease.model import rfc3339
from keylease.secrets.secret import Secret, random_bytes
from keylease.vault import generations
from keylease.vault.record import ID_BYTES, VaultRecord, read, write

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager
    from types import TracebackType

    from keylease.keystores.base import KeyStore
    from keylease.model import Moment
    from keylease.statefile import Directory
    from keylease.system.clock import Deadline

_LOCK: Final = "lock"
_OLD_AUDIT_KEYS: Final = 7
"""How many older audit keys are read: each costs one more question to the keychain."""


class VaultKeys(NamedTuple):
    """The keys of one vault, for one operation."""

    generation: int
    session: Secret
    audit: Secret | None
    """`None` if only the audit key was deleted from the keychain."""
    made: bool = False
    """Whether this operation made one of the keys."""
    audit_generation: int = 0
    """The generation of the audit key."""

    def __enter__(self) -> Self:
        """Return the keys. The end of the block wipes the session key."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Wipe the session key. The log still needs the audit key, for refusals."""
        self.session.wipe()


class Revocation(NamedTuple):
    """A proved deletion of the vault key."""

    generation: int
    """The newest revoked generation."""
    first: bool
    """Whether the revocation is not recorded yet."""
    audit: Secret | None
    """The audit key, which outlives the vault key; `None` if it was not read or not found."""


class Vault:
    """The vault of one state directory, for one operation.

    Args:
        state: Opens the state directory.
        open_keystore: Returns a keychain by its name.
        choose_keystore: Returns the keychain for a new vault.
        wanted: The keychain that the user named, if any. A vault pinned to another one refuses.
        deadline: The deadline of the operation, also for the wait for the lock.
    """

    def __init__(
        self,
        state: Callable[[], AbstractContextManager[Directory]],
        *,
        open_keystore: Callable[[str], KeyStore],
        choose_keystore: Callable[[], KeyStore],
        wanted: str | None,
        deadline: Deadline,
    ) -> None:
        self._state = state
        self._open_keystore = open_keystore
        self.choose_keystore: Final = choose_keystore
        self._wanted = wanted
        self._deadline = deadline

    def record(self) -> VaultRecord | None:
        """Return the vault's record; `None` if there is no vault yet.

        Raises:
            StateError: the file is not a vault record.
        """
        with self._state() as state:
            record = read(state)
            return record if record is not None and record.generation else None

    def keystore(self, record: VaultRecord) -> KeyStore:
        """Return the keychain that the vault is pinned to.

        Raises:
            KeychainUnavailableError: the user named another one.
        """
        if self._wanted not in {None, record.keychain}:
            msg = f"the vault is pinned to the keychain {record.keychain}, not to {self._wanted}"
            hint = f"use {record.keychain}; find the setting that differs: keylease config show"
            raise KeychainUnavailableError(msg, hint)
        return self._open_keystore(record.keychain)

    def open(self, now: Moment) -> VaultKeys | None:
        """Return the keys; `None` if there is no vault, or if a reboot emptied its keychain.

        Raises:
            VaultRevokedError: the session key was deleted.
            KeychainUnavailableError: the keychain cannot answer now.
        """
        record = self.record()
        if record is None:
            return None
        if record.revoked is not None:
            raise generations.revoked(record)
        keystore = self.keystore(record)
        if generations.forgotten(record, keystore, now):
            generations.check_instance(record, keystore)
            return None
        session, audit = keystore.read((record.session_item, record.audit_item))
        if session is None:
            generations.check_instance(record, keystore)
            if generations.emptied(record, keystore, now):
                return None
            generations.demand_boot(record, keystore, now)
            raise generations.revoked(record)
        return VaultKeys(
            record.generation, session, audit, audit_generation=record.audit_generation
        )

    def create(self, now: Moment, *, revive: bool) -> VaultKeys | None:
        """Make the missing parts of the vault and return its keys.

        `None` if another process made the vault at the same time and it is already gone.

        Args:
            now: The clock reading.
            revive: Whether a revoked vault gets a new generation. Only a person may ask for that.

        Raises:
            VaultRevokedError: the vault is revoked, and `revive` is false.
            KeychainUnavailableError: the keychain cannot take a key now.
        """
        with self._state() as state, state.lock(_LOCK, self._deadline):
            record = read(state)
            if record is None or not record.generation:
                # Write the id before any key is made: after a failure, the next try finds the same
                # items and replaces them.
                keystore = self.choose_keystore()
                vault = record.vault if record else random_bytes(ID_BYTES).hex()
                instance = keystore.instance()
                record = VaultRecord(vault, keystore.name, instance, 0, 0, "", now.boot)
                write(state, record)
            else:
                keystore = self.keystore(record)
            if not revive and generations.usable(record, keystore, now):
                # Another process made it while this one waited. Ask the keychain without the lock:
                # otherwise many first stores at once would query it one by one.
                made = None
            else:
                made = self._make(state, record, keystore, now, revive=revive)
        return made or self.open(now)

    def _make(
        self,
        state: Directory,
        record: VaultRecord,
        keystore: KeyStore,
        now: Moment,
        *,
        revive: bool,
    ) -> VaultKeys:
        before = record.generation
        session, audit = generations.existing(record, keystore, now, revive=revive)
        # A new generation is a new item; no item is overwritten. Write the record after the key: a
        # crash in between leaves only an unused key.
        if session is None:
            session, record = generations.next_generation(record, keystore, now)
        if audit is None:
            audit = Secret.random(KEY_BYTES)
            record = record._replace(audit_generation=record.audit_generation + 1)
            generations.put(keystore, record.audit_item, audit)
        write(state, record)
        if 0 < before < record.generation:
            # Usually there is none, but a copy may have been put back. A failure is harmless: the
            # sessions of that key are destroyed already.
            with suppress(KeychainUnavailableError):
                generations.delete_left(record, keystore)
        return VaultKeys(
            record.generation,
            session,
            audit,
            made=True,
            audit_generation=record.audit_generation,
        )

    def rotate(self, now: Moment) -> VaultRecord:
        """Make a new session key. The old one stays in the keychain.

        Returns:
            The new record.

        Raises:
            VaultRevokedError: the vault is revoked.
            KeychainUnavailableError: the keychain cannot be used now. Nothing was changed.
            StateError: the record cannot be written. The old key stays in force.
        """
        with self._state() as state, state.lock(_LOCK, self._deadline):
            record = read(state)
            if record is None or not record.generation:
                msg = "there is no vault, so there is no key to replace"
                raise StateMissingError(msg, "make one with: keylease init")
            keystore = self.keystore(record)
            for key in generations.existing(record, keystore, now, revive=False):
                if key is not None:
                    key.wipe()
            key, renewed = generations.next_generation(record, keystore, now)
            key.wipe()
            write(state, renewed)
            return renewed

    def revoke(self, now: Moment) -> bool:
        """Mark the vault as revoked, whatever the keychain holds.

        Returns:
            Whether it was not marked before.

        Raises:
            StateError: the record cannot be written.
        """
        with self._state() as state, state.lock(_LOCK, self._deadline):
            record = read(state)
            if record is None or not record.generation or record.revoked is not None:
                return False
            write(state, record._replace(revoked=rfc3339(now.wall_ns)))
            return True

    def delete_keys(self, record: VaultRecord) -> bool:
        """Delete the session key and the left ones of other generations.

        Nothing may delay a revocation, so this takes no lock. Another process may have made the
        next generation since the record was read; its key is deleted too.

        Returns:
            Whether there was a key.

        Raises:
            KeychainUnavailableError: a key may still be there.
        """
        keystore = self.keystore(record)
        deleted = generations.delete(record, keystore, record.generation)
        return bool(generations.delete_left(record, keystore)) or deleted

    def delete_left_keys(self) -> int:
        """Delete the left session keys of other generations; return their number.

        Raises:
            KeychainUnavailableError: a key may still be there.
            StateError: the record cannot be read, or another process holds the lock.
        """
        with self._state() as state, state.lock(_LOCK, self._deadline):
            record = read(state)
            if record is None or not record.generation:
                return 0
            return generations.delete_left(record, self.keystore(record))

    def audit_key(self, record: VaultRecord) -> Secret | None:
        """Return the audit key, even of a revoked vault; `None` if it cannot be read."""
        return generations.read_audit(record, self.keystore(record))

    def audit_key_left(self) -> Secret | None:
        """Return the audit key of a vault that is marked as revoked; `None` if unavailable."""
        record = self.record()
        try:
            return None if record is None else self.audit_key(record)
        except KeychainUnavailableError:
            # The user named another keychain. An audit line may lack its MAC.
            return None

    def audit_keys(self) -> list[Secret]:
        """Return the audit keys in the keychain, the current one first.

        Raises:
            KeychainUnavailableError: the keychain cannot answer now.
        """
        record = self.record()
        if record is None:
            return []
        newest = record.audit_generation
        # Older keys are never deleted: they verify the lines that were written under them.
        numbers = range(newest, max(0, newest - _OLD_AUDIT_KEYS - 1), -1)
        items = [record._replace(audit_generation=number).audit_item for number in numbers]
        return [key for key in self.keystore(record).read(items) if key is not None]

    def demand_current(self, keys: VaultKeys) -> None:
        """Check, with the session lock held, that the vault still has these keys.

        A rotation or revocation writes its record before it destroys sessions. So this check keeps
        a process that waited for the lock from sealing a session under a replaced key.

        Raises:
            KeychainUnavailableError: the key was replaced or revoked in the meantime.
        """
        record = self.record()
        if record is None or record.revoked or record.generation != keys.generation:
            msg = "another process has just replaced or revoked the vault key"
            raise KeychainUnavailableError(msg, "try again")

    def find_revocation(self, now: Moment) -> Revocation | None:
        """Look again, with the lock held, for a key that was not found.

        `None` if the key is there, because another process has made a new generation; or if a
        reboot has emptied the keychain.

        Raises:
            KeychainUnavailableError: the keychain cannot answer now.
        """
        with self._state() as state, state.lock(_LOCK, self._deadline):
            record = read(state)
            if record is None or not record.generation:
                return None
            if record.revoked is not None:
                # Do not ask the keychain before the remaining files are destroyed.
                return Revocation(record.generation, first=False, audit=None)
            keystore = self.keystore(record)
            if generations.forgotten(record, keystore, now):
                return None
            session, audit = keystore.read((record.session_item, record.audit_item))
            if session is not None:
                session.wipe()
                return None
            generations.check_instance(record, keystore)
            if generations.emptied(record, keystore, now):
                return None
            generations.demand_boot(record, keystore, now)
            return Revocation(record.generation, first=True, audit=audit)

    def mark_revoked(self, revocation: Revocation, now: Moment) -> None:
        """Record the revocation, so that a restored key does not undo it.

        Raises:
            StateError: the record cannot be written. The key is deleted nevertheless.
        """
        with self._state() as state, state.lock(_LOCK, self._deadline):
            record = read(state)
            if record is not None and record.generation == revocation.generation:
                write(state, record._replace(revoked=record.revoked or rfc3339(now.wall_ns)))
