"""Sessions: sealed files and their touch records, with the lock held and the vault's keys at hand.

They are found, sealed, opened and removed. Nothing is judged: whether a session is over is decided
in `keylease.session.judge`. What is found is compared with the target *after* opening, because a
bucket's name is only a digest.
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING, Final, NamedTuple

from keylease.errors import SealError, StateError, StateMissingError, UsageError
from keylease.model import Session
from keylease.shares.base import ShareUnavailableError
from keylease.store import echoes
from keylease.store.buckets import (
    LONGEST_SEALED,
    ORPHAN_SECONDS,
    SEALED,
    TOUCH,
    bucket_names,
    claimed,
    header_of,
    ids,
    sealed_files,
)
from keylease.store.format import (
    DIGEST_BYTES,
    MARK_GENERATION_BYTES,
    TOUCH_BYTES,
    Header,
    Label,
    Touch,
)
from keylease.store.seal import (
    Keys,
    Opened,
    bucket,
    check_touch,
    echo,
    header_digest,
    mac_touch,
    mark,
    open_credential,
    open_label,
    seal,
    sealed_bytes,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from keylease.faults import Steps
    from keylease.model import Credential, Moment, Target
    from keylease.secrets.secret import Secret
    from keylease.shares import Shares
    from keylease.statefile import Directory
    from keylease.statefile.grip import Grip
    from keylease.store.echoes import Echo
    from keylease.store.release import UnderWay
    from keylease.system.clock import Deadline
    from keylease.vault.vault import VaultKeys

_SWEPT: Final = "swept"
_BOOT_BYTES: Final = 16
_SWEPT_BYTES: Final = _BOOT_BYTES + 8
_NO_MARK: Final = bytes(DIGEST_BYTES)
"""A mark of no audit key. It tells nothing, as one of another audit key."""


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


class Sessions:
    """The sessions, with the lock held and the keys at hand."""

    def __init__(
        self,
        directory: Directory,
        keys: VaultKeys,
        shares: Shares,
        in_time: Callable[[], None],
        under_way: UnderWay,
    ) -> None:
        self.generation: Final = keys.generation
        """The generation of the vault key; a file of another one is of a revoked vault."""
        self.grown = False
        """Whether a session was put here."""
        self.weakened: str | None = None
        """Why the share of the last one that was put is not in the best store."""
        self._directory = directory
        self._key = keys.session
        self._audit = keys.audit
        self._audit_generation = keys.audit_generation
        self._shares = shares
        self._in_time = in_time
        self._under_way = under_way
        self._bucket: tuple[str, Directory] | None = None

    def close(self) -> None:
        """Let the lock go: nothing is looked at any more."""
        bucket, self._bucket = self._bucket, None
        if bucket is not None:
            bucket[1].close()

    def of(self, target: Target, steps: Steps | None = None) -> list[Found]:
        """Return what is in the target's bucket: same namespace, protocol and host, any path.

        Args:
            target: What is looked for.
            steps: Takes what goes wrong with one file, and the others are returned.

        Raises:
            StateError: a file cannot be used, and nobody takes the refusal.
            LockTimeoutError: the answer is late.
        """
        try:
            return self._within(bucket(self._key, target), steps)
        except StateMissingError:
            return []

    def all(self) -> list[Found]:
        """Return every session file."""
        return [self.find(name, session) for name, session in sealed_files(self._directory)]

    def buckets(self) -> list[str]:
        """Return the name of every bucket, from any one on, so that each comes first some day."""
        names = bucket_names(self._directory)
        # The random module costs more than it is worth here, and a bias does no harm.
        start = int.from_bytes(os.urandom(4)) % len(names) if names else 0
        return names[start:] + names[:start]

    def ids(self, name: str) -> list[str]:
        """Return the ids of the sessions in one bucket."""
        return ids(self._inside(name), SEALED)

    def _inside(self, name: str, *, create: bool = False) -> Directory:
        """Return a bucket. It stays open until another one is asked for."""
        if self._bucket is None or self._bucket[0] != name:
            self.close()
            self._bucket = name, self._directory.child(name, create=create)
        return self._bucket[1]

    def _within(self, name: str, steps: Steps | None) -> list[Found]:
        found = []
        for session in self.ids(name):
            if steps is None:
                # Thousands of users on one host are not looked at beyond the time of an answer.
                # Who ends sessions takes the refusals, and is held up by nothing.
                self._in_time()
                found.append(self.find(name, session))
            else:
                with steps.step():
                    found.append(self.find(name, session))
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

    def tidy(self, name: str, keep: Callable[[Touch], bool], deadline: Deadline) -> None:
        """Remove from one bucket what is of no use to anybody; see `SessionStore.tidy`."""
        try:
            echoes.tidy_bucket(self._directory, self._inside(name), keep, deadline)
        except StateMissingError:
            return  # with its last session the bucket went
        self._remove_if_empty(name)

    def tidy_echoes(self, keep: Callable[[Touch], bool], deadline: Deadline) -> None:
        """Remove the records of ended sessions that no echo can need, until the deadline."""
        echoes.tidy(self._directory, keep, deadline)

    def left(self, target: Target) -> list[Touch]:
        """Return the claims of touch records whose sealed file somebody took away, by hand."""
        try:
            inside = self._inside(bucket(self._key, target))
            gone = ids(inside, TOUCH, without=SEALED)
            found = [claimed(inside, session + TOUCH) for session in gone]
        except StateMissingError:
            return []
        return [touch for touch in found if touch is not None]

    def remembered(self) -> list[Echo]:
        """Return the records of sessions that have ended, of whatever target."""
        try:
            with self._directory.child(echoes.PLACE) as place:
                return list(echoes.find(place))
        except StateMissingError:
            return []

    def recall(self, record: Echo) -> Touch | None:
        """Return what a record of `remembered` claims; `None` if it says nothing."""
        self._in_time()
        with self._directory.child(echoes.PLACE) as place:
            return echoes.read(place, record)

    def mark(self, target: Target, username: str | None, secret: Secret) -> bytes | None:
        """Return what recognises a secret after its session; `None` without an audit key."""
        if self._audit is None:
            return None
        return mark(self._audit, self._audit_generation, target, username, secret)

    def echo(self, target: Target, username: str | None, secret: Secret) -> bytes:
        """Return the digest by which a live session recognises its own secret."""
        return echo(self._key, target, username, secret)

    def demand_room(self, session: Session, credential: Credential) -> None:
        """Raise if a session cannot be put because of what it would hold.

        Raises:
            UsageError: the credential is too long to be read again.
        """
        label = _label(session, bytes(DIGEST_BYTES))
        if sealed_bytes(label, credential) > LONGEST_SEALED:
            # A file that is too long to be read would hold up everything that reads its bucket.
            msg = f"the credential is too long: a sealed file has at most {LONGEST_SEALED} bytes"
            raise UsageError(msg, "nothing was stored")

    def put(self, session: Session, credential: Credential, *, seconds: int) -> bool:
        """Seal a new session. It is on the disk on return, whole, or not at all.

        Args:
            session: What it is for.
            credential: What it holds.
            seconds: For how long it lives from now if it is not used.

        Returns:
            Whether the platform itself destroys what opens it when it ends.

        Raises:
            UsageError: what `demand_room` raises.
            StateError: it cannot be written.
        """
        self.demand_room(session, credential)
        self.grown = True
        kind, share, self.weakened = self._shares.create(session.id, seconds)
        try:
            header = self._put(session, credential, kind, Keys(self._key, share))
        except BaseException:
            self._shares.destroy(None, session.id)
            raise
        return self._shares.erases(header)

    def _put(self, session: Session, credential: Credential, kind: int, keys: Keys) -> Header:
        header = Header(
            share=kind,
            id=session.id,
            generation=self.generation,
            created=session.created,
            idle_seconds=session.idle_seconds,
            cap_seconds=session.cap_seconds,
        )
        digest = self.echo(session.target, session.username, credential.secret)
        sealed = seal(keys, header, _label(session, digest), credential)
        own = self.mark(session.target, session.username, credential.secret) or _NO_MARK
        touch = Touch(session.id, session.used, None, header_digest(sealed), own)
        name = bucket(self._key, session.target)
        # Now there is room for it. When the session ends, the disk may be full.
        echoes.make_place(self._directory)
        inside = self._inside(name, create=True)
        inside.sweep(ORPHAN_SECONDS)
        # Before the session is there: a use can then be written down when the disk is full.
        inside.rewrite(session.id + TOUCH, mac_touch(self._key, touch))
        inside.create(session.id + SEALED, sealed)
        return header

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
            self._marked(found, found.opened.label, released=released),
        )
        self._shares.prolong(found.header, found.id, seconds)
        self._inside(found.bucket).rewrite(found.id + TOUCH, mac_touch(self._key, touch))

    def _marked(self, found: Found, label: Label, *, released: bool) -> bytes:
        """Return the mark for a touch record. It is made anew only where the last one is no good.

        That is so where a record was lost, and after the audit key was replaced.
        """
        held = found.touch.mark if found.touch else _NO_MARK
        if not released or held.startswith(self._audit_generation.to_bytes(MARK_GENERATION_BYTES)):
            return held
        credential = self.open(found)
        try:
            return self.mark(label.target, label.username, credential.secret) or held
        finally:
            credential.wipe()

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

    def grip(self, found: Found) -> Grip:
        """Return a grip on the session's file, by which its end is learned without the lock.

        Raises:
            StateError: it is not there, or cannot be opened.
        """
        inside = self._directory.child(found.bucket)
        grip = None
        try:
            grip = inside.grip(found.id + SEALED)
        finally:
            if grip is None:
                inside.close()
        if grip is None:
            msg = "the sealed file was taken away by another program"
            raise StateMissingError(msg)
        return grip

    def remove(self, found: Found, *, keep_touch: bool) -> None:
        """Remove the session's file, and its touch record unless an echo may still come.

        Raises:
            StateError: something could not be removed; the share is destroyed all the same.
        """
        try:
            inside = self._inside(found.bucket)
            try:
                if keep_touch and found.touch is not None:
                    # First, so that a crash in between leaves a session, and no echo unknown.
                    # An end is not held up by it: what stays in the bucket is moved later.
                    with suppress(StateError):
                        echoes.remember(self._directory, inside, found.touch)
            finally:
                self._under_way.add(inside.withdraw(found.id + SEALED))
            if not keep_touch:
                inside.remove(found.id + TOUCH)
        finally:
            self._shares.destroy(found.header, found.id)
        self._remove_if_empty(found.bucket)

    def _remove_if_empty(self, name: str) -> None:
        # What is removed is no bucket any more, though somebody still has it open.
        self.close()
        self._directory.remove_child(name)

    def find(self, name: str, session: str) -> Found:
        """Return one session file of one bucket."""
        sealed = self._inside(name).read(session + SEALED, LONGEST_SEALED)
        header = header_of(sealed)
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
        record = self._inside(name).read(session + TOUCH, TOUCH_BYTES)
        if record is None:
            return None
        try:
            touch = check_touch(self._key, record)
        except SealError:
            # A record that was torn or forged counts as lost, and a lost one makes a session older.
            return None
        return touch if touch.id == session else None


def _label(session: Session, digest: bytes) -> Label:
    return Label(session.target, session.username, session.authtype, session.expires, digest)
