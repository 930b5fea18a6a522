"""SessionStore: sealed files and their touch records, opened with the keys of the vault.

It finds, seals, opens and removes. It judges nothing: whether a session is over is decided in
`keylease.session` alone. What is found is compared with the target *after* opening, because a
bucket's name is only a digest.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, NamedTuple

from keylease.errors import (
    LockTimeoutError,
    SealError,
    StateError,
    StateMissingError,
    UnsafeStateError,
)
from keylease.model import Session
from keylease.record import TOUCH_BYTES, Header, Label, Touch
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

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from keylease.clock import Deadline, Moment
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
        )


class SessionStore:
    """The sessions of one state directory.

    Args:
        state: Opens the state directory.
        shares: Where the volatile shares live.
        deadline: How long the store may wait for its lock.
    """

    def __init__(
        self, state: Callable[[], Directory], shares: ShareStore, deadline: Deadline
    ) -> None:
        self._state = state
        self._shares = shares
        self._deadline = deadline

    @property
    def erases(self) -> bool:
        """Whether the platform itself destroys what an ended session needs to be opened."""
        return self._shares.erases

    @contextmanager
    def exclusive(self, keys: VaultKeys) -> Iterator[Sessions]:
        """Return the sessions, with every other process kept out.

        Raises:
            LockTimeoutError: another process did not let go in time.
        """
        with self._locked() as directory:
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
        keep_touches: bool = False,
    ) -> list[str]:
        """Remove sealed files without a key, and return the sessions' ids.

        Args:
            doomed: Judges a file by its header, which is a claim; `None` if it has none.
            announce: Called with the session's id before its file is removed.
            keep_touches: Whether the touch records stay, because an echo may still come. They are
                good for nothing once the vault key is gone.

        Raises:
            StateError: something could not be removed; whatever could be is removed all the same.
        """
        ended: list[str] = []
        failures: list[StateError] = []
        with self._locked() as directory:
            for name in _buckets(directory):
                # One file that cannot be removed does not keep the others alive.
                try:
                    with directory.child(name) as inside:
                        ended += self._destroy_in(inside, doomed, announce)
                        if not keep_touches:
                            for session in _ids(inside, _TOUCH, without=_SEALED):
                                inside.remove(session + _TOUCH)
                        inside.sweep(_ORPHAN_SECONDS)
                    directory.remove_child(name)
                except StateError as error:
                    failures.append(error)
        for failure in failures:
            raise failure
        return ended

    def _destroy_in(
        self,
        inside: Directory,
        doomed: Callable[[Header | None], bool],
        announce: Callable[[str], None],
    ) -> list[str]:
        ended = []
        for session in _ids(inside, _SEALED):
            try:
                sealed = inside.read(session + _SEALED, LONGEST_SEALED)
            except UnsafeStateError:
                # What others could have written is no session, and nothing is read from it.
                sealed = None
            if doomed(_header(sealed)):
                announce(session)
                inside.remove(session + _SEALED)
                self._shares.destroy(session)
                ended.append(session)
        return ended

    def _in_time(self) -> None:
        """Raise if the answer is late: the keys were read too long ago to be believed.

        A process that was stopped and goes on would else answer from before a revocation.
        """
        if not self._deadline.remaining():
            msg = "the answer took too long: this process was stopped, or the machine is too busy"
            raise LockTimeoutError(msg)

    @contextmanager
    def _locked(self) -> Iterator[Directory]:
        with (
            self._state() as state,
            state.child("sessions", create=True) as directory,
            directory.lock(_LOCK, self._deadline),
        ):
            yield directory


class Sessions:
    """The sessions, with the lock held and the keys at hand."""

    def __init__(
        self,
        directory: Directory,
        keys: VaultKeys,
        shares: ShareStore,
        in_time: Callable[[], None],
    ) -> None:
        self.generation: Final = keys.generation
        """The generation of the vault key; a file of another one is of a revoked vault."""
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
        name = bucket(self._key, target)
        try:
            with self._directory.child(name) as inside:
                sessions = _ids(inside, _SEALED)
        except StateMissingError:
            return []
        found = []
        for session in sessions:
            try:
                found.append(self._find(name, session))
            except StateError as error:
                if unsafe is None:
                    raise
                unsafe.append(error)
        return found

    def all(self) -> list[Found]:
        """Return every session file."""
        return [self._find(name, session) for name, session in _sealed(self._directory)]

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

    def put(self, session: Session, credential: Credential) -> None:
        """Seal a new session. It is on the disk on return, whole, or not at all."""
        seconds = min(session.idle_seconds, session.cap_seconds)
        keys = Keys(self._key, self._shares.create(session.id, seconds))
        header = Header(
            shared=keys.share is not None,
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
        self._shares.prolong(found.id, seconds)
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
        """Remove the session's file, and its touch record unless an echo may still come."""
        with self._directory.child(found.bucket) as inside:
            inside.remove(found.id + _SEALED)
            if not keep_touch:
                inside.remove(found.id + _TOUCH)
        self._shares.destroy(found.id)
        self._directory.remove_child(found.bucket)

    def forget(self, target: Target, touch: Touch) -> None:
        """Remove a touch record that outlived its session."""
        name = bucket(self._key, target)
        with self._directory.child(name) as inside:
            inside.remove(touch.id + _TOUCH)
        self._directory.remove_child(name)

    def _find(self, name: str, session: str) -> Found:
        with self._directory.child(name) as inside:
            sealed = inside.read(session + _SEALED, LONGEST_SEALED)
        header = _header(sealed)
        if sealed is None or header is None or header.id != session:
            return Found(name, session, None, self._touch(name, session), None, None)
        touch = self._touch(name, session)
        if touch is not None and touch.header_digest != header_digest(sealed):
            touch = None
        keys = Keys(self._key, self._shares.read(session) if header.shared else None)
        try:
            opened = open_label(keys, sealed)
        except SealError:
            # Not swallowed: the rules end what could not be opened, and say why.
            return Found(name, session, header, touch, None, None)
        if bucket(self._key, opened.label.target) != name:
            return Found(name, session, header, touch, None, None)
        return Found(name, session, header, touch, opened, keys)

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
