"""AuthenticationService: what a person asks for, in terms of what can be done with sessions.

`keylease.session.service` decides; this module adds who asked: a `login` or `logout` line in the
audit log beside the lines of the sessions that it concerns. Nothing happens without those lines,
so a `login` or `logout` line that cannot be written is only a gap.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from keylease.audit.events import Entry

if TYPE_CHECKING:
    from keylease.audit.log import AuditLog
    from keylease.model import Credential, Session, Target
    from keylease.session.service import SessionService
    from keylease.system.clock import Clock


class AuthenticationService:
    """Login and logout.

    Args:
        session: What can be done with sessions.
        audit: Where it is written down who asked for it.
        clock: Tells when.

    New in version 0.1.0.
    """

    def __init__(self, session: SessionService, audit: AuditLog, clock: Clock) -> None:
        self._session = session
        self._audit = audit
        self._clock = clock

    def login(self, target: Target, credential: Credential, *, sole: bool = False) -> Session:
        """Start a session, in place of one for the same target and user. A vault is made for it.

        Args:
            target: What the credential is for.
            credential: What the session is to hold.
            sole: Whether it takes the place of other users' sessions, too.

        Raises:
            KeyleaseError: the keychain, the state or the audit log cannot be used.
        """
        session = self._session.create(target, credential, sole=sole)
        entry = Entry("login", "ok", None, session.id, target, session.username)
        self._audit.log_or_gap(entry, self._clock.now())
        return session

    def logout(self, target: Target, username: str | None = None) -> list[Session]:
        """End every session that answers and return them; none is no error.

        Args:
            target: What the credentials are for.
            username: Whose; everybody's if not given.

        Raises:
            KeyleaseError: the keychain or the state cannot be used.
        """
        ended = self._session.terminate(target, username)
        self._tell_logout(target, username, any_ended=bool(ended))
        return ended

    def logout_all(self) -> list[str]:
        """End every session and return their ids; none is no error. It needs no keychain.

        Raises:
            StateError: the state cannot be used.
        """
        ended = self._session.terminate_all()
        self._tell_logout(None, None, any_ended=bool(ended))
        return ended

    def current(self, target: Target, username: str | None = None) -> Session:
        """Return the live session that a tool would be answered from. It is not used.

        Raises:
            SessionNotFoundError: there is none, or none any more (`SessionEndedError`).
            KeyleaseError: the keychain or the state cannot be used.
        """
        session, _ = self._session.validate(target, username)
        return session

    def _tell_logout(self, target: Target | None, username: str | None, *, any_ended: bool) -> None:
        entry = Entry("logout", "ok", None, None, target, username)
        if not any_ended:
            entry = entry._replace(outcome="refused", reason="not_found")
        self._audit.log_or_gap(entry, self._clock.now())
