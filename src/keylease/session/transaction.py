"""Transaction: how every operation on sessions begins, and how its refusal is recorded.

It opens the vault first, then the store. If the key was deleted, or the policy revokes every
session, it destroys the sessions before the operation answers.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, Literal, Self

from keylease.audit.events import Entry, RefusalReason
from keylease.errors import (
    AskedAgainError,
    AuditError,
    ConfigError,
    ForeignBootError,
    InternalError,
    KeychainUnavailableError,
    KeyleaseError,
    PolicyError,
    RequestError,
    SessionEndedError,
    SessionNotFoundError,
    UsageError,
    VaultRevokedError,
)
from keylease.faults import INTERRUPTS, Steps
from keylease.rules import awaits_echo, left_over, terms_of
from keylease.session.judge import Judge

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from keylease.model import Moment, Reason, Target
    from keylease.session.operation import Operation
    from keylease.store.format import Header
    from keylease.store.opened import Sessions
    from keylease.store.store import Destroyed
    from keylease.vault.vault import Revocation, VaultKeys

# The first class that fits names the reason in the audit log.
_REFUSALS: Final[tuple[tuple[type[KeyleaseError], RefusalReason], ...]] = (
    (VaultRevokedError, "revoked"),
    (KeychainUnavailableError, "keychain_unavailable"),
    (SessionNotFoundError, "not_found"),
    (AuditError, "audit"),
    (UsageError, "usage"),
    (ConfigError, "config"),
    (PolicyError, "policy"),
    (AskedAgainError, "asked_again"),
    (RequestError, "malformed"),
    (InternalError, "internal"),
    (KeyleaseError, "state"),
)


def reason_of(error: KeyleaseError) -> Reason | RefusalReason:
    """Return the reason for the audit log."""
    if isinstance(error, SessionEndedError):
        return error.reason
    return next(reason for kind, reason in _REFUSALS if isinstance(error, kind))


Purpose = Literal["use", "store", "login", "end"]
"""`use` needs an existing vault. `store` makes the first one. `login`, by a person, also makes a
new key for a revoked one. `end` works under any configuration, even a broken one."""


class Transaction:
    """One operation on sessions.

    Args:
        operation: Its collaborators.
    """

    sessions: Sessions
    """The sessions; valid inside `begin`."""
    now: Moment
    """The clock reading that decides; valid inside `begin`."""

    def __init__(self, operation: Operation) -> None:
        self.operation = operation
        self.audit = operation.audit
        self.settings = operation.settings
        self.judge = Judge(operation.settings, operation.audit)
        self._clock = operation.clock
        self._vault = operation.vault
        self._store = operation.store

    @contextmanager
    def begin(
        self,
        target: Target | None,
        username: str | None,
        purpose: Purpose = "use",
        *,
        absent: RefusalReason = "not_found",
    ) -> Iterator[Self]:
        """Open vault and store, take the lock, and record a refusal.

        The clock is read with the lock held, so no recorded use of another process is later.

        Args:
            target: The target; `None` for all.
            username: The user.
            purpose: What the operation is for.
            absent: The reason to record if there is no session.
        """
        with self.operation:
            try:
                with self._begun(target, purpose):
                    yield self
            except KeyleaseError as error:
                reason = reason_of(error)
                self.refuse(absent if reason == "not_found" else reason, target, username)
                raise
            except INTERRUPTS:
                raise
            except BaseException as error:
                # An unforeseen exception is re-raised as it is: a program that embeds keylease
                # needs its traceback.
                self.audit.log_fault(error, self._clock.now(), target, username)
                raise

    @contextmanager
    def _begun(self, target: Target | None, purpose: Purpose) -> Iterator[None]:
        create, revive = purpose in {"store", "login"}, purpose == "login"
        if purpose != "end":
            self._permit(target, create=create)
        with self._keys(create=create, revive=revive) as keys:
            with self._store.exclusive(keys) as sessions:
                self._vault.demand_current(keys)
                self.sessions, self.now = sessions, self._clock.now()
                yield
            if sessions.grown:
                # Import it here: a `get` never needs it.
                from keylease.session.sweep import clean_up

                for fault in clean_up(self, keys):
                    self.audit.log_fault(fault, self._clock.now())

    def permit_session(self, target: Target) -> None:
        """Check that the machine's policy allows sessions for the target.

        Raises:
            PolicyError: it revokes them.
        """
        if terms_of(self.settings, target).revoked:
            msg = f"the policy of this machine has revoked every session for {target.url}"
            raise PolicyError(msg)

    def destroy_all(self, reason: Reason) -> Destroyed:
        """End every session without a key. Neither the keychain nor the audit log can delay it.

        Raises:
            KeyleaseError: a file is left.
        """
        with self.operation:
            return self._destroy_all(reason, self._clock.now())

    def delete_left_keys(self) -> int:
        """Delete former vault keys that are left in the keychain; return their number.

        Raises:
            KeyleaseError: the keychain or the state cannot be used.
        """
        with self.operation:
            return self._vault.delete_left_keys()

    def refuse(
        self, reason: Reason | RefusalReason, target: Target | None, username: str | None
    ) -> None:
        """Record a refusal."""
        entry = Entry("session.refused", "refused", reason, None, target, username)
        self.audit.log_or_gap(entry, self._clock.now())

    def _permit(self, target: Target | None, *, create: bool) -> None:
        """Check the configuration and the policy, before the keychain is asked."""
        if self.settings.refusal is not None:
            raise self.settings.refusal
        if self.settings.general.revoked:
            # Destroying needs no key, so it does not wait for a keychain.
            self._destroy_all("revoked", self._clock.now())
            msg = "the policy of this machine has revoked every session"
            raise PolicyError(msg)
        if target is not None and create:
            self.permit_session(target)

    def _keys(self, *, create: bool, revive: bool) -> VaultKeys:
        """Return the vault's keys. With `create`, make missing ones."""
        now = self._clock.now()
        keys = self._found_keys(now, revive=revive)
        if create and (keys is None or (keys.audit is None and revive)):
            keys = self._vault.create(now, revive=revive)
        if keys is None:
            msg = "no session was started since this machine started"
            raise SessionNotFoundError(msg)
        self.audit.key = keys.audit
        if keys.made:
            self.audit.log(Entry("vault.created"), now)
        if create and keys.generation > 1:
            self._settle(keys.generation, now)
        return keys

    def _settle(self, generation: int, now: Moment) -> None:
        """End the sessions that a killed key rotation left, before a new one begins.

        Otherwise their echoes could not be recognised.
        """

        def is_former(header: Header | None) -> bool:
            return header is None or header.generation < generation

        self._store.settle(generation, lambda: self._try_to_destroy("revoked", now, is_former))

    def _found_keys(self, now: Moment, *, revive: bool) -> VaultKeys | None:
        """Return the keys from the keychain. If they were deleted, destroy the sessions.

        Raises:
            VaultRevokedError: they were deleted, and the caller may not `revive` the vault.
        """
        try:
            keys = self._vault.open(now)
        except VaultRevokedError:
            revocation = self._vault.find_revocation(now)
            if revocation is None:
                # Another process has made a new generation in the meantime.
                return self._vault.open(now)
            self._revoke(revocation, now)
            if not revive:
                raise
            return None
        if keys is None:
            # There is no vault, or a reboot has emptied its keychain. Sessions that are left belong
            # to the former boot; or to another machine that shares this home directory. In that
            # case refuse, so that its vault is not replaced.
            foreign: list[ForeignBootError] = []
            self._destroy("reboot", now, lambda header: self._left_over(header, now, foreign))
            for error in foreign:
                raise error
        return keys

    @staticmethod
    def _left_over(header: Header | None, now: Moment, foreign: list[ForeignBootError]) -> bool:
        try:
            return left_over(header, now)
        except ForeignBootError as error:
            foreign.append(error)
            return False

    def _revoke(self, revocation: Revocation, now: Moment) -> None:
        """Destroy the sessions of a deleted key, then record that it was deleted.

        Destroy first: a full disk has no room for the record, but files can be removed. A key that
        is put back before the record is written then opens nothing.
        """
        self.audit.key = revocation.audit
        last, over = revocation.generation, list[str]()
        with Steps() as steps:
            with steps.step():
                left = self._store.destroy(
                    lambda header: not header or header.generation <= last,
                    over.extend,
                    awaits_echo(now),
                ).failures
                steps.failures.extend(left)
            if revocation.first:
                with steps.step():
                    self._vault.mark_revoked(revocation, now)
                with steps.step():
                    self.audit.log_or_gap(Entry("vault.revoked"), now)
            else:
                # The revocation is recorded already. Only the audit key is needed.
                with steps.step():
                    self.audit.key = self._vault.audit_key_left()
            self.audit.log_ended(over, "revoked", now, steps)
        steps.demand()

    def _destroy_all(self, reason: Reason, now: Moment) -> Destroyed:
        return self._destroy(reason, now, lambda _: True)

    def _destroy(
        self,
        reason: Reason,
        now: Moment,
        doomed: Callable[[Header | None], bool],
    ) -> Destroyed:
        destroyed = self._try_to_destroy(reason, now, doomed)
        for failure in destroyed.failures:
            raise failure
        return destroyed

    def _try_to_destroy(
        self, reason: Reason, now: Moment, doomed: Callable[[Header | None], bool]
    ) -> Destroyed:
        """Destroy sessions without a key, then record their ends."""
        over: list[str] = []
        with Steps() as steps:
            with steps.step():
                destroyed = self._store.destroy(doomed, over.extend, awaits_echo(now))
            self.audit.log_ended(over, reason, now, steps)
        steps.demand()
        return destroyed
