"""SessionStore: sealed files and their touch records, opened with the keys of the vault.

It finds, seals, opens and removes. It judges nothing: whether a session is over is decided in
`keylease.session` alone. What is found is compared with the target *after* opening, because a
bucket's name is only a digest.
"""

from __future__ import annotations

import os
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final, NamedTuple

from keylease.clock import Deadline
from keylease.errors import (
    LockTimeoutError,
    SealError,
    StateError,
    StateMissingError,
    UnsafeStateError,
)
from keylease.model import Session
from keylease.record import MAC_BYTES, TOUCH_BYTES, Header, Label, Touch
from keylease.seal import (
    BUCKET_DIGITS,
    Keys,
    Opened,
    bucket,
    check_touch,
    echo,
    header_digest,
    mac_touch,
    open_credential,
    open_label,
    seal,
)
from keylease.shares.base import ShareUnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from keylease.clock import Moment
    from keylease.model import Credential, Target
    from keylease.secret import Secret
    from keylease.shares.base import ShareStore
    from keylease.statefile import Directory
    from keylease.vault import VaultKeys

LONGEST_SEALED: Final = 4 * 1024 * 1024
"""Bytes; a request is at most 1 MiB, and names and values are kept once each."""
_SEALED: Final = ".sealed"
_TOUCH: Final = ".touch"
_LOCK: Final = "lock"
_SWEPT: Final = "swept"
_BOOT_BYTES: Final = 16
_SWEPT_BYTES: Final = _BOOT_BYTES + 8
_DIGITS: Final = frozenset("0123456789abcdef")
_ORPHAN_SECONDS: Final = 60.0


class Found(NamedTuple):
    """One session file as it was found, whether or not it could be opened."""

    bucket: str
    id: str
    header: Header | None
    """A claim, unless `opened` is there. `None` if it is not a sealed file at all."""
    touch: Touch | None
    opened: Opened | None
    """`None` if the file could not be opened with the vault's key."""
    keys: Keys | None
    erases: bool = False
    """Whether the platform itself destroys what opens the file when the session ends."""
    unknown: ShareUnavailableError | None = None
    """Why nothing can be said about its share, so that it is neither opened nor dead."""

    @property
    def session(self) -> Session | None:
        """The session, if the file could be opened."""
        if self.opened is None:
            return None
        header, label, _ = self.opened
        return Session(
            id=header.id,
            target=label.target,
            username=label.username,
            authtype=label.authtype,
            expires=label.expires,
            generation=header.generation,
            created=header.created,
            # A touch record that was lost makes the session older, never younger.
            used=self.touch.used if self.touch else header.created,
            released=self.touch.released if self.touch else None,
            idle_seconds=header.idle_seconds,
            cap_seconds=header.cap_seconds,
            erased=self.erases,
        )


class Destroyed(NamedTuple):
    """What became of the sessions that were destroyed without a key."""

    sessions: list[str]
    """The ids of those whose file is gone."""
    shares: list[str]
    """The ids of those whose share may still live; it dies by itself, or with the login."""
    failures: list[StateError]
    """What could not be removed."""


class Tidied(NamedTuple):
    """How much was removed that is of no use to anybody."""

    touches: int = 0
    temporaries: int = 0
    shares: int = 0


class SessionStore:
    """The sessions of one state directory.

    Args:
        state: Opens the state directory.
        shares: Where the volatile shares can live, best first; the last one always works.
        deadline: How long the store may wait for its lock.
    """

    def __init__(
        self, state: Callable[[], Directory], shares: Sequence[ShareStore], deadline: Deadline
    ) -> None:
        self._state = state
        self._shares = _Shares(shares)
        self._deadline = deadline

    @contextmanager
    def exclusive(self, keys: VaultKeys, *, at_once: bool = False) -> Iterator[Sessions]:
        """Return the sessions, with every other process kept out.

        Args:
            keys: The vault's keys.
            at_once: Whether not to wait for another process at all.

        Raises:
            LockTimeoutError: another process did not let go in time.
        """
        with self._locked(Deadline(0) if at_once else self._deadline) as directory:
            self._in_time()
            yield Sessions(directory, keys, self._shares, self._in_time)

    def count(self) -> int:
        """Return how many sealed files there are. It needs no key."""
        with self._locked() as directory:
            return len(list(_sealed(directory)))

    def destroy(
        self,
        doomed: Callable[[Header | None], bool],
        announce: Callable[[str], None],
        *,
        keep: Callable[[Touch], bool] = lambda _: False,
    ) -> Destroyed:
        """Remove sealed files and their shares without a key. What fails keeps nothing else alive.

        Args:
            doomed: Judges a file by its header, which is a claim; `None` if it has none.
            announce: Called with the session's id before its file is removed.
            keep: Judges a touch record without a session, which is a claim, too: it is good for
                something only while the vault key is there and an echo may come.

        Raises:
            StateError: the directory itself cannot be used.
        """
        done = Destroyed([], [], [])
        with self._locked() as directory:
            for name in _buckets(directory):
                with _collecting(done.failures), directory.child(name) as inside:
                    for session in _ids(inside, _SEALED):
                        with _collecting(done.failures):
                            self._destroy(inside, session, doomed, announce, done)
                    _tidy(inside, keep)
                with _collecting(done.failures):
                    directory.remove_child(name)
        return done

    def tidy(self, keep: Callable[[Touch], bool]) -> Tidied:
        """Remove what killed writers, ended sessions and old logins left. It needs no key.

        Args:
            keep: Judges a touch record without a session, as in `destroy`.

        Raises:
            StateError: something cannot be removed; the rest is removed all the same.
        """
        touches, live = 0, set()
        failures: list[StateError] = []
        with self._locked() as directory, self._state() as state:
            temporaries = state.sweep(_ORPHAN_SECONDS) + directory.sweep(_ORPHAN_SECONDS)
            for name in _buckets(directory):
                with _collecting(failures):
                    with directory.child(name) as inside:
                        live.update(_ids(inside, _SEALED))
                        tidied = _tidy(inside, keep)
                    touches += tidied.touches
                    temporaries += tidied.temporaries
                    directory.remove_child(name)
            for failure in failures:
                # A bucket that could not be looked into may have a session for any share.
                raise failure
            # A share is made before its session's file, and both under this lock.
            return Tidied(touches, temporaries, self._shares.sweep(live))

    def _destroy(
        self,
        inside: Directory,
        session: str,
        doomed: Callable[[Header | None], bool],
        announce: Callable[[str], None],
        done: Destroyed,
    ) -> None:
        try:
            sealed = inside.read(session + _SEALED, LONGEST_SEALED)
        except UnsafeStateError:
            # What others could have written is no session, and nothing is read from it.
            sealed = None
        header = _header(sealed)
        if not doomed(header):
            return
        announce(session)
        try:
            inside.remove(session + _SEALED)
            done.sessions.append(session)
        finally:
            # On a disk that takes no change, a share that is gone ends the session all the same.
            if not self._shares.destroy(header, session):
                done.shares.append(session)

    def _in_time(self) -> None:
        """Raise if the answer is late: the keys were read too long ago to be believed.

        A process that was stopped and goes on would else answer from before a revocation.
        """
        if not self._deadline.remaining():
            msg = "the answer took too long: this process was stopped, or the machine is too busy"
            raise LockTimeoutError(msg)

    @contextmanager
    def _locked(self, deadline: Deadline | None = None) -> Iterator[Directory]:
        with (
            self._state() as state,
            state.child("sessions", create=True) as directory,
            directory.lock(_LOCK, deadline or self._deadline),
        ):
            yield directory


class Sessions:
    """The sessions, with the lock held and the keys at hand."""

    def __init__(
        self,
        directory: Directory,
        keys: VaultKeys,
        shares: _Shares,
        in_time: Callable[[], None],
    ) -> None:
        self.generation: Final = keys.generation
        """The generation of the vault key; a file of another one is of a revoked vault."""
        self.grown = False
        """Whether a session was put here."""
        self._directory = directory
        self._key = keys.session
        self._shares = shares
        self._in_time = in_time

    def of(self, target: Target, unsafe: list[StateError] | None = None) -> list[Found]:
        """Return what is in the target's bucket: same namespace, protocol and host, any path.

        Args:
            target: What is looked for.
            unsafe: Takes the refusals of files that cannot be used, and the rest is returned.

        Raises:
            StateError: a file cannot be used, and nobody takes the refusal.
        """
        try:
            return self._within(bucket(self._key, target), unsafe)
        except StateMissingError:
            return []

    def all(self) -> list[Found]:
        """Return every session file."""
        return [self.find(name, session) for name, session in _sealed(self._directory)]

    def buckets(self) -> list[str]:
        """Return the name of every bucket, from any one on, so that each comes first some day."""
        names = _buckets(self._directory)
        # The random module costs more than it is worth here, and a bias does no harm.
        start = int.from_bytes(os.urandom(4)) % len(names) if names else 0
        return names[start:] + names[:start]

    def ids(self, name: str) -> list[str]:
        """Return the ids of the sessions in one bucket."""
        with self._directory.child(name) as inside:
            return _ids(inside, _SEALED)

    def _within(self, name: str, unsafe: list[StateError] | None = None) -> list[Found]:
        found = []
        for session in self.ids(name):
            try:
                found.append(self.find(name, session))
            except StateError as error:
                if unsafe is None:
                    raise
                unsafe.append(error)
        return found

    def swept(self, boot: str) -> int | None:
        """Return when everything was last looked at in this boot, in nanoseconds since it began.

        Nothing vouches for it: whoever could change it could keep what is over anyway.
        """
        record = self._directory.read(_SWEPT, _SWEPT_BYTES) or b""
        if len(record) != _SWEPT_BYTES or record[:_BOOT_BYTES].hex() != boot:
            return None
        return int.from_bytes(record[_BOOT_BYTES:])

    def mark_swept(self, now: Moment) -> None:
        """Write down that everything was looked at."""
        self._directory.rewrite(_SWEPT, bytes.fromhex(now.boot) + now.boot_ns.to_bytes(8))

    def tidy(self, name: str, keep: Callable[[Touch], bool]) -> None:
        """Remove from one bucket what is of no use to anybody; see `SessionStore.tidy`."""
        try:
            with self._directory.child(name) as inside:
                _tidy(inside, keep)
        except StateMissingError:
            return  # with its last session the bucket went
        self._directory.remove_child(name)

    def ended(self, target: Target) -> list[Touch]:
        """Return the touch records that outlived their sessions in the target's bucket."""
        name = bucket(self._key, target)
        try:
            with self._directory.child(name) as inside:
                gone = _ids(inside, _TOUCH, without=_SEALED)
        except StateMissingError:
            return []
        touches = (self._touch(name, session) for session in gone)
        return [touch for touch in touches if touch is not None]

    def echo(self, target: Target, username: str | None, secret: Secret) -> bytes:
        """Return the digest by which a secret that comes back is recognised."""
        return echo(self._key, target, username, secret)

    def put(self, session: Session, credential: Credential, *, seconds: int) -> None:
        """Seal a new session. It is on the disk on return, whole, or not at all.

        Args:
            session: What it is for.
            credential: What it holds.
            seconds: For how long it lives from now if it is not used.
        """
        self.grown = True
        kind, share = self._shares.create(session.id, seconds)
        try:
            self._put(session, credential, kind, Keys(self._key, share))
        except BaseException:
            self._shares.destroy(None, session.id)
            raise

    def _put(self, session: Session, credential: Credential, kind: int, keys: Keys) -> None:
        header = Header(
            share=kind,
            id=session.id,
            generation=self.generation,
            created=session.created,
            idle_seconds=session.idle_seconds,
            cap_seconds=session.cap_seconds,
        )
        digest = self.echo(session.target, session.username, credential.secret)
        label = Label(session.target, session.username, session.authtype, session.expires, digest)
        sealed = seal(keys, header, label, credential)
        touch = Touch(session.id, session.used, None, header_digest(sealed), digest)
        name = bucket(self._key, session.target)
        with self._directory.child(name, create=True) as inside:
            inside.sweep(_ORPHAN_SECONDS)
            # Before the session is there: a use can then be written down when the disk is full.
            inside.rewrite(session.id + _TOUCH, mac_touch(self._key, touch))
            inside.create(session.id + _SEALED, sealed)

    def roll(self, found: Found, used: Moment, *, released: bool, seconds: int) -> None:
        """Write down a use.

        Args:
            found: The session, opened.
            used: When.
            released: Whether the secret is handed out.
            seconds: For how long the session lives from now if it is not used again.
        """
        if found.opened is None:
            msg = "a session is opened before it is rolled"
            raise ValueError(msg)
        before = found.touch.released if found.touch else None
        touch = Touch(
            found.id,
            used,
            used if released else before,
            header_digest(found.opened.sealed),
            found.opened.label.echo,
        )
        self._shares.prolong(found.header, found.id, seconds)
        with self._directory.child(found.bucket) as inside:
            inside.rewrite(found.id + _TOUCH, mac_touch(self._key, touch))

    def open(self, found: Found) -> Credential:
        """Return what the session holds. The caller wipes it.

        Raises:
            LockTimeoutError: the answer is late.
        """
        self._in_time()
        if found.opened is None or found.keys is None:
            msg = "the label is opened before the credential"
            raise ValueError(msg)
        return open_credential(found.keys, found.opened)

    def remove(self, found: Found, *, keep_touch: bool) -> None:
        """Remove the session's file, and its touch record unless an echo may still come.

        Raises:
            StateError: something could not be removed; the share is destroyed all the same.
        """
        try:
            with self._directory.child(found.bucket) as inside:
                inside.remove(found.id + _SEALED)
                if not keep_touch:
                    inside.remove(found.id + _TOUCH)
        finally:
            self._shares.destroy(found.header, found.id)
        self._directory.remove_child(found.bucket)

    def forget(self, target: Target, touch: Touch) -> None:
        """Remove a touch record that outlived its session."""
        name = bucket(self._key, target)
        with self._directory.child(name) as inside:
            inside.remove(touch.id + _TOUCH)
        self._directory.remove_child(name)

    def find(self, name: str, session: str) -> Found:
        """Return one session file of one bucket."""
        with self._directory.child(name) as inside:
            sealed = inside.read(session + _SEALED, LONGEST_SEALED)
        header = _header(sealed)
        if sealed is None or header is None or header.id != session:
            return Found(name, session, None, self._touch(name, session), None, None)
        touch = self._touch(name, session)
        if touch is not None and touch.header_digest != header_digest(sealed):
            touch = None
        try:
            keys = Keys(self._key, self._shares.read(header, session))
        except ShareUnavailableError as error:
            return Found(name, session, header, touch, None, None, unknown=error)
        try:
            opened = open_label(keys, sealed)
        except SealError:
            # Not swallowed: the rules end what could not be opened, and say why.
            return Found(name, session, header, touch, None, None)
        if bucket(self._key, opened.label.target) != name:
            return Found(name, session, header, touch, None, None)
        return Found(name, session, header, touch, opened, keys, self._shares.erases(header))

    def _touch(self, name: str, session: str) -> Touch | None:
        with self._directory.child(name) as inside:
            record = inside.read(session + _TOUCH, TOUCH_BYTES)
        if record is None:
            return None
        try:
            touch = check_touch(self._key, record)
        except SealError:
            # A record that was torn or forged counts as lost, and a lost one makes a session older.
            return None
        return touch if touch.id == session else None


class _Shares:
    """The share stores of this process, by the kind that a header names."""

    def __init__(self, stores: Sequence[ShareStore]) -> None:
        self._stores = {store.kind: store for store in stores}

    def create(self, session: str, seconds: int) -> tuple[int, Secret | None]:
        """Make a share in the first store that can keep one."""
        *others, last = self._stores.values()
        for store in others:
            try:
                return store.kind, store.create(session, seconds)
            except ShareUnavailableError:
                # The next one is weaker, and `status` says of each session how it will end.
                continue
        return last.kind, last.create(session, seconds)

    def erases(self, header: Header) -> bool:
        return self._of(header).erases

    def read(self, header: Header, session: str) -> Secret | None:
        return self._of(header).read(session)

    def prolong(self, header: Header | None, session: str, seconds: int) -> None:
        if header is not None:
            self._of(header).prolong(session, seconds)

    def destroy(self, header: Header | None, session: str) -> bool:
        """Destroy the share, wherever it is if there is no header, and return whether it is gone.

        If it cannot be reached it dies by itself, or with the login.
        """
        wanted = self._stores.keys() if header is None else {header.share}
        gone = wanted <= self._stores.keys()
        for kind in wanted & self._stores.keys():
            try:
                self._stores[kind].destroy(session)
            except ShareUnavailableError:
                gone = False
        return gone

    def sweep(self, live: set[str]) -> int:
        """Destroy the shares that no live session has, where they do not die by themselves."""
        swept = 0
        for store in self._stores.values():
            with suppress(ShareUnavailableError):
                swept += store.sweep(live)
        return swept

    def _of(self, header: Header) -> ShareStore:
        store = self._stores.get(header.share)
        if store is None:
            msg = f"the session's share is in a store of kind {header.share}, which is not here"
            raise ShareUnavailableError(msg)
        return store


@contextmanager
def _collecting(failures: list[StateError]) -> Iterator[None]:
    """Keep what went wrong for later, so that the rest is done now."""
    try:
        yield
    except StateError as error:
        failures.append(error)


def _tidy(inside: Directory, keep: Callable[[Touch], bool]) -> Tidied:
    """Remove touch records that outlived their use, and unfinished files, from one bucket."""
    removed = 0
    for session in _ids(inside, _TOUCH, without=_SEALED):
        claim = _claimed(inside, session + _TOUCH)
        if claim is None or not keep(claim):
            removed += inside.remove(session + _TOUCH)
    return Tidied(removed, inside.sweep(_ORPHAN_SECONDS))


def _claimed(inside: Directory, name: str) -> Touch | None:
    """Return what a touch record says, unproved: whoever could forge it could remove it as well."""
    try:
        record = inside.read(name, TOUCH_BYTES) or b""
        return Touch.unpack(record[:-MAC_BYTES]) if len(record) == TOUCH_BYTES else None
    except (SealError, UnsafeStateError):
        return None


def _header(sealed: bytes | None) -> Header | None:
    try:
        return None if sealed is None else Header.unpack(sealed)
    except SealError:
        return None


def _sealed(directory: Directory) -> Iterator[tuple[str, str]]:
    """Yield the bucket and the id of every sealed file."""
    for name in _buckets(directory):
        with directory.child(name) as inside:
            sessions = _ids(inside, _SEALED)
        for session in sessions:
            yield name, session


def _buckets(directory: Directory) -> list[str]:
    """Return the names of the buckets. What else lies there (`.DS_Store`) is not ours."""
    return [
        name
        for name in sorted(directory.names())
        if len(name) == BUCKET_DIGITS and _DIGITS.issuperset(name)
    ]


def _ids(inside: Directory, suffix: str, *, without: str | None = None) -> list[str]:
    """Return the ids with a file of one suffix, and with none of the other if it is given."""
    names = set(inside.names())
    ids = [name.removesuffix(suffix) for name in sorted(names) if name.endswith(suffix)]
    return [each for each in ids if without is None or each + without not in names]
