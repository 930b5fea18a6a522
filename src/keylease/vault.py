"""The vault: which keychain holds the keys, which generation of them counts, and what that says.

`vault.json` has no secret. It pins the keychain that was chosen when the vault was made: later runs
use that one or refuse, since a look into another keychain would find nothing, and *nothing* there
would read as *revoked*.
"""

from __future__ import annotations

import json
import secrets
from time import gmtime, strftime
from typing import TYPE_CHECKING, Final, NamedTuple, Self

from keylease.clock import NANOSECONDS
from keylease.errors import KeychainUnavailableError, StateError, VaultRevokedError
from keylease.keystores.base import KEY_BYTES, Item
from keylease.secret import Secret

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


class VaultRecord(NamedTuple):
    """What `vault.json` says."""

    vault: str
    """The vault's id, random. Another state directory has another vault and other keys."""
    keychain: str
    instance: str
    """Which keychain of that kind; see `KeyStore.instance`."""
    generation: int
    """The generation of the session key."""
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
            return _read(state)

    def keystore(self, record: VaultRecord) -> KeyStore:
        """Return the keychain that the vault is pinned to.

        Raises:
            KeychainUnavailableError: the user named another one, or this is another instance.
        """
        if self._wanted not in {None, record.keychain}:
            msg = f"the vault is pinned to the keychain {record.keychain}, not to {self._wanted}"
            hint = "unset KEYLEASE_KEYCHAIN and --keychain to use it"
            raise KeychainUnavailableError(msg, hint)
        keystore = self._open_keystore(record.keychain)
        instance = keystore.instance()
        if instance != record.instance:
            # Seen in containers: their kernel keyring is another one, in which nothing is found.
            msg = (
                f"the vault is pinned to {keystore.title} {record.instance}, "
                f"and this process sees {instance}"
            )
            raise KeychainUnavailableError(msg, "run keylease outside the container")
        return keystore

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
            return None
        session, audit = keystore.read((record.session_item, record.audit_item))
        if session is None:
            raise _revoked(record)
        return VaultKeys(record.generation, session, audit)

    def create(self, now: Moment, *, revive: bool) -> VaultKeys:
        """Make what is missing of the vault and return its keys.

        Args:
            now: The clock reading.
            revive: Whether a revoked vault gets a new generation, which only a person may ask for.

        Raises:
            VaultRevokedError: the vault is revoked, and `revive` is false.
            KeychainUnavailableError: the keychain cannot take a key now.
        """
        with self._state() as state, state.lock(_LOCK, self._deadline):
            record = _read(state)
            keystore = self._choose_keystore() if record is None else self.keystore(record)
            record = record or VaultRecord(
                secrets.token_hex(_ID_BYTES), keystore.name, keystore.instance(), 0, 0, "", now.boot
            )
            session, audit = self._existing(record, keystore, now, revive=revive)
            # A new generation is a new item; no item is ever overwritten. The record is written
            # last: a crash before it leaves keys that nothing refers to, and no half-made vault.
            if session is None:
                session = Secret(secrets.token_bytes(KEY_BYTES))
                record = record._replace(
                    generation=record.generation + 1,
                    created=_rfc3339(now),
                    boot=now.boot,
                    revoked=None,
                )
                _put(keystore, record.session_item, session)
            if audit is None:
                audit = Secret(secrets.token_bytes(KEY_BYTES))
                record = record._replace(audit_generation=record.audit_generation + 1)
                _put(keystore, record.audit_item, audit)
            _write(state, record)
            return VaultKeys(record.generation, session, audit)

    def mark_revoked(self, now: Moment) -> tuple[int, bool] | None:
        """Write down that the session key is gone, after a second look with the lock held.

        Returns:
            The newest generation that is over, and whether this call was the one that wrote it
            down. `None` if the key is there: another process has made a new generation meanwhile.
        """
        with self._state() as state, state.lock(_LOCK, self._deadline):
            record = _read(state)
            if record is None:
                return None
            if record.revoked is not None:
                return record.generation, False
            (session,) = self.keystore(record).read((record.session_item,))
            if session is not None:
                session.wipe()
                return None
            _write(state, record._replace(revoked=_rfc3339(now)))
            return record.generation, True

    def _existing(
        self, record: VaultRecord, keystore: KeyStore, now: Moment, *, revive: bool
    ) -> tuple[Secret | None, Secret | None]:
        if record.generation == 0 or _forgotten(record, keystore, now):
            return None, None
        session, audit = keystore.read((record.session_item, record.audit_item))
        if record.revoked is not None or session is None:
            if not revive:
                raise _revoked(record)
            return None, audit
        return session, audit


def _put(keystore: KeyStore, item: Item, key: Secret) -> None:
    # Whatever bears the next generation's name was left by a crash before the record was written.
    keystore.delete(item)
    keystore.add(item, key)


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
    except (ValueError, TypeError, KeyError, AttributeError):
        known = False
    if not known:
        msg = f"{FILE} is not a vault record of format {_FORMAT}"
        raise StateError(msg, "restore it, or move the state directory away to start afresh")
    return record


def _write(state: Directory, record: VaultRecord) -> None:
    fields = {"format": _FORMAT, **record._asdict()}
    state.replace(FILE, json.dumps(fields, indent=1).encode("ascii") + b"\n")


def _rfc3339(moment: Moment) -> str:
    return strftime("%Y-%m-%dT%H:%M:%SZ", gmtime(moment.wall_ns // NANOSECONDS))
