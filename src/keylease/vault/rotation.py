"""KeyCustody: replace or revoke the vault key. Both end every session.

A failure never stops a revocation: every step is tried, and the result names what remains.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from keylease.audit.events import Entry
from keylease.errors import KeychainUnavailableError, KeyleaseError, StateMissingError
from keylease.faults import Steps
from keylease.rules import awaits_echo
from keylease.secrets.hardening import uninterrupted

if TYPE_CHECKING:
    from collections.abc import Callable

    from keylease.audit.log import AuditLog
    from keylease.model import Moment
    from keylease.store.format import Header
    from keylease.store.store import SessionStore
    from keylease.system.clock import Clock
    from keylease.vault.record import VaultRecord
    from keylease.vault.vault import Vault


class Revoked(NamedTuple):
    """The result of a revocation."""

    record: VaultRecord | None
    """The vault; `None` if there is none, or its record cannot be read."""
    marked: bool
    """Whether this call marked the vault as revoked."""
    deleted: bool
    """Whether this call deleted the session key from the keychain."""
    sessions: list[str]
    """The ids of the ended sessions."""
    shares: list[str]
    """The ids of sessions whose share may still live, until its own timeout or until logout."""
    sealed: int | None
    """How many sealed files are left; `None` if unknown."""
    key_failure: KeyleaseError | None
    """Why the session key may still be in the keychain; `None` if it was deleted or absent."""
    failures: list[KeyleaseError]
    """The other failures."""


class Rotated(NamedTuple):
    """The result of a rotation."""

    record: VaultRecord
    """The vault with its new generation."""
    sessions: list[str]
    """The ids of the ended sessions."""
    failures: list[KeyleaseError]
    """Why the old key, or files of it, remain. The new key is in force nevertheless."""


class KeyCustody:
    """Replaces and revokes the vault key.

    Args:
        clock: The machine's clocks.
        vault: The vault with the key.
        store: The sessions that the key seals.
        audit: The audit log.
    """

    def __init__(self, clock: Clock, vault: Vault, store: SessionStore, audit: AuditLog) -> None:
        self._clock = clock
        self._vault = vault
        self._store = store
        self._audit = audit

    def rotate(self) -> Rotated:
        """Make a new vault key, delete the old one, and end every session that it sealed.

        No session is sealed again under the new key. A key is replaced because it may be known to
        another person, who could open a copy of a sealed file with it.

        Raises:
            VaultRevokedError: the vault is revoked.
            StateMissingError: there is no vault.
            KeychainUnavailableError: the keychain cannot be used now. Nothing was changed.
            AuditError: the audit line cannot be written, so the key was not replaced.
            StateError: the state cannot be used.
        """
        now = self._clock.now()
        keys = self._vault.open(now)
        if keys is None:
            msg = "there is no vault key to replace"
            raise StateMissingError(msg, "make one with: keylease init")
        with keys:
            self._audit.key = keys.audit
        self._audit.log(Entry("key.rotated"), now)
        try:
            record = self._vault.rotate(now)
        except BaseException as error:
            locked = isinstance(error, KeychainUnavailableError)
            refused = Entry("key.rotated", "refused", "keychain_unavailable" if locked else "state")
            self._audit.log_or_gap(refused, now)
            raise
        with Steps() as steps:
            destroyed = self._destroy(
                now, lambda header: header is None or header.generation < record.generation, steps
            )
            self._audit.log_ended(destroyed.over, "revoked", now, steps)
        with Steps(steps.failures) as steps, steps.step():
            self._vault.delete_left_keys()
        return Rotated(record, destroyed.sessions, steps.failures)

    def revoke(self) -> Revoked:
        """Delete the vault key, every session and every share. The result holds the failures.

        Mark the vault and destroy the sealed files first: the keychain and the audit log can be
        slow, and this process may die while it waits for them. After the mark no secret is released
        or stored, even if the key still exists.
        """
        now = self._clock.now()
        record, marked, deleted, sealed = None, False, False, None
        unmarked: list[KeyleaseError] = []
        unknown: list[KeyleaseError] = []
        with Steps() as steps:
            with uninterrupted():
                with steps.step(unknown):
                    # The record names the key.
                    record = self._vault.record()
                with steps.step(unmarked):
                    marked = self._vault.revoke(now)
                destroyed = self._destroy(now, lambda _: True, steps)
                if unmarked:
                    # Try again: the removals made space on a full disk. Without the mark, a key
                    # that is put back would be valid again. Report an unreadable record only once.
                    with steps.step([] if unknown else None):
                        marked = self._vault.revoke(now)
                if unknown:
                    with steps.step([]):
                        record = self._vault.record()
                        unknown.clear()
                with steps.step():
                    self._store.tidy(awaits_echo(now))
                with steps.step():
                    sealed = self._store.count()
            if record is not None and record.revoked is None:
                with steps.step():
                    self._audit.log_or_gap(Entry("vault.revoked"), now)
            self._audit.log_ended(destroyed.over, "revoked", now, steps)
        if record is not None:
            record, deleted = self._delete_key(record, now, unknown)
        return Revoked(
            record,
            marked,
            deleted,
            destroyed.sessions,
            destroyed.shares,
            sealed,
            unknown[0] if unknown else None,
            steps.failures,
        )

    def _delete_key(
        self, record: VaultRecord, now: Moment, failures: list[KeyleaseError]
    ) -> tuple[VaultRecord, bool]:
        """Delete the session key; return its record, and whether the key was there."""
        deleted = False
        # Ctrl-C ends each of these waits at once. If the key remains, the next run deletes it.
        with Steps([]) as steps, steps.step():
            # The earlier lines have no MAC; the last line, with this key, covers them.
            self._audit.key = self._vault.audit_key(record)
        with Steps([]) as steps, steps.step():
            # Read it again: a rotation may have come just before the mark.
            record = self._vault.record() or record
        with Steps(failures) as steps, steps.step():
            deleted = self._vault.delete_keys(record)
        self._audit.log_or_gap(_deletion(failures, deleted=deleted), now)
        return record, deleted

    def _destroy(
        self, now: Moment, doomed: Callable[[Header | None], bool], steps: Steps
    ) -> _Ended:
        """Destroy sealed files. The caller records the ends afterwards, even after a failure."""
        ended = _Ended([], [], [])
        with steps.step():
            destroyed = self._store.destroy(doomed, ended.over.extend, awaits_echo(now))
            ended.sessions.extend(destroyed.sessions)
            ended.shares.extend(destroyed.shares)
            steps.failures.extend(destroyed.failures)
        return ended


class _Ended(NamedTuple):
    """The sessions that a rotation or revocation ended."""

    over: list[str]
    """The ids of all doomed sessions."""
    sessions: list[str]
    shares: list[str]
    """As in `keylease.store.store.Destroyed`."""


def _deletion(failures: list[KeyleaseError], *, deleted: bool) -> Entry:
    """Return the audit entry about the key in the keychain."""
    if failures:
        locked = isinstance(failures[-1], KeychainUnavailableError)
        return Entry("key.deleted", "refused", "keychain_unavailable" if locked else "state")
    return Entry("key.deleted") if deleted else Entry("key.deleted", "refused", "not_found")
