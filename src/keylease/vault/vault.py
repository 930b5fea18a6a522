"""The vault: which keychain holds the keys, which generation of them counts, and what that says.

`vault.json` has no secret. It pins the keychain that was chosen when the vault was made: later runs
use that one or refuse, since a look into another keychain would find nothing, and *nothing* there
would read as *revoked*.
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
"""How many older ones are looked for: each is another question to the keychain."""


class VaultKeys(NamedTuple):
    """The keys of one vault, for the length of one operation."""

    generation: int
    session: Secret
    audit: Secret | None
    """`None` if the audit key was deleted from the keychain while the session key was not."""
    made: bool = False
    """Whether this very call made one of them."""
    audit_generation: int = 0
    """The generation of the audit key."""

    def __enter__(self) -> Self:
        """Return the keys; the session key is wiped when the block is left."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Wipe, whatever happened. The audit key stays with the log: refusals are logged too."""
        self.session.wipe()


class Revocation(NamedTuple):
    """The vault key was deleted, and that is certain."""

    generation: int
    """The newest generation that is over."""
    first: bool
    """Whether it is not written down yet."""
    audit: Secret | None
    """The audit key, which outlives the vault key; `None` if it was not asked for, or not found."""


class Vault:
    """The vault of one state directory, for one operation.

    Args:
        state: Opens the state directory.
        open_keystore: Returns the keychain of a name.
        choose_keystore: Returns the keychain for a new vault.
        wanted: The keychain that the user named, if one was; a vault pinned to another refuses.
        deadline: How long the operation may take, and the vault may wait for its lock.
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
        """Return what `vault.json` says; `None` if there is no vault yet.

        Raises:
            StateError: the file is there, but is not one of keylease's.
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
            hint = "use that one; what names the other is told by: keylease config show"
            raise KeychainUnavailableError(msg, hint)
        return self._open_keystore(record.keychain)

    def open(self, now: Moment) -> VaultKeys | None:
        """Return the keys; `None` if there is no vault, or its keychain lost its keys.

        Raises:
            VaultRevokedError: the session key was deleted.
            KeychainUnavailableError: nothing can be said.
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
        """Make what is missing of the vault and return its keys.

        `None` if another process made it at the same time and it is gone again already.

        Args:
            now: The clock reading.
            revive: Whether a revoked vault gets a new generation, which only a person may ask for.

        Raises:
            VaultRevokedError: the vault is revoked, and `revive` is false.
            KeychainUnavailableError: the keychain cannot take a key now.
        """
        with self._state() as state, state.lock(_LOCK, self._deadline):
            record = read(state)
            if record is None or not record.generation:
                # Its id is on the disk before any key is in the keychain: whatever fails on the way
                # to the first generation, the next try finds the same items and replaces them.
                keystore = self.choose_keystore()
                vault = record.vault if record else random_bytes(ID_BYTES).hex()
                instance = keystore.instance()
                record = VaultRecord(vault, keystore.name, instance, 0, 0, "", now.boot)
                write(state, record)
            else:
                keystore = self.keystore(record)
            if not revive and generations.usable(record, keystore, now):
                # Another process made it while this one waited. The keychain is asked without the
                # lock, or forty first stores at once would queue for a daemon one by one.
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
        # A new generation is a new item; no item is ever overwritten. The record that names it
        # is written after it: a crash in between leaves a key that nothing refers to.
        if session is None:
            session, record = generations.next_generation(record, keystore, now)
        if audit is None:
            audit = Secret.random(KEY_BYTES)
            record = record._replace(audit_generation=record.audit_generation + 1)
            generations.put(keystore, record.audit_item, audit)
        write(state, record)
        if 0 < before < record.generation:
            # Mostly there is none; somebody may have put a copy back since it was deleted. If that
            # cannot be told now, no harm is done: what it could open was destroyed before.
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
        """Make a new session key in the place of one that is alive. The old one is still there.

        Returns:
            What the record says now.

        Raises:
            VaultRevokedError: there is no key that is alive.
            KeychainUnavailableError: the keychain cannot be used now; nothing was changed.
            StateError: the record cannot be written; the old key stays in force.
        """
        with self._state() as state, state.lock(_LOCK, self._deadline):
            record = read(state)
            if record is None or not record.generation:
                msg = "there is no vault whose key could be replaced"
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
        """Write down that the vault is revoked, whatever the keychain holds.

        Returns:
            Whether this call was the one that wrote it down.

        Raises:
            StateError: it cannot be written.
        """
        with self._state() as state, state.lock(_LOCK, self._deadline):
            record = read(state)
            if record is None or not record.generation or record.revoked is not None:
                return False
            write(state, record._replace(revoked=rfc3339(now.wall_ns)))
            return True

    def delete_keys(self, record: VaultRecord) -> bool:
        """Delete the session key and all that are left of others; return whether there was one.

        It waits for no lock, since nothing may hold up a revocation. Another process can have made
        the next generation since the record was read, and that one goes, too.

        Raises:
            KeychainUnavailableError: one may still be there.
        """
        keystore = self.keystore(record)
        deleted = generations.delete(record, keystore, record.generation)
        return bool(generations.delete_left(record, keystore)) or deleted

    def delete_left_keys(self) -> int:
        """Delete what changes of the key have left, not the key itself; return how many there were.

        Raises:
            KeychainUnavailableError: one may still be there.
            StateError: the record cannot be read, or another process does not let go of it.
        """
        with self._state() as state, state.lock(_LOCK, self._deadline):
            record = read(state)
            if record is None or not record.generation:
                return 0
            return generations.delete_left(record, self.keystore(record))

    def audit_key(self, record: VaultRecord) -> Secret | None:
        """Return the audit key, whatever became of the session key; `None` if it cannot be had."""
        return generations.read_audit(record, self.keystore(record))

    def audit_key_left(self) -> Secret | None:
        """Return the audit key of a vault that is marked as revoked; `None` if it cannot be had."""
        record = self.record()
        try:
            return None if record is None else self.audit_key(record)
        except KeychainUnavailableError:
            # The user named another keychain. Lines can do without a MAC.
            return None

    def audit_keys(self) -> list[Secret]:
        """Return the audit keys that the keychain has, the present one first.

        Raises:
            KeychainUnavailableError: nothing can be said.
        """
        record = self.record()
        if record is None:
            return []
        newest = record.audit_generation
        # Older ones stay where they are, and so do the lines that were written under them.
        numbers = range(newest, max(0, newest - _OLD_AUDIT_KEYS - 1), -1)
        items = [record._replace(audit_generation=number).audit_item for number in numbers]
        return [key for key in self.keystore(record).read(items) if key is not None]

    def demand_current(self, keys: VaultKeys) -> None:
        """Raise if the keys are not those of the vault any more. Asked with the session lock held.

        Who rotates or revokes a key writes that down first and destroys sessions after it. So
        nothing is sealed under a key that was replaced while this process waited for its turn.

        Raises:
            KeychainUnavailableError: the key was replaced or revoked in the meantime.
        """
        record = self.record()
        if record is None or record.revoked or record.generation != keys.generation:
            msg = "the vault key was replaced by another process at this very moment"
            raise KeychainUnavailableError(msg, "try again")

    def find_revocation(self, now: Moment) -> Revocation | None:
        """Look a second time, with the lock held, for a key that was not found.

        `None` if the key is there, for another process has made a new generation meanwhile; or if
        a reboot has taken it.

        Raises:
            KeychainUnavailableError: nothing can be said.
        """
        with self._state() as state, state.lock(_LOCK, self._deadline):
            record = read(state)
            if record is None or not record.generation:
                return None
            if record.revoked is not None:
                # No question to a keychain comes before what is left was destroyed.
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
        """Write the revocation down, so that it stays one whatever becomes of the keychain.

        Raises:
            StateError: it cannot be written; the key is gone nevertheless.
        """
        with self._state() as state, state.lock(_LOCK, self._deadline):
            record = read(state)
            if record is not None and record.generation == revocation.generation:
                write(state, record._replace(revoked=record.revoked or rfc3339(now.wall_ns)))
