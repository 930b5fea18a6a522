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
from keylease.session.judge import Judge
from keylease.session.select import Asked, absence, ended_error, newest
from keylease.session.transaction import Operations, reason_of
from keylease.store.release import ReleaseGate

if TYPE_CHECKING:
    from keylease.audit.events import Event, RefusalReason
    from keylease.audit.log import AuditLog
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
    from keylease.session.transaction import Purpose
    from keylease.statefile.grip import Grip
    from keylease.store.askers import Asker
    from keylease.store.listed import Listings
    from keylease.store.opened import Found, Sessions
    from keylease.store.store import SessionStore
    from keylease.system.clock import Clock, Deadline
    from keylease.vault.vault import Vault


class SessionService:
    """Everything that can be done with sessions.

    Args:
        clock: Tells the time of each decision, once.
        vault: Where the keys are.
        store: Where the sessions are.
        audit: Where each decision is written down.
        settings: How long sessions live, and for what there may be any.
        deadline: How long one operation may take; the collaborators wait by it.
        listings: Who was given a list, and reads its entries.

    New in version 0.1.0.
    """

    def __init__(  # noqa: PLR0913 - collaborators by name; an object around them would only hide them
        self,
        *,
        clock: Clock,
        vault: Vault,
        store: SessionStore,
        audit: AuditLog,
        settings: Settings,
        deadline: Deadline,
        listings: Listings,
    ) -> None:
        self._listings = listings
        settings.limits.check()
        self._settings = settings
        self._audit = audit
        self._store = store
        self._clock = clock
        self._deadline = deadline
        self._judge = Judge(settings, audit)
        self._operations = Operations(
            clock=clock,
            vault=vault,
            store=store,
            audit=audit,
            settings=settings,
            deadline=deadline,
            judge=self._judge,
        )
        self._operation = self._operations.begin

    # What a peer asks.

    def handle(self, request: Request) -> Answer:
        """Answer a peer's request; `None` where the answer is silence.

        Raises:
            KeyleaseError: what `get`, `store`, `erase` and `sessions` raise.
        """
        if request.action == "list":
            return self.listing(request.namespace)
        target, username, credential = request.target, request.username, request.credential
        if target is None:
            return None
        if request.action == "get":
            preencoded = "authtype" in request.capabilities
            return self.release(
                target,
                username,
                preencoded=preencoded,
                listed=request.listed,
                resource=request.resource,
            )
        if request.action == "store":
            self.store(request)
        elif request.action == "erase":
            self.erase(target, username, credential.secret if credential else None)
        return None

    def get(  # noqa: PLR0913 - one question, and the ways in which tools ask it, by name
        self,
        target: Target,
        username: str | None = None,
        *,
        preencoded: bool = False,
        like: Session | None = None,
        listed: bool = False,
        resource: str | None = None,
    ) -> Reply:
        """Release the credential to the caller, who has it when this returns.

        Args and Raises: as `release`.
        """
        reply = self.release(
            target,
            username,
            preencoded=preencoded,
            like=like,
            listed=listed,
            resource=resource,
        )
        with reply.gate:
            return reply._replace(gate=OPEN_GATE)

    def release(  # noqa: PLR0913 - one question, and the ways in which tools ask it, by name
        self,
        target: Target,
        username: str | None = None,
        *,
        preencoded: bool = False,
        like: Session | None = None,
        listed: bool = False,
        resource: str | None = None,
        asker: Asker | None = None,
    ) -> Reply:
        """Release the credential of the newest live session that answers, and restart its timeout.

        The credential is handed out within the reply's `gate`, which is the last to refuse.

        Args:
            target: What the credential is for.
            username: Whose; anybody's if not given.
            preencoded: Whether a pre-encoded Authorization value is an answer, too.
            like: Only a session for the very target and username of this one may answer.
            listed: Whether the peer asks for lists, too: it reads each entry of one that it was
                given a moment ago, and no such reading restarts a timeout.
            resource: The path of what is fetched: only a session for it, or for what lies above
                it, may answer, and the closest one does.
            asker: Who asks, if it is a program that asks again whatever is refused: the same
                process gets the secret of one session for one question once.

        Raises:
            SessionNotFoundError: there is none, or none any more (`SessionEndedError`).
            AskedAgainError: the `asker` was given that secret for this question a moment ago.
            AuditError: the release could not be written down, so it did not happen.
            KeyleaseError: the keychain or the state cannot be used.
        """
        with self._operation(target, username) as (sessions, now):
            asked = Asked(target, username, preencoded, like, resource)
            found, session = self._newest(sessions, asked, now)
            if asker is not None and asker.was_answered(session.id, now):
                raise _again(session)
            self._audit.log(_entry("session.released", session), now)
            if asker is not None:
                asker.record(session.id, now)
            if not (listed and self._listings.is_read(target.namespace, now)):
                session = self._use(sessions, found, session, now, released=True)
            ends = (now.wall_ns + remaining(session, now).ns) // NANOSECONDS
            gate = self._gate(sessions.grip(found), session)
            try:
                return Reply(session, sessions.open(found), ends, gate)
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
            self._operations.refuse("incomplete", target, username)
            return None
        # Where there is no vault there is nothing to replace, and none is made for a refusal.
        refusal = self._refusal(request, target, credential, [], self._clock.now())
        purpose: Purpose = "use" if refusal else "store"
        absent = refusal or "not_found"
        try:
            with self._operation(target, username, purpose, absent=absent) as (sessions, now):
                live = self._judge.sort(sessions, sessions.of(target), now).live
                echo = echoed(sessions, live, request, now)
                refusal = self._refusal(request, target, credential, live, now)
                if echo is not None:
                    self._audit.log_or_gap(echo, now)
                    if request.sole and echo.outcome == "ok":
                        self._end_others(sessions, live, request, now)
                    return next((each for _, each in live if each.id == echo.session), None)
                if refusal == "policy" and request.fresh:
                    raise _unwanted(target)
                if refusal is not None:
                    self._operations.refuse(refusal, target, username)
                else:
                    session = begun(self._settings, target, credential, sessions.generation, now)
                    session = self._persist(sessions, live, session, credential, now)
                    if request.sole:
                        self._end_others(sessions, live, request, now)
                    return session
        except SessionNotFoundError:
            if purpose == "store":
                raise
            if refusal == "policy" and request.fresh:
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

    def create(self, target: Target, credential: Credential, *, sole: bool = False) -> Session:
        """Create a session because a person asked for it. A revoked vault gets a new key for it.

        What `store` of the configuration forbids is forbidden to tools, not to a person.

        Args:
            target: What the credential is for.
            credential: What the session is to hold.
            sole: Whether it takes the place of other users' sessions, too.

        Raises:
            PolicyError: the policy of this machine lets there be no session for the target.
            KeyleaseError: the keychain, the state or the audit log cannot be used.
        """
        username = credential.username
        with self._operation(target, username, "login") as (sessions, now):
            session = begun(self._settings, target, credential, sessions.generation, now)
            live = self._judge.sort(sessions, sessions.of(target), now).live
            session = self._persist(sessions, live, session, credential, now)
            if sole:
                self._end_others(sessions, live, session, now)
            return session

    def validate(self, target: Target, username: str | None = None) -> tuple[Session, Remaining]:
        """Return the live session that a `get` would use, and how long it lives. It is not used.

        Raises:
            SessionNotFoundError: there is none, or none any more (`SessionEndedError`).
            KeyleaseError: the keychain or the state cannot be used.
        """
        with self._operation(target, username) as (sessions, now):
            _, session = self._newest(sessions, Asked(target, username), now)
            self._audit.log_or_gap(_entry("session.validated", session), now)
            return session, remaining(session, now)

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
        with self._operation(target, username) as (sessions, now):
            found, session = self._newest(sessions, Asked(target, username, like=like), now)
            self._audit.log(_entry("session.extended", session), now)
            session = self._use(sessions, found, session, now, released=False)
            return session, remaining(session, now)

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
        destroyed = self._operations.destroy_all("logout")
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
        with self._operation(session.target, session.username) as (sessions, now):
            live = self._judge.sort(sessions, sessions.of(session.target), now).live
            for _, held in live:
                if held.id == session.id:
                    return self._persist(sessions, live, renamed(held), credential, now)
            msg = f"the session for {session.target.url} does not live any more"
            raise SessionNotFoundError(msg)

    def load(self, session_id: str) -> Session:
        """Return the live session of that id, without using it.

        Raises:
            SessionNotFoundError: there is none, or none any more (`SessionEndedError`).
            KeyleaseError: the keychain or the state cannot be used.
        """
        with self._operation(None, None) as (sessions, now):
            found = [each for each in sessions.all() if each.id == session_id]
            judged = self._judge.sort(sessions, found, now)
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
        with self._operation(None, None) as (sessions, now):
            judged = self._judge.sort(sessions, sessions.all(), now)
            if unknown is None:
                judged.demand_certainty()
            else:
                unknown.extend(judged.doubts())
            ordered = sorted(judged.live, key=lambda pair: pair.age)
            return [(session, remaining(session, now)) for _, session in ordered]

    def listing(self, namespace: str) -> Listing:
        """Return the live sessions of a family of tools. None of them is used.

        Raises:
            KeyleaseError: the keychain or the state cannot be used.
        """
        found = (session for session, _ in self.sessions())
        chosen = tuple(each for each in found if each.target.namespace == namespace)
        self._listings.record(namespace, self._clock.now())
        return Listing(chosen)

    def open_vault(self) -> int:
        """Make the vault, or a new key for one that is revoked, without a session.

        Returns:
            The generation of the vault key, new or not.

        Raises:
            KeyleaseError: the keychain or the state cannot be used.
        """
        with self._operation(None, None, "login") as (sessions, _):
            return sessions.generation

    def collect(self) -> Collected:
        """Remove everything that is over or of no use, whatever it is for. Nothing is used.

        Raises:
            KeyleaseError: the keychain or the state cannot be used; what needs no key is removed
                all the same.
        """
        # Nobody but a person asks for it, so no helper imports it.
        from keylease.session.collect import collect

        return collect(self._operations, self._judge, self._store, self._clock)

    # How a decision is taken.

    def _refusal(
        self,
        request: Request,
        target: Target,
        credential: Credential,
        live: list[Live],
        now: Moment,
    ) -> RefusalReason | None:
        """Return why what a peer brings starts no session; `None` if it does."""
        if request.ephemeral:
            return "ephemeral"
        if credential.expires is not None and credential.expires <= now.wall_ns // NANOSECONDS:
            return "credential_expired"
        terms = terms_of(self._settings, target)
        if not may_store(terms, replaces=replaces(live, target, credential)):
            return "policy"
        return None

    def _newest(self, sessions: Sessions, asked: Asked, now: Moment) -> Live:
        judged = self._judge.sort(sessions, sessions.of(asked.target), now)
        chosen = newest(asked, judged.live)
        if chosen is None:
            judged.demand_certainty()
            self._operations.permit_session(asked.target)
            raise absence(asked, judged)
        return chosen

    def _persist(
        self,
        sessions: Sessions,
        live: list[Live],
        session: Session,
        credential: Credential,
        now: Moment,
    ) -> Session:
        """Seal a session in the place of the one among the `live` that it replaces."""
        sessions.demand_room(session, credential)
        self._audit.log(_entry("session.created", session), now)
        erased = sessions.put(session, credential, seconds=whole_seconds(session, now))
        with Steps() as steps:
            for found, old in live:
                if (old.target, old.username) == (session.target, session.username):
                    with steps.step():
                        self._judge.end(sessions, found, "replaced", now)
            if sessions.weakened is not None:
                with steps.step():
                    self._audit.log_or_gap(_entry("session.weakened", session), now)
        steps.demand()
        return session._replace(erased=erased, weakened=sessions.weakened)

    def _use(
        self, sessions: Sessions, found: Found, session: Session, now: Moment, *, released: bool
    ) -> Session:
        used = session._replace(used=now, released=now if released else session.released)
        sessions.roll(found, now, released=released, seconds=whole_seconds(used, now))
        return used

    def _gate(self, grip: Grip, session: Session) -> ReleaseGate:
        """Return what the credential of the session passes when it is handed out."""

        def demand_live() -> None:
            reason = ended(session, self._clock.now())
            if reason is not None:
                raise ended_error(session.target, reason)

        def refuse(error: KeyleaseError) -> None:
            self._operations.refuse(reason_of(error), session.target, session.username)

        return ReleaseGate(grip, self._deadline.remaining(), demand_live, refuse)

    def _end_others(
        self, sessions: Sessions, live: list[Live], login: Request | Session, now: Moment
    ) -> None:
        """End the sessions of other users that a new login takes the place of."""
        with Steps() as steps:
            for found, session in live:
                if session.target == login.target and session.username != login.username:
                    with steps.step():
                        self._judge.end(sessions, found, "replaced", now)
        steps.demand()

    def _end_answering(
        self, target: Target, username: str | None, secret: Secret | None, reason: Reason
    ) -> list[Session]:
        with self._operation(target, username, "end") as (sessions, now):
            doomed: list[Session] = []
            # One file that cannot be used does not keep the others alive.
            with Steps() as steps:
                judged = self._judge.sort(sessions, sessions.of(target, steps), now, steps)
                for live in (*judged.live, *judged.elsewhere):
                    with steps.step():
                        if answers(live.session, target, username) and (
                            secret is None or holds(sessions, live, secret)
                        ):
                            doomed.append(live.session)
                            self._judge.end(sessions, live.found, reason, now)
            judged._replace(elsewhere=[]).demand_certainty()
            steps.demand()
            if not doomed:
                self._operations.refuse("not_found", target, username)
            return doomed


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
