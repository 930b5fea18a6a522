"""SessionService: what can be done with sessions. Who reads one module reads this, then `rules`.

A session lives for its idle timeout from its last use, and never longer than its cap from its
creation. A `get` and an `extend` are uses; nothing else is. What has ended stays ended: a
credential that comes back from a tool that was given it is an echo, and an echo revives nothing.

Everything is decided here and nothing is done here: files, keys and clocks are in the hands of the
collaborators. What is decided is written down first and happens then.
"""

from __future__ import annotations

import hmac
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final, NamedTuple

from keylease.audit.events import Entry, RefusalReason
from keylease.clock import NANOSECONDS, Deadline
from keylease.errors import (
    AuditError,
    ConfigError,
    KeychainUnavailableError,
    KeyleaseError,
    PolicyError,
    RequestError,
    SessionEndedError,
    SessionNotFoundError,
    StateError,
    UsageError,
    VaultRevokedError,
)
from keylease.model import Reply, Session
from keylease.rules import (
    Remaining,
    answers,
    echo_may_come,
    ended,
    ended_unopened,
    is_due,
    may_store,
    remaining,
    strictest,
    terms_of,
    within,
)
from keylease.secret import random_bytes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from keylease.audit.events import Event
    from keylease.audit.log import AuditLog
    from keylease.clock import Clock, Moment
    from keylease.model import Credential, Reason, Request, Settings, Target
    from keylease.record import Header, Touch
    from keylease.secret import Secret
    from keylease.store import Destroyed, Found, Sessions, SessionStore
    from keylease.vault import Revocation, Vault, VaultKeys

# The first class that fits names the reason in the audit log.
_REFUSALS: Final[tuple[tuple[type[KeyleaseError], RefusalReason], ...]] = (
    (VaultRevokedError, "revoked"),
    (KeychainUnavailableError, "keychain_unavailable"),
    (SessionNotFoundError, "not_found"),
    (AuditError, "audit"),
    (UsageError, "usage"),
    (ConfigError, "config"),
    (PolicyError, "policy"),
    (RequestError, "malformed"),
    (KeyleaseError, "state"),
)

_ID_BYTES: Final = 16
# What a `store` spends on the sessions of other targets; the helper answers within 2 s.
_SWEEP_SECONDS: Final = 0.05
_COLLECT_SECONDS: Final = 0.5

_Live = tuple["Found", Session]


class Collected(NamedTuple):
    """How much a collection has removed."""

    sessions: int
    """Sessions that were over."""
    touches: int
    """Records of the last use of sessions that are gone."""
    temporaries: int
    """Files that killed writers left unfinished."""
    shares: int
    """Shares of sessions that are gone."""


class _Asked(NamedTuple):
    """Which session is asked for."""

    target: Target
    username: str | None
    preencoded: bool = True
    like: Session | None = None

    def fits(self, session: Session) -> bool:
        """Return whether a live session is one that is asked for."""
        same = self.like is None or (self.like.target, self.like.username) == (
            session.target,
            session.username,
        )
        usable = self.preencoded or session.authtype is None
        return answers(session, self.target, self.username) and usable and same


class _Sorted(NamedTuple):
    """What was found, by what it is."""

    live: list[_Live]
    over: list[tuple[Session | None, Reason]]
    """What has ended, and was removed."""
    unknown: list[StateError]
    """Why nothing can be said about a session that may be live."""

    def demand_certainty(self) -> None:
        """Raise if there is a session about which nothing can be said."""
        for error in self.unknown:
            raise error


class SessionService:
    """Everything that can be done with sessions.

    Args:
        clock: Tells the time of each decision, once.
        vault: Where the keys are.
        store: Where the sessions are.
        audit: Where each decision is written down.
        settings: How long sessions live, and for what there may be any.
        deadline: How long one operation may take; the collaborators wait by it.

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
    ) -> None:
        self._deadline = deadline
        self._clock = clock
        self._vault = vault
        self._store = store
        self._audit = audit
        self._settings = settings
        self._limits = settings.limits.check()

    # What a peer asks.

    def handle(self, request: Request) -> Reply | None:
        """Answer a peer's request; `None` where the answer is silence.

        Raises:
            KeyleaseError: what `get`, `store` and `erase` raise.
        """
        target, username, credential = request.target, request.username, request.credential
        if target is None:
            return None
        if request.action == "get":
            return self.get(target, username, preencoded="authtype" in request.capabilities)
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
        """Release the credential of the newest live session that answers, and restart its timeout.

        Args:
            target: What the credential is for.
            username: Whose; anybody's if not given.
            preencoded: Whether a pre-encoded Authorization value is an answer, too.
            like: Only a session for the very target and username of this one may answer.

        Raises:
            SessionNotFoundError: there is none, or none any more (`SessionEndedError`).
            AuditError: the release could not be written down, so it did not happen.
            KeyleaseError: the keychain or the state cannot be used.
        """
        with self._operation(target, username) as (sessions, now):
            asked = _Asked(target, username, preencoded=preencoded, like=like)
            found, session = self._newest(sessions, asked, now)
            self._audit.log(_entry("session.released", session), now)
            session = self._use(sessions, found, session, now, released=True)
            ends = (now.wall_ns + remaining(session, now).ns) // NANOSECONDS
            return Reply(session, sessions.open(found), ends)

    def store(self, request: Request) -> Session | None:
        """Create a session for what a peer brings, unless it is an echo of what it was given.

        Returns:
            The new session; `None` if none was created.

        Raises:
            VaultRevokedError: the vault is revoked, and only a person can start a new one.
            PolicyError: the policy of this machine lets there be no session for the target.
            KeyleaseError: the keychain, the state or the audit log cannot be used.
        """
        target, username, credential = request.target, request.username, request.credential
        if target is None or credential is None:
            self._refuse("incomplete", target, username)
            return None
        terms = terms_of(self._settings, target)
        create = not request.ephemeral and may_store(terms, replaces=False)
        with self._operation(target, username, create=create) as (sessions, now):
            live = self._sort(sessions, sessions.of(target), now).live
            confirmed = self._echo(sessions, live, request, now)
            if confirmed is not None:
                self._audit.log_or_gap(confirmed, now)
            elif request.ephemeral:
                self._refuse("ephemeral", target, username)
            elif (
                credential.expires is not None and credential.expires <= now.wall_ns // NANOSECONDS
            ):
                self._refuse("credential_expired", target, username)
            elif not may_store(terms, replaces=_replaced(live, target, credential)):
                self._refuse("policy", target, username)
            else:
                session = self._new(sessions, target, credential, now)
                self._persist(sessions, session, credential, now)
                return session
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

    def create(self, target: Target, credential: Credential) -> Session:
        """Create a session because a person asked for it. A revoked vault gets a new key for it.

        What `store` of the configuration forbids is forbidden to tools, not to a person.

        Raises:
            PolicyError: the policy of this machine lets there be no session for the target.
            KeyleaseError: the keychain, the state or the audit log cannot be used.
        """
        username = credential.username
        with self._operation(target, username, create=True, revive=True) as (sessions, now):
            session = self._new(sessions, target, credential, now)
            self._persist(sessions, session, credential, now)
            return session

    def validate(self, target: Target, username: str | None = None) -> tuple[Session, Remaining]:
        """Return the live session that a `get` would use, and how long it lives. It is not used.

        Raises:
            SessionNotFoundError: there is none, or none any more (`SessionEndedError`).
            KeyleaseError: the keychain or the state cannot be used.
        """
        with self._operation(target, username) as (sessions, now):
            _, session = self._newest(sessions, _Asked(target, username), now)
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
            found, session = self._newest(sessions, _Asked(target, username, like=like), now)
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
        self._deadline.restart()
        now = self._clock.now()
        destroyed = self._destroy("logout", now, lambda _: True, _echo_at(now))
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
            live = self._sort(sessions, sessions.of(session.target), now).live
            for _, held in live:
                if held.id == session.id:
                    kept = held._replace(id=random_bytes(_ID_BYTES).hex())
                    self._persist(sessions, kept, credential, now)
                    return kept
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
            judged = self._sort(sessions, found, now)
            judged.demand_certainty()
            for _, session in judged.live:
                return session
            for ended_session, reason in judged.over:
                raise _ended_error(ended_session and ended_session.target, reason)
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
            judged = self._sort(sessions, sessions.all(), now)
            if unknown is None:
                judged.demand_certainty()
            else:
                unknown.extend(judged.unknown)
            ordered = sorted((session for _, session in judged.live), key=_age)
            return [(session, remaining(session, now)) for session in ordered]

    def open_vault(self) -> int:
        """Make the vault, or a new key for one that is revoked, without a session.

        Returns:
            The generation of the vault key, new or not.

        Raises:
            KeyleaseError: the keychain or the state cannot be used.
        """
        with self._operation(None, None, create=True, revive=True) as (sessions, _):
            return sessions.generation

    def collect(self) -> Collected:
        """Remove everything that is over or of no use, whatever it is for. Nothing is used.

        Raises:
            KeyleaseError: the keychain or the state cannot be used; what needs no key is removed
                all the same.
        """
        count, done, more = 0, set[str](), True
        try:
            while more:
                # Others wait for the lock at most 2 s, so it is let go in between.
                with self._operation(None, None, end=True) as (sessions, now):
                    deadline = Deadline(_COLLECT_SECONDS)
                    swept, more = self._sweep(sessions, now, deadline, done)
                    count += swept
        except SessionNotFoundError:
            # No key and no revocation: what a reboot left was destroyed on the way here.
            pass
        finally:
            tidied = self._store.tidy(_echo_at(self._clock.now()))
        return Collected(count, *tidied)

    # How a decision is taken.

    @contextmanager
    def _operation(
        self,
        target: Target | None,
        username: str | None,
        *,
        create: bool = False,
        revive: bool = False,
        end: bool = False,
    ) -> Iterator[tuple[Sessions, Moment]]:
        """Open vault and store, and see to it that a refusal is written down.

        The clock that decides is read with the lock held: no use that another process wrote down
        is then later than it.

        Args:
            target: What it is about; `None` for all.
            username: Whose.
            create: Whether a vault is made where there is none.
            revive: Whether a revoked one gets a new key.
            end: Whether it only ends sessions. The configuration never holds that up.
        """
        self._deadline.restart()
        try:
            if not end:
                self._permit(target, create=create)
            with self._keys(create=create, revive=revive) as keys:
                with self._store.exclusive(keys) as sessions:
                    self._vault.demand_current(keys)
                    yield sessions, self._clock.now()
                if sessions.grown:
                    self._clean_up(keys)
        except SessionEndedError as error:
            self._refuse(error.reason, target, username)
            raise
        except KeyleaseError as error:
            reason = next(reason for kind, reason in _REFUSALS if isinstance(error, kind))
            self._refuse(reason, target, username)
            raise

    def _permit(self, target: Target | None, *, create: bool) -> None:
        """Raise why nothing may be released, or no session made, whatever the keychain says."""
        if self._settings.refusal is not None:
            raise self._settings.refusal
        if self._settings.general.revoked:
            # It needs no key: a policy that revokes everything does not wait for a keychain.
            now = self._clock.now()
            self._destroy("revoked", now, lambda _: True, _echo_at(now))
            msg = "the policy of this machine has revoked every session"
            raise PolicyError(msg)
        if target is not None and create:
            self._permit_session(target)

    def _permit_session(self, target: Target) -> None:
        if terms_of(self._settings, target).revoked:
            msg = f"the policy of this machine has revoked every session for {target.url}"
            raise PolicyError(msg)

    def _keys(self, *, create: bool, revive: bool) -> VaultKeys:
        """Return the vault's keys; make them if there are none and `create` says so."""
        now = self._clock.now()
        keys = self._found_keys(now, revive=revive)
        if create and (keys is None or (keys.audit is None and revive)):
            keys = self._vault.create(now, revive=revive)
        if keys is None:
            msg = "no session was ever started, or none since the machine was"
            raise SessionNotFoundError(msg)
        self._audit.key = keys.audit
        if keys.made:
            self._audit.log(Entry("vault.created"), now)
        return keys

    def _found_keys(self, now: Moment, *, revive: bool) -> VaultKeys | None:
        """Return the keys that the keychain has; take the consequences if it has none.

        Raises:
            VaultRevokedError: they were deleted, and this is nobody who may `revive` the vault.
        """
        try:
            keys = self._vault.open(now)
        except VaultRevokedError:
            revocation = self._vault.find_revocation(now)
            if revocation is None:
                # Another process has made a new generation since.
                return self._vault.open(now)
            self._revoke(revocation, now)
            if not revive:
                raise
            return None
        if keys is None:
            # There is no vault, or a reboot has emptied its keychain. What is left is of that boot.
            self._destroy(
                "reboot", now, lambda header: not header or header.created.boot != now.boot
            )
        return keys

    def _revoke(self, revocation: Revocation, now: Moment) -> None:
        """Destroy what a deleted key leaves behind, and write down that it was deleted.

        In this order: on a full disk there is no room to write, and files can be removed all the
        same. Were the key put back before the mark is there, it would open nothing.
        """
        self._audit.key = revocation.audit
        if revocation.first:
            self._audit.log_or_gap(Entry("vault.revoked"), now)
        last = revocation.generation
        self._destroy("revoked", now, lambda header: not header or header.generation <= last)
        if revocation.first:
            self._vault.mark_revoked(revocation, now)

    def _sort(self, sessions: Sessions, found: Iterable[Found], now: Moment) -> _Sorted:
        """Return what is live, and what is over after having removed it."""
        newest: dict[tuple[Target, str | None], _Live] = {}
        judged = _Sorted([], [], [])

        def end(each: Found, reason: Reason) -> None:
            self._end(sessions, each, reason, now)
            judged.over.append((each.session, reason))

        for each in found:
            session, reason = self._judge(sessions, each, now)
            if each.unknown is not None and reason == "tampered":
                # Its times do not end it, and that it cannot be opened here proves nothing.
                judged.unknown.append(each.unknown)
            elif reason is not None:
                end(each, reason)
            elif session is not None:
                # A crash between a new session and the end of the one that it replaces leaves both.
                pair = (each, session)
                other = newest.get((session.target, session.username))
                if other is not None:
                    older, pair = sorted((other, pair), key=_age_of)
                    end(older[0], "replaced")
                newest[session.target, session.username] = pair
        judged.live.extend(newest.values())
        return judged

    def _judge(
        self, sessions: Sessions, found: Found, now: Moment
    ) -> tuple[Session | None, Reason | None]:
        """Return the session within its terms of today, and why it is over if it is."""
        general = self._settings.general
        if found.session is None:
            # What cannot be opened does not tell its target. Where its share is dead, the terms
            # only find the word; where that is not known, they hold for whatever it is for.
            every = () if found.unknown else self._settings.targets.values()
            terms = strictest((general, *every))
            return None, ended_unopened(found.header, found.touch, sessions.generation, now, terms)
        terms = terms_of(self._settings, found.session.target)
        session = within(found.session, terms)
        return session, "revoked" if terms.revoked else ended(session, now)

    def _sweep(
        self, sessions: Sessions, now: Moment, deadline: Deadline, done: set[str]
    ) -> tuple[int, bool]:
        """Remove what is over, of any target, one file after the other until the deadline.

        What is wrong with one file is told to whoever asks for its target, and to nobody else.

        Args:
            sessions: The sessions, with the lock held.
            now: The clock reading that decides.
            deadline: When to stop.
            done: What was looked at before and is not again; what is looked at now is added.

        Returns:
            How many sessions have ended, and whether something was not looked at.
        """
        count = 0
        for name in sessions.buckets():
            with suppress(StateError):
                for session_id in sessions.ids(name):
                    if not deadline.remaining():
                        return count, True
                    if session_id not in done:
                        done.add(session_id)
                        with suppress(StateError):
                            found = sessions.find(name, session_id)
                            count += len(self._sort(sessions, (found,), now).over)
        return count, False

    def _clean_up(self, keys: VaultKeys) -> None:
        """Remove what is over or of no use, of any target, as far as a short time reaches.

        Only if nobody has for a while, and nobody else has the lock: where many store at once, they
        wait for each other already.
        """
        with suppress(StateError), self._store.exclusive(keys, at_once=True) as sessions:
            now, deadline = self._clock.now(), Deadline(_SWEEP_SECONDS)
            if not is_due(sessions.swept(now.boot), now):
                return
            self._sweep(sessions, now, deadline, set())
            for name in sessions.buckets():
                if not deadline.remaining():
                    return  # and the next one goes on, from another bucket
                with suppress(StateError):
                    sessions.tidy(name, _echo_at(now))
            sessions.mark_swept(now)

    def _newest(self, sessions: Sessions, asked: _Asked, now: Moment) -> _Live:
        judged = self._sort(sessions, sessions.of(asked.target), now)
        fitting = [pair for pair in judged.live if asked.fits(pair[1])]
        if fitting:
            return max(fitting, key=_age_of)
        judged.demand_certainty()
        self._permit_session(asked.target)
        for session, reason in judged.over:
            if session is None or answers(session, asked.target, asked.username):
                raise _ended_error(asked.target, reason)
        whom = f" as {asked.username}" if asked.username else ""
        msg = f"there is no session for {asked.target.url}{whom}"
        raise SessionNotFoundError(msg)

    def _echo(
        self, sessions: Sessions, live: list[_Live], request: Request, now: Moment
    ) -> Entry | None:
        """Return the line for a credential that comes back; `None` if it comes for the first time.

        A session that lives recognises its own secret at any time. One that has ended does so
        for as long as its touch record is kept; after that the session id in the request does.
        """
        target, username, credential = request.target, request.username, request.credential
        if target is None or credential is None:
            return None
        digest = sessions.echo(target, username, credential.secret)
        known = set()
        for found, session in live:
            known.add(session.id)
            if (
                answers(session, target, username)
                and found.opened is not None
                and hmac.compare_digest(found.opened.label.echo, digest)
                and self._brings_nothing_new(sessions, found, credential)
            ):
                return _entry("session.confirmed", session)
        for touch in sessions.ended(target):
            known.add(touch.id)
            if not echo_may_come(touch.released, now):
                sessions.forget(target, touch)
            elif hmac.compare_digest(touch.echo, digest):
                return Entry("session.confirmed", "refused", None, touch.id, target, username)
        for session_id in request.echoes:
            if session_id not in known:
                return Entry("session.confirmed", "refused", None, session_id, target, username)
        return None

    @staticmethod
    def _brings_nothing_new(sessions: Sessions, found: Found, credential: Credential) -> bool:
        """Return whether every extra secret that was brought is held already.

        A new refresh token beside an unchanged password is a new grant of the server. An old git
        drops the attributes that it does not know, so what is missing says nothing.
        """
        if not credential.fields:
            return True
        held = sessions.open(found)
        try:
            pairs = [(value, held.field(name)) for name, value in credential.fields]
            return all(mine is not None and mine.matches(value) for value, mine in pairs)
        finally:
            held.wipe()

    def _new(
        self, sessions: Sessions, target: Target, credential: Credential, now: Moment
    ) -> Session:
        session = Session(
            id=random_bytes(_ID_BYTES).hex(),
            target=target,
            username=credential.username,
            authtype=credential.authtype,
            expires=credential.expires,
            generation=sessions.generation,
            created=now,
            used=now,
            released=None,
            idle_seconds=self._limits.idle_seconds,
            cap_seconds=self._limits.cap_seconds,
        )
        return within(session, terms_of(self._settings, target))

    def _persist(
        self, sessions: Sessions, session: Session, credential: Credential, now: Moment
    ) -> None:
        live = self._sort(sessions, sessions.of(session.target), now).live
        self._audit.log(_entry("session.created", session), now)
        sessions.put(session, credential, seconds=_whole_seconds(session, now))
        for found, old in live:
            if (old.target, old.username) == (session.target, session.username):
                self._end(sessions, found, "replaced", now)

    def _use(
        self, sessions: Sessions, found: Found, session: Session, now: Moment, *, released: bool
    ) -> Session:
        used = session._replace(used=now, released=now if released else session.released)
        sessions.roll(found, now, released=released, seconds=_whole_seconds(used, now))
        return used

    def _end_answering(
        self, target: Target, username: str | None, secret: Secret | None, reason: Reason
    ) -> list[Session]:
        with self._operation(target, username, end=True) as (sessions, now):
            unsafe: list[StateError] = []
            judged = self._sort(sessions, sessions.of(target, unsafe), now)
            judged.unknown.extend(unsafe)
            doomed = [
                (found, session)
                for found, session in judged.live
                if answers(session, target, username)
                and (secret is None or self._holds(sessions, found, session, secret))
            ]
            for found, _ in doomed:
                self._end(sessions, found, reason, now)
            # One file that cannot be used does not keep the others alive.
            judged.demand_certainty()
            if not doomed:
                self._refuse("not_found", target, username)
            return [session for _, session in doomed]

    @staticmethod
    def _holds(sessions: Sessions, found: Found, session: Session, secret: Secret) -> bool:
        digest = sessions.echo(session.target, session.username, secret)
        return found.opened is not None and hmac.compare_digest(found.opened.label.echo, digest)

    def _end(self, sessions: Sessions, found: Found, reason: Reason, now: Moment) -> None:
        session = found.session
        target, username = (session.target, session.username) if session else (None, None)
        entry = Entry("session.ended", "ok", reason, found.id, target, username)
        self._audit.log_or_gap(entry, now)
        released = found.touch.released if found.touch else None
        sessions.remove(found, keep_touch=echo_may_come(released, now))

    def _destroy(
        self,
        reason: Reason,
        now: Moment,
        doomed: Callable[[Header | None], bool],
        keep: Callable[[Touch], bool] = lambda _: False,
    ) -> Destroyed:
        def announce(session_id: str) -> None:
            self._audit.log_or_gap(Entry("session.ended", "ok", reason, session_id), now)

        destroyed = self._store.destroy(doomed, announce, keep=keep)
        for failure in destroyed.failures:
            raise failure
        return destroyed

    def _refuse(
        self, reason: Reason | RefusalReason, target: Target | None, username: str | None
    ) -> None:
        entry = Entry("session.refused", "refused", reason, None, target, username)
        self._audit.log_or_gap(entry, self._clock.now())


def _echo_at(now: Moment) -> Callable[[Touch], bool]:
    """Return what judges whether a touch record without a session can be of use."""
    return lambda touch: echo_may_come(touch.released, now)


def _replaced(live: list[_Live], target: Target, credential: Credential) -> bool:
    """Return whether a new session would take the place of a live one."""
    names = (target, credential.username)
    return any((session.target, session.username) == names for _, session in live)


def _whole_seconds(session: Session, now: Moment) -> int:
    """Return for how long the session's share has to live, not a second less."""
    return max(1, -(-remaining(session, now).ns // NANOSECONDS))


def _entry(event: Event, session: Session) -> Entry:
    return Entry(event, "ok", None, session.id, session.target, session.username)


def _age(session: Session) -> tuple[int, int, str]:
    """Order sessions by their creation; two of the same instant by their ids."""
    return (session.created.boot_ns, session.created.wall_ns, session.id)


def _age_of(each: _Live) -> tuple[int, int, str]:
    return _age(each[1])


def _ended_error(target: Target | None, reason: Reason) -> SessionEndedError:
    what = "the session" if target is None else f"the session for {target.url}"
    return SessionEndedError(f"{what} has ended: {reason}", reason)
