"""AuthenticationService: what a person asks for, in terms of what can be done with sessions.

`keylease.session.service` decides; this module adds who asked: a `login` or `logout` line in the
audit log beside the lines of the sessions that it concerns. Nothing happens without those lines,
so a `login` or `logout` line that cannot be written is only a gap.
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
        operation: Begins an operation. Each of the functions here is one.

    New in version 0.1.0.
    """

    def __init__(self, operation: Callable[[], Operation]) -> None:
        self._operation = operation

    def login(
        self, target: Target, credential: Credential, *, replace_other_users: bool = False
    ) -> Session:
        """Start a session, in place of one for the same target and user. A vault is made for it.

        Args:
            target: What the credential is for.
            credential: What the session is to hold.
            replace_other_users: Whether it takes the place of other users' sessions, too.

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
        """End every session that answers and return them; none is no error.

        Args:
            target: What the credentials are for.
            username: Whose; everybody's if not given.

        Raises:
            KeyleaseError: the keychain or the state cannot be used.
        """
        with self._operation() as operation:
            ended = _sessions(operation).terminate(target, username)
            _tell_logout(operation, target, username, any_ended=bool(ended))
            return ended

    def logout_all(self) -> list[str]:
        """End every session and return their ids; none is no error. It needs no keychain.

        Raises:
            StateError: the state cannot be used.
        """
        with self._operation() as operation:
            ended = _sessions(operation).terminate_all()
            _tell_logout(operation, None, None, any_ended=bool(ended))
            return ended

    def current(self, target: Target, username: str | None = None) -> Session:
        """Return the live session that a tool would be answered from. It is not used.

        Raises:
            SessionNotFoundError: there is none, or none any more (`SessionEndedError`).
            KeyleaseError: the keychain or the state cannot be used.
        """
        session, _ = SessionService(self._operation).validate(target, username)
        return session


def _sessions(operation: Operation) -> SessionService:
    """Return what can be done with sessions within one operation."""
    return SessionService(lambda: operation)


def _tell_logout(
    operation: Operation, target: Target | None, username: str | None, *, any_ended: bool
) -> None:
    entry = Entry("logout", "ok", None, None, target, username)
    if not any_ended:
        entry = entry._replace(outcome="refused", reason="not_found")
    operation.audit.log_or_gap(entry, operation.clock.now())
