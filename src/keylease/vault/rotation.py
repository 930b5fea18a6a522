"""KeyCustody: what can be done with the key of the vault itself: replace it, and take it away.

Both end every session. Taking away is never held up: each step is tried, whatever became of the one
before it, and what remains is said.
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
        """Take the vault key away, with every session and every share. No failure is raised.

        The vault is marked and everything sealed is destroyed before the keychain or the audit log
        is asked for anything: either can be slow, and this process can die while it waits. From
        the mark on nothing is released or stored, though the key be still there.
        """
        now = self._clock.now()
        record, marked, deleted, sealed = None, False, False, None
        unmarked: list[KeyleaseError] = []
        unknown: list[KeyleaseError] = []
        with Steps() as steps:
            with uninterrupted():
                with steps.step(unknown):
                    # Without it nobody knows which key it is.
                    record = self._vault.record()
                with steps.step(unmarked):
                    marked = self._vault.revoke(now)
                destroyed = self._destroy(now, lambda _: True, steps)
                if unmarked:
                    # On a full disk there is room now. Without the mark, a key that is put back
                    # would be believed again. Where the record cannot be read, that is said once.
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
        """Delete the session key; return the record that names it, and whether it was there."""
        deleted = False
        # Ctrl-C ends each of these waits at once. The key remains; the next run deletes it.
        with Steps([]) as steps, steps.step():
            # A line without it is vouched for by the next one that has it: the last one here.
            self._audit.key = self._vault.audit_key(record)
        with Steps([]) as steps, steps.step():
            # Rotations can have come before the mark; none comes after it.
            record = self._vault.record() or record
        with Steps(failures) as steps, steps.step():
            deleted = self._vault.delete_keys(record)
        self._audit.log_or_gap(_deletion(failures, deleted=deleted), now)
        return record, deleted

    def _destroy(
        self, now: Moment, doomed: Callable[[Header | None], bool], steps: Steps
    ) -> _Ended:
        """Destroy what is sealed. The caller writes it down afterwards, whatever happens."""
        ended = _Ended([], [], [])
        with steps.step():
            destroyed = self._store.destroy(doomed, ended.over.extend, awaits_echo(now))
            ended.sessions.extend(destroyed.sessions)
            ended.shares.extend(destroyed.shares)
            steps.failures.extend(destroyed.failures)
        return ended


class _Ended(NamedTuple):
    """The sessions that a change of the key has ended."""

    over: list[str]
    """The ids of all that it was to end."""
    sessions: list[str]
    shares: list[str]
    """As in `keylease.store.store.Destroyed`."""


def _deletion(failures: list[KeyleaseError], *, deleted: bool) -> Entry:
    """Return the line about the key in the keychain."""
    if failures:
        locked = isinstance(failures[-1], KeychainUnavailableError)
        return Entry("key.deleted", "refused", "keychain_unavailable" if locked else "state")
    return Entry("key.deleted") if deleted else Entry("key.deleted", "refused", "not_found")
