"""SessionService: what can be done with sessions. Who reads one module reads this, then `rules`.

A session lives for its idle timeout from its last use, and never longer than its cap from its
creation. A `get` and an `extend` are uses; nothing else is. What has ended stays ended: a
credential that comes back from a tool that was given it is an echo, and an echo revives nothing.

Everything is decided here and nothing is done here: files, keys and clocks are in the hands of the
collaborators. What is decided is written down first and happens then.
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
    """Everything that can be done with sessions. It keeps nothing: threads may share it.

    Args:
        operation: Begins an operation. Each of the functions here is one.

    New in version 0.1.0.
    """

    def __init__(self, operation: Callable[[], Operation]) -> None:
        self._operation = operation

    # What a peer asks.

    def handle(self, request: Request, *, is_use: bool = True) -> Answer:
        """Answer a peer's request; `None` where the answer is silence.

        Args:
            request: What is asked.
            is_use: Of a `get`: as in `release`.

        Raises:
            KeyleaseError: what `release`, `store`, `erase` and `sessions` raise.
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
        """Release the credential to the caller, who has it when this returns.

        Args:
            target: What the credential is for.
            username: Whose; anybody's if not given.
            preencoded: Whether a pre-encoded Authorization value is an answer, too.
            like: Only a session for the very target and username of this one may answer.

        Raises:
            KeyleaseError: as `release`.
        """
        reply = self.release(Asked(target, username, preencoded, like))
        with reply.gate:
            return reply._replace(gate=OPEN_GATE)

    def release(self, asked: Asked, *, is_use: bool = True, asker: Asker | None = None) -> Reply:
        """Release the credential of the newest live session that answers, and restart its timeout.

        The credential is handed out within the reply's `gate`, which is the last to refuse.

        Args:
            asked: Which session may answer.
            is_use: Whether the release counts as a use. If not, the timeout is not restarted.
            asker: Who asks, if it is a program that asks again whatever is refused: the same
                process gets the secret of one session for one question once.

        Raises:
            SessionNotFoundError: there is none, or none any more (`SessionEndedError`).
            AskedAgainError: the `asker` was given that secret for this question a moment ago.
            AuditError: the release could not be written down, so it did not happen.
            KeyleaseError: the keychain or the state cannot be used.
        """
        with self._begin(asked.place, asked.username) as tx:
            found, session = _newest(tx, asked)
            if asker is not None and asker.was_answered(session.id, tx.now):
                raise _again(session)
            tx.audit.log(_entry("session.released", session), tx.now)
            if asker is not None:
                asker.record(session.id, tx.now)
            if is_use:
                session = _use(tx, found, session, released=True)
            ends = (tx.now.wall_ns + remaining(session, tx.now).ns) // NANOSECONDS
            gate = _gate(tx, tx.sessions.grip(found), session)
            try:
                return Reply(session, tx.sessions.open(found), ends, gate)
            except BaseException:
                gate.close()
                raise

    def store(self, request: Request) -> Session | None:
        """Create a session for what a peer brings, unless it is an echo of what it was given.

        Returns:
            The new session, or the live one that holds the very secret; `None` if neither is there.

        Raises:
            VaultRevokedError: the vault is revoked, and only a person can start a new one.
            PolicyError: the policy of this machine lets there be no session for the target, or the
                configuration lets no tool start one and the peer's user has to know.
            KeyleaseError: the keychain, the state or the audit log cannot be used.
        """
        target, username, credential = request.target, request.username, request.credential
        if target is None or credential is None:
            with self._operation() as operation:
                Transaction(operation).refuse("incomplete", target, username)
            return None
        tx = Transaction(self._operation())
        # Where there is no vault there is nothing to replace, and none is made for a refusal.
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
                    raise _unwanted(target)
                if refusal is None:
                    return _create(tx, live, target, credential, request.replace_other_users)
                tx.refuse(refusal, target, username)
        except SessionNotFoundError:
            if purpose == "store":
                raise
            if refusal == "policy" and request.is_login:
                raise _unwanted(target) from None
        return None

    def erase(
        self, target: Target, username: str | None = None, secret: Secret | None = None
    ) -> list[Session]:
        """End every session that answers and, if a secret is given, holds that very secret.

        Raises:
            KeyleaseError: the keychain or the state cannot be used.
        """
        return self._end_answering(target, username, secret, "erased")

    # The operations on one session.

    def create(
        self, target: Target, credential: Credential, *, replace_other_users: bool = False
    ) -> Session:
        """Create a session because a person asked for it. A revoked vault gets a new key for it.

        What `store` of the configuration forbids is forbidden to tools, not to a person.

        Args:
            target: What the credential is for.
            credential: What the session is to hold.
            replace_other_users: Whether it takes the place of other users' sessions, too.

        Raises:
            PolicyError: the policy of this machine lets there be no session for the target.
            KeyleaseError: the keychain, the state or the audit log cannot be used.
        """
        with self._begin(target, credential.username, "login") as tx:
            return _create(tx, _live(tx, target), target, credential, replace_other_users)

    def validate(self, target: Target, username: str | None = None) -> tuple[Session, Remaining]:
        """Return the live session that a `get` would use, and how long it lives. It is not used.

        Raises:
            SessionNotFoundError: there is none, or none any more (`SessionEndedError`).
            KeyleaseError: the keychain or the state cannot be used.
        """
        with self._begin(target, username) as tx:
            _, session = _newest(tx, Asked(target, username, preencoded=True))
            tx.audit.log_or_gap(_entry("session.validated", session), tx.now)
            return session, remaining(session, tx.now)

    def extend(
        self, target: Target, username: str | None = None, *, like: Session | None = None
    ) -> tuple[Session, Remaining]:
        """Restart the idle timeout; the cap stays where it is.

        Args:
            target: What the session is for.
            username: Whose; anybody's if not given.
            like: Only a session for the very target and username of this one is meant.

        Raises:
            SessionNotFoundError: there is none, or none any more (`SessionEndedError`).
            AuditError: it could not be written down, so it did not happen.
            KeyleaseError: the keychain or the state cannot be used.
        """
        with self._begin(target, username) as tx:
            found, session = _newest(tx, Asked(target, username, preencoded=True, like=like))
            tx.audit.log(_entry("session.extended", session), tx.now)
            session = _use(tx, found, session, released=False)
            return session, remaining(session, tx.now)

    def terminate(self, target: Target, username: str | None = None) -> list[Session]:
        """End every session that answers, because its user says so, and return them.

        Raises:
            KeyleaseError: the keychain or the state cannot be used.
        """
        return self._end_answering(target, username, None, "logout")

    def terminate_all(self) -> list[str]:
        """End every session, because its user says so, and return their ids.

        It needs no key, so a locked keychain holds it up as little as the audit log does.

        Raises:
            StateError: something is left: a file, or a share that cannot be reached from here.
        """
        destroyed = Transaction(self._operation()).destroy_all("logout")
        if destroyed.shares:
            msg = f"{len(destroyed.shares)} of the ended sessions have a share that is out of reach"
            hint = (
                "until it dies a copy of the file can be opened; log out where you logged in, too"
            )
            raise StateError(msg, hint)
        return destroyed.sessions

    def persist(self, session: Session, credential: Credential) -> Session:
        """Seal another credential for a live session, which goes on as it stands.

        Its creation, its cap and its last use stay; a sealed file is never changed, so the session
        gets a new id.

        Raises:
            SessionNotFoundError: no such session lives.
            KeyleaseError: the keychain, the state or the audit log cannot be used.
        """
        with self._begin(session.target, session.username) as tx:
            live = _live(tx, session.target)
            for _, held in live:
                if held.id == session.id:
                    return _persist(tx, live, renamed(held), credential)
            msg = f"the session for {session.target.url} does not live any more"
            raise SessionNotFoundError(msg)

    def load(self, session_id: str) -> Session:
        """Return the live session of that id, without using it.

        Raises:
            SessionNotFoundError: there is none, or none any more (`SessionEndedError`).
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
            msg = "no session of that id"
            raise SessionNotFoundError(msg)

    def sessions(self, unknown: list[StateError] | None = None) -> list[tuple[Session, Remaining]]:
        """Return every live session and how long it lives, oldest first. None of them is used.

        Args:
            unknown: Takes why nothing can be said about a session, and the others are returned.

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
        """Return the live sessions of a family of tools. None of them is used.

        Raises:
            KeyleaseError: the keychain or the state cannot be used.
        """
        found = (session for session, _ in self.sessions())
        return Listing(tuple(each for each in found if each.target.namespace == namespace))

    def open_vault(self) -> int:
        """Make the vault, or a new key for one that is revoked, without a session.

        Returns:
            The generation of the vault key, new or not.

        Raises:
            KeyleaseError: the keychain or the state cannot be used.
        """
        with self._begin(None, None, "login") as tx:
            return tx.sessions.generation

    def collect(self) -> Collected:
        """Remove everything that is over or of no use, whatever it is for. Nothing is used.

        Raises:
            KeyleaseError: the keychain or the state cannot be used; what needs no key is removed
                all the same.
        """
        # Nobody but a person asks for it, so no helper imports it.
        from keylease.session.collect import collect

        return collect(self._operation)

    # How a decision is taken.

    def _begin(
        self, target: Target | None, username: str | None, purpose: Purpose = "use"
    ) -> AbstractContextManager[Transaction]:
        return Transaction(self._operation()).begin(target, username, purpose)

    def _end_answering(
        self, target: Target, username: str | None, secret: Secret | None, reason: Reason
    ) -> list[Session]:
        with self._begin(target, username, "end") as tx:
            doomed: list[Session] = []
            # One file that cannot be used does not keep the others alive.
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
    """Return why what a peer brings starts no session; `None` if it does."""
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
    """Seal a session in the place of the one among the `live` that it replaces."""
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


def _use(tx: Transaction, found: Found, session: Session, *, released: bool) -> Session:
    used = session._replace(used=tx.now, released=tx.now if released else session.released)
    tx.sessions.roll(found, tx.now, released=released, seconds=whole_seconds(used, tx.now))
    return used


def _gate(tx: Transaction, grip: Grip, session: Session) -> ReleaseGate:
    """Return what the credential of the session passes when it is handed out.

    The operation goes on until the gate is closed.
    """
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
    """End the sessions of other users that a new login takes the place of."""
    with Steps() as steps:
        for found, session in live:
            if session.target == login.target and session.username != login.username:
                with steps.step():
                    tx.judge.end(tx.sessions, found, "replaced", tx.now)
    steps.demand()


def _again(session: Session) -> AskedAgainError:
    """Return the refusal of a secret that a program was given for the same question before."""
    msg = f"the same process was given the secret for {session.target.url} a moment ago"
    return AskedAgainError(msg)


def _unwanted(target: Target) -> PolicyError:
    """Return the refusal of a login, which must not be lost without a word as an echo may be."""
    msg = f"the configuration lets no tool start a session for {target.url}"
    return PolicyError(msg, "see: keylease config show")


def _entry(event: Event, session: Session) -> Entry:
    return Entry(event, "ok", None, session.id, session.target, session.username)
