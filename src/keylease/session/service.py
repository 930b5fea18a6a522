"""SessionService: every operation on sessions. Read this module first, then `keylease.rules`.

A session ends when its idle timeout has passed since its last use, or its cap since its creation.
Only `get` and `extend` are uses. An ended session stays ended: a credential that a tool received
and sends back is an echo, and an echo revives nothing.

This module decides; its collaborators hold the files, the keys and the clocks. A release is in the
audit log before it happens. An end happens first, so that a broken log cannot delay it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from keylease.audit.events import Entry
from keylease.errors import AskedAgainError, PolicyError, SessionNotFoundError, StateError
from keylease.faults import Steps
from keylease.model import NANOSECONDS, OPEN_GATE, Listing, Reply
from keylease.rules import Remaining, answers, ended, may_store, remaining, terms_of
from keylease.session.begin import begun, renamed, replaces, whole_seconds
from keylease.session.echo import echoed, holds
from keylease.session.select import Asked, absence, ended_error, newest
from keylease.session.transaction import Transaction, reason_of
from keylease.store.release import ReleaseGate

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from keylease.audit.events import Event, RefusalReason
    from keylease.errors import KeyleaseError
    from keylease.model import (
        Answer,
        Credential,
        Moment,
        Reason,
        Request,
        Session,
        Settings,
        Target,
    )
    from keylease.secrets.secret import Secret
    from keylease.session.collect import Collected
    from keylease.session.judge import Live
    from keylease.session.operation import Operation
    from keylease.session.transaction import Purpose
    from keylease.statefile.grip import Grip
    from keylease.store.askers import Asker
    from keylease.store.opened import Found


class SessionService:
    """Every operation on sessions. It has no state, so threads may share it.

    Args:
        operation: Begins an operation. Each method is one.

    New in version 0.1.0.
    """

    def __init__(self, operation: Callable[[], Operation]) -> None:
        self._operation = operation

    # Requests of a peer.

    def handle(self, request: Request, *, is_use: bool = True) -> Answer:
        """Answer a peer's request; `None` if the answer is empty.

        Args:
            request: The request.
            is_use: For a `get`: as in `release`.

        Raises:
            KeyleaseError: as `release`, `store`, `erase` and `sessions`.
        """
        if request.action == "list":
            return self.listing(request.namespace)
        target, username, credential = request.target, request.username, request.credential
        if target is None:
            return None
        if request.action == "get":
            preencoded = "authtype" in request.capabilities
            asked = Asked(target, username, preencoded, closest=request.closest)
            return self.release(asked, is_use=is_use)
        if request.action == "store":
            self.store(request)
        elif request.action == "erase":
            self.erase(target, username, credential.secret if credential else None)
        return None

    def get(
        self,
        target: Target,
        username: str | None = None,
        *,
        preencoded: bool = False,
        like: Session | None = None,
    ) -> Reply:
        """Release the credential to the caller.

        Args:
            target: What the credential is for.
            username: The user; any user if not given.
            preencoded: Whether a pre-encoded Authorization value may be the answer.
            like: If given, only a session with exactly its target and username may answer.

        Raises:
            KeyleaseError: as `release`.
        """
        reply = self.release(Asked(target, username, preencoded, like))
        with reply.gate:
            return reply._replace(gate=OPEN_GATE)

    def release(self, asked: Asked, *, is_use: bool = True, asker: Asker | None = None) -> Reply:
        """Release the credential of the newest live session that answers, and restart its timeout.

        Write the credential inside the reply's `gate`: it refuses if the session has just ended.

        Args:
            asked: Which session may answer.
            is_use: Whether the release counts as a use. If not, the timeout is not restarted.
            asker: The process that asks, for programs that repeat a question after a refusal. One
                process gets the secret of one session only once for the same question.

        Raises:
            SessionNotFoundError: no session answers; `SessionEndedError` if it has ended.
            AskedAgainError: the `asker` received that secret for this question a moment ago.
            AuditError: the audit line could not be written, so nothing was released.
            KeyleaseError: the keychain or the state cannot be used.
        """
        with self._begin(asked.place, asked.username) as tx:
            found, session = _newest(tx, asked)
            if asker is not None and asker.was_answered(session.id, tx.now):
                raise _repeated(session)
            tx.audit.log(_entry("session.released", session), tx.now)
            if asker is not None:
                asker.record(session.id, tx.now)
            if is_use:
                session = _record_use(tx, found, session, released=True)
            ends = (tx.now.wall_ns + remaining(session, tx.now).ns) // NANOSECONDS
            gate = _release_gate(tx, tx.sessions.grip(found), session)
            try:
                return Reply(session, tx.sessions.open(found), ends, gate)
            except BaseException:
                gate.close()
                raise

    def store(self, request: Request) -> Session | None:
        """Create a session for the credential that a peer sends, unless it is an echo.

        Returns:
            The new session, or the live one that already holds this secret; `None` if neither.

        Raises:
            VaultRevokedError: the vault is revoked, and only a person can make a new key.
            PolicyError: the machine's policy forbids sessions for the target; or the configuration
                forbids tools to start one, and the request is a login.
            KeyleaseError: the keychain, the state or the audit log cannot be used.
        """
        target, username, credential = request.target, request.username, request.credential
        if target is None or credential is None:
            with self._operation() as operation:
                Transaction(operation).refuse("incomplete", target, username)
            return None
        tx = Transaction(self._operation())
        # Decide without the live sessions first: a refused `store` must not make a vault.
        refusal = _refusal(tx.settings, request, [], tx.operation.clock.now())
        purpose: Purpose = "use" if refusal else "store"
        absent = refusal or "not_found"
        try:
            with tx.begin(target, username, purpose, absent=absent):
                live = _live(tx, target)
                echo = echoed(tx.sessions, live, request, tx.now)
                refusal = _refusal(tx.settings, request, live, tx.now)
                if echo is not None:
                    tx.audit.log_or_gap(echo, tx.now)
                    if request.replace_other_users and echo.outcome == "ok":
                        _end_others(tx, live, request)
                    return next((each for _, each in live if each.id == echo.session), None)
                if refusal == "policy" and request.is_login:
                    raise _forbidden(target)
                if refusal is None:
                    return _create(tx, live, target, credential, request.replace_other_users)
                tx.refuse(refusal, target, username)
        except SessionNotFoundError:
            if purpose == "store":
                raise
            if refusal == "policy" and request.is_login:
                raise _forbidden(target) from None
        return None

    def erase(
        self, target: Target, username: str | None = None, secret: Secret | None = None
    ) -> list[Session]:
        """End every session that answers; if `secret` is given, only those that hold it.

        Raises:
            KeyleaseError: the keychain or the state cannot be used.
        """
        return self._end_answering(target, username, secret, "erased")

    # Operations on one session.

    def create(
        self, target: Target, credential: Credential, *, replace_other_users: bool = False
    ) -> Session:
        """Create a session at a person's request. A revoked vault gets a new key.

        The setting `store` restricts tools only, so it is not checked here.

        Args:
            target: What the credential is for.
            credential: What the session holds.
            replace_other_users: Whether it also replaces the sessions of other users.

        Raises:
            PolicyError: the machine's policy forbids sessions for the target.
            KeyleaseError: the keychain, the state or the audit log cannot be used.
        """
        with self._begin(target, credential.username, "login") as tx:
            return _create(tx, _live(tx, target), target, credential, replace_other_users)

    def validate(self, target: Target, username: str | None = None) -> tuple[Session, Remaining]:
        """Return the session that a `get` would use, and how long it still lives. This is no use.

        Raises:
            SessionNotFoundError: no session answers; `SessionEndedError` if it has ended.
            KeyleaseError: the keychain or the state cannot be used.
        """
        with self._begin(target, username) as tx:
            _, session = _newest(tx, Asked(target, username, preencoded=True))
            tx.audit.log_or_gap(_entry("session.validated", session), tx.now)
            return session, remaining(session, tx.now)

    def extend(
        self, target: Target, username: str | None = None, *, like: Session | None = None
    ) -> tuple[Session, Remaining]:
        """Restart the idle timeout. The cap does not move.

        Args:
            target: What the session is for.
            username: The user; any user if not given.
            like: If given, only a session with exactly its target and username is extended.

        Raises:
            SessionNotFoundError: no session answers; `SessionEndedError` if it has ended.
            AuditError: the audit line could not be written, so nothing was extended.
            KeyleaseError: the keychain or the state cannot be used.
        """
        with self._begin(target, username) as tx:
            found, session = _newest(tx, Asked(target, username, preencoded=True, like=like))
            tx.audit.log(_entry("session.extended", session), tx.now)
            session = _record_use(tx, found, session, released=False)
            return session, remaining(session, tx.now)

    def terminate(self, target: Target, username: str | None = None) -> list[Session]:
        """End every session that answers, at its user's request, and return them.

        Raises:
            KeyleaseError: the keychain or the state cannot be used.
        """
        return self._end_answering(target, username, None, "logout")

    def terminate_all(self) -> list[str]:
        """End every session, at the user's request, and return their ids.

        This needs no key. Neither a locked keychain nor a broken audit log can delay it.

        Raises:
            StateError: a file is left, or a share that this process cannot reach.
        """
        destroyed = Transaction(self._operation()).destroy_all("logout")
        if destroyed.shares:
            msg = f"{len(destroyed.shares)} ended sessions have a share that cannot be reached here"
            hint = "log out in the login that made them, or a copy of a sealed file may still open"
            raise StateError(msg, hint)
        return destroyed.sessions

    def persist(self, session: Session, credential: Credential) -> Session:
        """Replace the credential of a live session.

        Its creation, cap and last use stay. A sealed file is never changed, so the session gets a
        new file and a new id.

        Raises:
            SessionNotFoundError: the session is not live.
            KeyleaseError: the keychain, the state or the audit log cannot be used.
        """
        with self._begin(session.target, session.username) as tx:
            live = _live(tx, session.target)
            for _, held in live:
                if held.id == session.id:
                    return _persist(tx, live, renamed(held), credential)
            msg = f"the session for {session.target.url} has ended"
            raise SessionNotFoundError(msg)

    def load(self, session_id: str) -> Session:
        """Return the live session with that id. This is no use.

        Raises:
            SessionNotFoundError: there is none; `SessionEndedError` if it has ended.
            KeyleaseError: the keychain or the state cannot be used.
        """
        with self._begin(None, None) as tx:
            found = [each for each in tx.sessions.all() if each.id == session_id]
            judged = tx.judge.sort(tx.sessions, found, tx.now)
            judged.demand_certainty()
            for _, session in judged.live:
                return session
            for ended_session, reason in judged.over:
                raise ended_error(ended_session and ended_session.target, reason)
            msg = "there is no session with that id"
            raise SessionNotFoundError(msg)

    def sessions(self, unknown: list[StateError] | None = None) -> list[tuple[Session, Remaining]]:
        """Return every live session and how long it still lives, oldest first. This is no use.

        Args:
            unknown: Collects the errors of sessions whose state is unknown. Without it, the first
                such error is raised.

        Raises:
            KeyleaseError: the keychain or the state cannot be used.
        """
        with self._begin(None, None) as tx:
            judged = tx.judge.sort(tx.sessions, tx.sessions.all(), tx.now)
            if unknown is None:
                judged.demand_certainty()
            else:
                unknown.extend(judged.doubts())
            ordered = sorted(judged.live, key=lambda pair: pair.age)
            return [(session, remaining(session, tx.now)) for _, session in ordered]

    def listing(self, namespace: str) -> Listing:
        """Return the live sessions of a namespace. This is no use.

        Raises:
            KeyleaseError: the keychain or the state cannot be used.
        """
        found = (session for session, _ in self.sessions())
        return Listing(tuple(each for each in found if each.target.namespace == namespace))

    def open_vault(self) -> int:
        """Make the vault, or a new key for a revoked one, but no session.

        Returns:
            The generation of the vault key.

        Raises:
            KeyleaseError: the keychain or the state cannot be used.
        """
        with self._begin(None, None, "login") as tx:
            return tx.sessions.generation

    def collect(self) -> Collected:
        """Remove ended sessions and unused files of every target.

        Raises:
            KeyleaseError: the keychain or the state cannot be used. Everything that needs no key
                was removed.
        """
        # Import it here: no helper needs it.
        from keylease.session.collect import collect

        return collect(self._operation)

    def _begin(
        self, target: Target | None, username: str | None, purpose: Purpose = "use"
    ) -> AbstractContextManager[Transaction]:
        return Transaction(self._operation()).begin(target, username, purpose)

    def _end_answering(
        self, target: Target, username: str | None, secret: Secret | None, reason: Reason
    ) -> list[Session]:
        with self._begin(target, username, "end") as tx:
            doomed: list[Session] = []
            # A file that cannot be used must not keep the other sessions alive.
            with Steps() as steps:
                judged = tx.judge.sort(tx.sessions, tx.sessions.of(target, steps), tx.now, steps)
                for live in (*judged.live, *judged.elsewhere):
                    with steps.step():
                        if answers(live.session, target, username) and (
                            secret is None or holds(tx.sessions, live, secret)
                        ):
                            doomed.append(live.session)
                            tx.judge.end(tx.sessions, live.found, reason, tx.now)
            judged._replace(elsewhere=[]).demand_certainty()
            steps.demand()
            if not doomed:
                tx.refuse("not_found", target, username)
            return doomed


def _live(tx: Transaction, target: Target) -> list[Live]:
    return tx.judge.sort(tx.sessions, tx.sessions.of(target), tx.now).live


def _newest(tx: Transaction, asked: Asked) -> Live:
    judged = tx.judge.sort(tx.sessions, tx.sessions.of(asked.place), tx.now)
    chosen = newest(asked, judged.live)
    if chosen is None:
        judged.demand_certainty()
        tx.permit_session(asked.place)
        raise absence(asked, judged)
    return chosen


def _refusal(
    settings: Settings, request: Request, live: list[Live], now: Moment
) -> RefusalReason | None:
    """Return why the peer's credential may not start a session; `None` if it may."""
    target, credential = request.target, request.credential
    if target is None or credential is None:
        return "incomplete"
    if request.ephemeral:
        return "ephemeral"
    if credential.expires is not None and credential.expires <= now.wall_ns // NANOSECONDS:
        return "credential_expired"
    if not may_store(terms_of(settings, target), replaces=replaces(live, target, credential)):
        return "policy"
    return None


def _create(
    tx: Transaction,
    live: list[Live],
    target: Target,
    credential: Credential,
    replace_other_users: bool,  # noqa: FBT001 - the caller has it by this name
) -> Session:
    session = begun(tx.settings, target, credential, tx.sessions.generation, tx.now)
    session = _persist(tx, live, session, credential)
    if replace_other_users:
        _end_others(tx, live, session)
    return session


def _persist(
    tx: Transaction, live: list[Live], session: Session, credential: Credential
) -> Session:
    """Seal a session, then end the live one that it replaces."""
    sessions = tx.sessions
    sessions.demand_room(session, credential)
    tx.audit.log(_entry("session.created", session), tx.now)
    erased = sessions.put(session, credential, seconds=whole_seconds(session, tx.now))
    with Steps() as steps:
        for found, old in live:
            if (old.target, old.username) == (session.target, session.username):
                with steps.step():
                    tx.judge.end(sessions, found, "replaced", tx.now)
        if sessions.weakened is not None:
            with steps.step():
                tx.audit.log_or_gap(_entry("session.weakened", session), tx.now)
    steps.demand()
    return session._replace(erased=erased, weakened=sessions.weakened)


def _record_use(tx: Transaction, found: Found, session: Session, *, released: bool) -> Session:
    used = session._replace(used=tx.now, released=tx.now if released else session.released)
    tx.sessions.roll(found, tx.now, released=released, seconds=whole_seconds(used, tx.now))
    return used


def _release_gate(tx: Transaction, grip: Grip, session: Session) -> ReleaseGate:
    """Return the gate for writing the session's credential. It holds the operation until closed."""
    operation = tx.operation

    def demand_live() -> None:
        reason = ended(session, operation.clock.now())
        if reason is not None:
            raise ended_error(session.target, reason)

    def refuse(error: KeyleaseError) -> None:
        tx.refuse(reason_of(error), session.target, session.username)

    operation.hold()
    seconds = operation.deadline.remaining()
    return ReleaseGate(grip, seconds, demand_live, refuse, operation.let_go)


def _end_others(tx: Transaction, live: list[Live], login: Request | Session) -> None:
    """End the sessions that other users have for the target of a new login."""
    with Steps() as steps:
        for found, session in live:
            if session.target == login.target and session.username != login.username:
                with steps.step():
                    tx.judge.end(tx.sessions, found, "replaced", tx.now)
    steps.demand()


def _repeated(session: Session) -> AskedAgainError:
    """Return the refusal of a question that the same process has just asked."""
    msg = f"this process received the secret for {session.target.url} a moment ago"
    return AskedAgainError(msg)


def _forbidden(target: Target) -> PolicyError:
    """Return the refusal of a login. Its user has to know, so it is not silent."""
    msg = f"the configuration forbids tools to start a session for {target.url}"
    return PolicyError(msg, "see: keylease config show")


def _entry(event: Event, session: Session) -> Entry:
    return Entry(event, "ok", None, session.id, session.target, session.username)
