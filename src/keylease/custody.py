"""KeyCustody: what can be done with the key of the vault itself: replace it, and take it away.

Both end every session. Taking away is never held up: each step is tried whatever became of the one
before it, and what remains is said.
"""

from __future__ import annotations

from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, NamedTuple

from keylease.audit.events import Entry
from keylease.errors import (
    KeychainUnavailableError,
    KeyleaseError,
    StateError,
    StateMissingError,
)
from keylease.rules import awaits_echo

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from keylease.audit.log import AuditLog
    from keylease.clock import Clock, Moment
    from keylease.record import Header
    from keylease.store import Destroyed, SessionStore
    from keylease.vault import Vault
    from keylease.vaultrecord import VaultRecord


class Revoked(NamedTuple):
    """What a revocation has done, and what it could not do."""

    record: VaultRecord | None
    """The vault; `None` if there is none, or its record cannot be read."""
    marked: bool
    """Whether the vault was not revoked before and is now."""
    deleted: bool
    """Whether the session key was in the keychain and was deleted from it."""
    sessions: list[str]
    """The ids of the sessions that were ended."""
    shares: list[str]
    """The ids of sessions whose share may still live; it dies by itself, or with the login."""
    sealed: int | None
    """How many sealed files are left; `None` if that cannot be told."""
    key_failure: KeyleaseError | None
    """Why the session key may still be in the keychain; `None` if it is not."""
    failures: list[KeyleaseError]
    """Why something else remains; empty if nothing does."""


class Rotated(NamedTuple):
    """What a rotation has done, and what it could not do."""

    record: VaultRecord
    """The vault with its new generation."""
    sessions: list[str]
    """The ids of the sessions that were ended."""
    failures: list[KeyleaseError]
    """Why something of the old key remains; the new one counts all the same."""


class KeyCustody:
    """Replacing and revoking the vault key.

    Args:
        clock: Tells when.
        vault: Where the key is.
        store: Where the sessions are that it seals.
        audit: Where it is written down.
    """

    def __init__(self, clock: Clock, vault: Vault, store: SessionStore, audit: AuditLog) -> None:
        self._clock = clock
        self._vault = vault
        self._store = store
        self._audit = audit

    def rotate(self) -> Rotated:
        """Make a new vault key, delete the old one, and end every session that it sealed.

        Nothing is sealed anew: whoever has the old key and a copy of a sealed file could go on
        using what is in it, and that is the very case that a key is replaced for.

        Raises:
            VaultRevokedError: there is no key that is alive.
            StateMissingError: there is no vault.
            KeychainUnavailableError: the keychain cannot be used now; nothing was changed.
            AuditError: it cannot be written down, so it did not happen.
            StateError: the state cannot be used.
        """
        now = self._clock.now()
        keys = self._vault.open(now)
        if keys is None:
            msg = "there is no vault key that could be replaced"
            raise StateMissingError(msg, "make one with: keylease init")
        with keys:
            self._audit.key = keys.audit
        self._audit.log(Entry("key.rotated"), now)
        try:
            record = self._vault.rotate(now)
        except KeyleaseError as error:
            locked = isinstance(error, KeychainUnavailableError)
            refused = Entry("key.rotated", "refused", "keychain_unavailable" if locked else "state")
            self._audit.log_or_gap(refused, now)
            raise
        failures: list[KeyleaseError] = []
        with _going_on(failures):
            self._vault.delete_left_keys()
        destroyed = self._destroy(
            now, lambda header: header is None or header.generation < record.generation, failures
        )
        return Rotated(record, destroyed.sessions if destroyed else [], failures)

    def revoke(self) -> Revoked:
        """Take the vault key away, with every session and every share. It never raises.

        The vault is marked first: from then on nothing is released or stored, though the keychain
        be locked and the process die at the next instruction.
        """
        now = self._clock.now()
        failures: list[KeyleaseError] = []
        record, marked, deleted, sealed = None, False, False, None
        unmarked: list[KeyleaseError] = []
        unknown: list[KeyleaseError] = []
        with _going_on(unknown):
            # Without it nobody knows which key it is.
            record = self._vault.record()
        if record is not None:
            with suppress(KeyleaseError):
                # A line without it is vouched for by the next one that has it.
                self._audit.key = self._vault.audit_key(record)
            with _going_on(unmarked):
                marked = self._vault.revoke(now)
            if record.revoked is None:
                self._audit.log_or_gap(Entry("vault.revoked"), now)
            with suppress(KeyleaseError):
                # Rotations can have come before the mark; none comes after it.
                record = self._vault.record() or record
            with _going_on(unknown):
                deleted = self._vault.delete_keys(record)
        destroyed = self._destroy(now, lambda _: True, failures)
        if unmarked:
            # On a full disk there is room now. Without the mark, a key that is put back would be
            # believed again.
            with _going_on(failures):
                marked = self._vault.revoke(now)
        with _going_on(failures):
            self._store.tidy(awaits_echo(now))
        with _going_on(failures):
            sealed = self._store.count()
        sessions, shares = (destroyed.sessions, destroyed.shares) if destroyed else ([], [])
        key_failure = unknown[0] if unknown else None
        return Revoked(record, marked, deleted, sessions, shares, sealed, key_failure, failures)

    def _destroy(
        self,
        now: Moment,
        doomed: Callable[[Header | None], bool],
        failures: list[KeyleaseError],
    ) -> Destroyed | None:
        def announce(session_id: str) -> None:
            self._audit.log_or_gap(Entry("session.ended", "ok", "revoked", session_id), now)

        try:
            destroyed = self._store.destroy(doomed, announce, awaits_echo(now))
        except StateError as error:
            failures.append(error)
            return None
        failures += destroyed.failures
        return destroyed


@contextmanager
def _going_on(failures: list[KeyleaseError]) -> Iterator[None]:
    """Keep what went wrong, so that the next step is taken."""
    try:
        yield
    except KeyleaseError as error:
        failures.append(error)
