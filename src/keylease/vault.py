"""The vault: which keychain holds the keys, which generation of them counts, and what that says.

`vault.json` has no secret. It pins the keychain that was chosen when the vault was made: later runs
use that one or refuse, since a look into another keychain would find nothing, and *nothing* there
would read as *revoked*.
"""

from __future__ import annotations

import json
from contextlib import suppress
from time import gmtime, strftime
from typing import TYPE_CHECKING, Final, NamedTuple, Self

from keylease.clock import NANOSECONDS
from keylease.errors import (
    KeychainUnavailableError,
    StateError,
    StateMissingError,
    VaultRevokedError,
)
from keylease.keystores.base import KEY_BYTES, Item
from keylease.secret import Secret, random_bytes

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from keylease.clock import Deadline, Moment
    from keylease.keystores.base import KeyStore
    from keylease.statefile import Directory

FILE: Final = "vault.json"
_LOCK: Final = "lock"
_FORMAT: Final = 1
_LONGEST_FILE: Final = 4096
_ID_BYTES: Final = 8
_GENERATIONS: Final = 1 << 32  # the header of a sealed file has four bytes for it
_OLD_AUDIT_KEYS: Final = 7
"""How many older ones are looked for: each is another question to the keychain."""
_DIGITS: Final = frozenset("0123456789abcdef")


class VaultRecord(NamedTuple):
    """What `vault.json` says."""

    vault: str
    """The vault's id, random. Another state directory has another vault and other keys."""
    keychain: str
    instance: str
    """Which keychain of that kind; see `KeyStore.instance`."""
    generation: int
    """The generation of the session key; 0 while the first one is being made."""
    audit_generation: int
    created: str
    """When this generation was made, RFC 3339 UTC."""
    boot: str
    """The boot that this generation was made in."""
    revoked: str | None = None
    """When the session key was found to be deleted, RFC 3339 UTC."""

    @property
    def session_item(self) -> Item:
        """The keychain item of the session key."""
        return Item(self.vault, "session-key", self.generation)

    @property
    def audit_item(self) -> Item:
        """The keychain item of the audit key."""
        return Item(self.vault, "audit-key", self.audit_generation)


class VaultKeys(NamedTuple):
    """The keys of one vault, for the length of one operation."""

    generation: int
    session: Secret
    audit: Secret | None
    """`None` if the audit key was deleted from the keychain while the session key was not."""
    made: bool = False
    """Whether this very call made one of them."""

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
    """The audit key, which outlives the vault key; `None` if it cannot be had."""


class Vault:
    """The vault of one state directory.

    Args:
        state: Opens the state directory.
        open_keystore: Returns the keychain of a name.
        choose_keystore: Returns the keychain for a new vault.
        wanted: The keychain that the user named, if one was; a vault pinned to another refuses.
        deadline: How long the vault may wait for its lock.
    """

    def __init__(
        self,
        state: Callable[[], Directory],
        *,
        open_keystore: Callable[[str], KeyStore],
        choose_keystore: Callable[[], KeyStore],
        wanted: str | None,
        deadline: Deadline,
    ) -> None:
        self._state = state
        self._open_keystore = open_keystore
        self._choose_keystore = choose_keystore
        self._wanted = wanted
        self._deadline = deadline

    def record(self) -> VaultRecord | None:
        """Return what `vault.json` says; `None` if there is no vault yet.

        Raises:
            StateError: the file is there, but is not one of keylease's.
        """
        with self._state() as state:
            record = _read(state)
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
        """Return the keys; `None` if there is no vault, or a reboot has taken its keys.

        Raises:
            VaultRevokedError: the session key was deleted.
            KeychainUnavailableError: nothing can be said.
        """
        record = self.record()
        if record is None:
            return None
        if record.revoked is not None:
            raise _revoked(record)
        keystore = self.keystore(record)
        if _forgotten(record, keystore, now):
            _check_instance(record, keystore)
            return None
        session, audit = keystore.read((record.session_item, record.audit_item))
        if session is None:
            _check_instance(record, keystore)
            raise _revoked(record)
        return VaultKeys(record.generation, session, audit)

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
            record = _read(state)
            if record is None or not record.generation:
                # Its id is on the disk before any key is in the keychain: whatever fails on the way
                # to the first generation, the next try finds the same items and replaces them.
                keystore = self._choose_keystore()
                vault = record.vault if record else random_bytes(_ID_BYTES).hex()
                instance = keystore.instance()
                record = VaultRecord(vault, keystore.name, instance, 0, 0, "", now.boot)
                _write(state, record)
            else:
                keystore = self.keystore(record)
            if not revive and _usable(record, keystore, now):
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
        before = record.session_item
        session, audit = self._existing(record, keystore, now, revive=revive)
        # A new generation is a new item; no item is ever overwritten. The record that names it
        # is written after it: a crash in between leaves a key that nothing refers to.
        if session is None:
            session, record = _next_generation(record, keystore, now)
        if audit is None:
            audit = Secret(random_bytes(KEY_BYTES))
            record = record._replace(audit_generation=record.audit_generation + 1)
            _put(keystore, record.audit_item, audit)
        _write(state, record)
        if 0 < before.generation < record.generation:
            # Mostly it is gone; somebody may have put a copy back since it was deleted. If that
            # cannot be told now, no harm is done: what it could open was destroyed before.
            with suppress(KeychainUnavailableError):
                keystore.delete(before)
        return VaultKeys(record.generation, session, audit, made=True)

    def rotate(self, now: Moment) -> tuple[VaultRecord, VaultRecord]:
        """Make a new session key in the place of one that is alive. The old one is still there.

        Returns:
            What the record said before, and what it says now.

        Raises:
            VaultRevokedError: there is no key that is alive.
            KeychainUnavailableError: the keychain cannot be used now; nothing was changed.
            StateError: the record cannot be written; the old key stays in force.
        """
        with self._state() as state, state.lock(_LOCK, self._deadline):
            record = _read(state)
            if record is None or not record.generation:
                msg = "there is no vault whose key could be replaced"
                raise StateMissingError(msg, "make one with: keylease init")
            keystore = self.keystore(record)
            for key in self._existing(record, keystore, now, revive=False):
                if key is not None:
                    key.wipe()
            key, renewed = _next_generation(record, keystore, now)
            key.wipe()
            _write(state, renewed)
            return record, renewed

    def revoke(self, now: Moment) -> bool:
        """Write down that the vault is revoked, whatever the keychain holds.

        Returns:
            Whether this call was the one that wrote it down.

        Raises:
            StateError: it cannot be written.
        """
        with self._state() as state, state.lock(_LOCK, self._deadline):
            record = _read(state)
            if record is None or not record.generation or record.revoked is not None:
                return False
            _write(state, record._replace(revoked=_rfc3339(now)))
            return True

    def delete_key(self, record: VaultRecord, generation: int) -> bool:
        """Delete the session key of one generation, and return whether it was there.

        Raises:
            KeychainUnavailableError: it may still be there.
        """
        keystore = self.keystore(record)
        _check_instance(record, keystore)
        item = record._replace(generation=generation).session_item
        deleted = keystore.delete(item)
        (left,) = keystore.read((item,))
        if left is not None:
            left.wipe()
            msg = f"{item.service} was deleted from {keystore.title} and is still there"
            raise KeychainUnavailableError(msg)
        return deleted

    def audit_key(self, record: VaultRecord) -> Secret | None:
        """Return the audit key, whatever became of the session key; `None` if it cannot be had."""
        return _read_audit(record, self.keystore(record))

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
            record = _read(state)
            if record is None or not record.generation:
                return None
            keystore = self.keystore(record)
            if record.revoked is not None:
                return Revocation(
                    record.generation, first=False, audit=_read_audit(record, keystore)
                )
            if _forgotten(record, keystore, now):
                return None
            session, audit = keystore.read((record.session_item, record.audit_item))
            if session is not None:
                session.wipe()
                return None
            _check_instance(record, keystore)
            return Revocation(record.generation, first=True, audit=audit)

    def mark_revoked(self, revocation: Revocation, now: Moment) -> None:
        """Write the revocation down, so that it stays one whatever becomes of the keychain.

        Raises:
            StateError: it cannot be written; the key is gone nevertheless.
        """
        with self._state() as state, state.lock(_LOCK, self._deadline):
            record = _read(state)
            if record is not None and record.generation == revocation.generation:
                _write(state, record._replace(revoked=record.revoked or _rfc3339(now)))

    def _existing(
        self, record: VaultRecord, keystore: KeyStore, now: Moment, *, revive: bool
    ) -> tuple[Secret | None, Secret | None]:
        if not record.generation:
            return None, None
        if _forgotten(record, keystore, now):
            _check_instance(record, keystore)
            return None, None
        session, audit = keystore.read((record.session_item, record.audit_item))
        if session is None and record.revoked is None:
            _check_instance(record, keystore)
        if record.revoked is not None or session is None:
            if not revive:
                raise _revoked(record)
            return None, audit
        return session, audit


def _check_instance(record: VaultRecord, keystore: KeyStore) -> None:
    """Raise if a key that was not found was looked for in another keychain of the same kind.

    Seen in containers: their kernel keyring is another one, in which nothing is found.
    """
    instance = keystore.instance()
    if instance != record.instance:
        msg = (
            f"the vault is pinned to {keystore.title} ({record.instance}), "
            f"and this process sees another one ({instance})"
        )
        hint = "run keylease where the vault was made, or move its state directory away"
        raise KeychainUnavailableError(msg, hint)


def _usable(record: VaultRecord, keystore: KeyStore, now: Moment) -> bool:
    made = record.generation > 0 and record.revoked is None
    return made and not _forgotten(record, keystore, now)


def _next_generation(
    record: VaultRecord, keystore: KeyStore, now: Moment
) -> tuple[Secret, VaultRecord]:
    """Put the next generation's session key, and return it with the record that names it."""
    session = Secret(random_bytes(KEY_BYTES))
    record = record._replace(
        instance=keystore.instance(),
        generation=record.generation + 1,
        created=_rfc3339(now),
        boot=now.boot,
        revoked=None,
    )
    _put(keystore, record.session_item, session)
    return session, record


def _put(keystore: KeyStore, item: Item, key: Secret) -> None:
    try:
        keystore.add(item, key)
    except KeychainUnavailableError:
        # What bears the name of a generation that is not in the record was left by a crash before
        # that was written. If it is something else that refused, it refuses again.
        keystore.delete(item)
        keystore.add(item, key)


def _read_audit(record: VaultRecord, keystore: KeyStore) -> Secret | None:
    """Return the audit key of a revoked vault; nobody waits for it, lines can do without a MAC."""
    try:
        (audit,) = keystore.read((record.audit_item,))
    except KeychainUnavailableError:
        return None
    return audit


def _forgotten(record: VaultRecord, keystore: KeyStore, now: Moment) -> bool:
    """Return whether a reboot has emptied the keychain, which is no revocation."""
    return not keystore.survives_reboot and record.boot != now.boot and record.revoked is None


def _revoked(record: VaultRecord) -> VaultRevokedError:
    return VaultRevokedError(f"the vault key was deleted from the keychain {record.keychain}")


def _read(state: Directory) -> VaultRecord | None:
    packed = state.read(FILE, _LONGEST_FILE)
    if packed is None:
        return None
    try:
        fields = json.loads(packed)
        known = fields.pop("format") == _FORMAT
        record = VaultRecord(**fields)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        known = False
    if not known or not _sound(record):
        msg = f"{FILE} is not a vault record of format {_FORMAT}"
        raise StateError(msg, "restore it, or move the state directory away to start afresh")
    return record


def _sound(record: VaultRecord) -> bool:
    """Return whether every field is of its type and range."""
    texts: tuple[object, ...] = (*record[:3], record.created, record.boot)
    if record.revoked is not None:
        texts += (record.revoked,)
    numbers = (record.generation, record.audit_generation)
    return (
        all(isinstance(text, str) for text in texts)
        and all(type(number) is int and 0 <= number < _GENERATIONS for number in numbers)
        and len(record.vault) == 2 * _ID_BYTES
        and _DIGITS.issuperset(record.vault)
    )


def _write(state: Directory, record: VaultRecord) -> None:
    fields = {"format": _FORMAT, **record._asdict()}
    state.replace(FILE, json.dumps(fields, indent=1).encode("ascii") + b"\n")


def _rfc3339(moment: Moment) -> str:
    return strftime("%Y-%m-%dT%H:%M:%SZ", gmtime(moment.wall_ns // NANOSECONDS))
