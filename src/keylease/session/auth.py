"""AuthenticationService: login and logout by a person.

`keylease.session.service` decides. This module adds a `login` or `logout` line to the audit log,
beside the lines of the sessions. The session lines record the effect, so a `login` or `logout` line
that cannot be written is only counted as a gap.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from keylease.audit.events import Entry
from keylease.session.service import SessionService

if TYPE_CHECKING:
    from collections.abc import Callable

    from keylease.model import Credential, Session, Target
    from keylease.session.operation import Operation


class AuthenticationService:
    """Login and logout.

    Args:
        operation: Begins an operation. Each method is one.

    New in version 0.1.0.
    """

    def __init__(self, operation: Callable[[], Operation]) -> None:
        self._operation = operation

    def login(
        self, target: Target, credential: Credential, *, replace_other_users: bool = False
    ) -> Session:
        """Start a session and end the old one of the same target and user.

        Makes the vault, or a new key for a revoked one, if necessary.

        Args:
            target: What the credential is for.
            credential: What the session holds.
            replace_other_users: Whether it also replaces the sessions of other users.

        Raises:
            KeyleaseError: the keychain, the state or the audit log cannot be used.
        """
        with self._operation() as operation:
            session = _sessions(operation).create(
                target, credential, replace_other_users=replace_other_users
            )
            entry = Entry("login", "ok", None, session.id, target, session.username)
            operation.audit.log_or_gap(entry, operation.clock.now())
            return session

    def logout(self, target: Target, username: str | None = None) -> list[Session]:
        """End every session that answers, and return them. An empty list is no error.

        Args:
            target: What the credentials are for.
            username: The user; every user if not given.

        Raises:
            KeyleaseError: the keychain or the state cannot be used.
        """
        with self._operation() as operation:
            ended = _sessions(operation).terminate(target, username)
            _tell_logout(operation, target, username, any_ended=bool(ended))
            return ended

    def logout_all(self) -> list[str]:
        """End every session without a keychain, and return their ids. An empty list is no error.

        Raises:
            StateError: the state cannot be used.
        """
        with self._operation() as operation:
            ended = _sessions(operation).terminate_all()
            _tell_logout(operation, None, None, any_ended=bool(ended))
            return ended

    def current(self, target: Target, username: str | None = None) -> Session:
        """Return the live session that would answer a tool. This is no use.

        Raises:
            SessionNotFoundError: no session answers; `SessionEndedError` if it has ended.
            KeyleaseError: the keychain or the state cannot be used.
        """
        session, _ = SessionService(self._operation).validate(target, username)
        return session


def _sessions(operation: Operation) -> SessionService:
    """Return the session service within one operation."""
    return SessionService(lambda: operation)


def _tell_logout(
    operation: Operation, target: Target | None, username: str | None, *, any_ended: bool
) -> None:
    entry = Entry("logout", "ok", None, None, target, username)
    if not any_ended:
        entry = entry._replace(outcome="refused", reason="not_found")
    operation.audit.log_or_gap(entry, operation.clock.now())
