"""Sessions: find, seal, open and remove session files, with the lock and the vault's keys.

`keylease.session.judge` decides whether a session has ended. The target is compared *after* opening
a file, because a bucket's name is only a digest.
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
"""The mark if there is no audit key. It is treated like the mark of another audit key."""


class Found(NamedTuple):
    """One session file, opened or not."""

    bucket: str
    id: str
    header: Header | None
    """Unproved, unless `opened` is set. `None` if the file is no sealed file."""
    touch: Touch | None
    opened: Opened | None
    """`None` if the file could not be opened with the vault's key."""
    keys: Keys | None
    erases: bool = False
    """Whether the platform itself destroys the share when the session ends."""
    unknown: ShareUnavailableError | None = None
    """Why the state of its share is unknown. Then the file is neither opened nor counts as dead."""

    @property
    def session(self) -> Session | None:
        """The session, if the file was opened."""
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
            # A lost touch record makes the session older, never younger.
            used=self.touch.used if self.touch else header.created,
            released=self.touch.released if self.touch else None,
            idle_seconds=header.idle_seconds,
            cap_seconds=header.cap_seconds,
            erased=self.erases,
        )


class Sessions:
    """The sessions of a store whose lock is held."""

    def __init__(
        self,
        directory: Directory,
        keys: VaultKeys,
        shares: Shares,
        in_time: Callable[[], None],
        under_way: UnderWay,
    ) -> None:
        self.generation: Final = keys.generation
        """The generation of the vault key; files of other generations have ended."""
        self.grown = False
        """Whether `put` was called."""
        self.weakened: str | None = None
        """Why the share of the last session that was put is not in the best store."""
        self._directory = directory
        self._key = keys.session
        self._audit = keys.audit
        self._audit_generation = keys.audit_generation
        self._shares = shares
        self._in_time = in_time
        self._under_way = under_way
        self._bucket: tuple[str, Directory] | None = None

    def close(self) -> None:
        """Close the open bucket."""
        bucket, self._bucket = self._bucket, None
        if bucket is not None:
            bucket[1].close()

    def of(self, target: Target, steps: Steps | None = None) -> list[Found]:
        """Return the files of the target's namespace, protocol and host, whatever their path.

        Args:
            target: The target.
            steps: Collects the failures of single files. Without it, the first one is raised.

        Raises:
            StateError: a file cannot be used.
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
        """Return the name of every bucket, from a random one on, so that short sweeps reach all."""
        names = bucket_names(self._directory)
        # Do not import `random`: it is slow to load, and a small bias is harmless here.
        start = int.from_bytes(os.urandom(4)) % len(names) if names else 0
        return names[start:] + names[:start]

    def ids(self, name: str) -> list[str]:
        """Return the ids of the sessions in one bucket."""
        return ids(self._inside(name), SEALED)

    def _inside(self, name: str, *, create: bool = False) -> Directory:
        """Return a bucket. It stays open until another one is needed."""
        if self._bucket is None or self._bucket[0] != name:
            self.close()
            self._bucket = name, self._directory.child(name, create=create)
        return self._bucket[1]

    def _within(self, name: str, steps: Steps | None) -> list[Found]:
        found = []
        for session in self.ids(name):
            if steps is None:
                # One host can have thousands of users, so check the deadline for each file. With
                # `steps` sessions are being ended: there the deadline does not count.
                self._in_time()
                found.append(self.find(name, session))
            else:
                with steps.step():
                    found.append(self.find(name, session))
        return found

    def swept(self, boot: str) -> int | None:
        """Return the time of the last full sweep in this boot, in nanoseconds since boot.

        It has no MAC: a program that could forge it could also keep the files themselves.
        """
        record = self._directory.read(_SWEPT, _SWEPT_BYTES) or b""
        if len(record) != _SWEPT_BYTES or record[:_BOOT_BYTES].hex() != boot:
            return None
        return int.from_bytes(record[_BOOT_BYTES:])

    def mark_swept(self, now: Moment) -> None:
        """Record a full sweep."""
        self._directory.rewrite(_SWEPT, bytes.fromhex(now.boot) + now.boot_ns.to_bytes(8))

    def tidy(self, name: str, keep: Callable[[Touch], bool], deadline: Deadline) -> None:
        """Remove unused files from one bucket; see `SessionStore.tidy`."""
        try:
            echoes.tidy_bucket(self._directory, self._inside(name), keep, deadline)
        except StateMissingError:
            return  # the bucket was removed with its last session
        self._remove_if_empty(name)

    def tidy_echoes(self, keep: Callable[[Touch], bool], deadline: Deadline) -> None:
        """Remove the echo records that are not needed any more, until the deadline."""
        echoes.tidy(self._directory, keep, deadline)

    def left(self, target: Target) -> list[Touch]:
        """Return the touch records, unproved, whose sealed file was removed by hand."""
        try:
            inside = self._inside(bucket(self._key, target))
            gone = ids(inside, TOUCH, without=SEALED)
            found = [claimed(inside, session + TOUCH) for session in gone]
        except StateMissingError:
            return []
        return [touch for touch in found if touch is not None]

    def remembered(self) -> list[Echo]:
        """Return the echo records of every target."""
        try:
            with self._directory.child(echoes.PLACE) as place:
                return list(echoes.find(place))
        except StateMissingError:
            return []

    def recall(self, record: Echo) -> Touch | None:
        """Return an echo record, unproved; `None` if it is missing or malformed."""
        self._in_time()
        with self._directory.child(echoes.PLACE) as place:
            return echoes.read(place, record)

    def mark(self, target: Target, username: str | None, secret: Secret) -> bytes | None:
        """Return the mark that recognises a secret after its session's end.

        `None` without an audit key.
        """
        if self._audit is None:
            return None
        return mark(self._audit, self._audit_generation, target, username, secret)

    def echo(self, target: Target, username: str | None, secret: Secret) -> bytes:
        """Return the digest by which a live session recognises its own secret."""
        return echo(self._key, target, username, secret)

    def demand_room(self, session: Session, credential: Credential) -> None:
        """Check that the sealed file would not be too long to be read again.

        Raises:
            UsageError: it would be.
        """
        label = _label(session, bytes(DIGEST_BYTES))
        if sealed_bytes(label, credential) > LONGEST_SEALED:
            # Such a file would block every operation on its bucket.
            msg = f"the credential is too long: a sealed file has at most {LONGEST_SEALED} bytes"
            raise UsageError(msg, "nothing was stored")

    def put(self, session: Session, credential: Credential, *, seconds: int) -> bool:
        """Seal a new session. On return the whole file is on the disk; on failure, nothing is.

        Args:
            session: The session.
            credential: Its credential.
            seconds: How long it lives from now if it is not used.

        Returns:
            Whether the platform itself destroys its share when it ends.

        Raises:
            UsageError: as `demand_room`.
            StateError: the file cannot be written.
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
        # Make it now: the disk may be full when the session ends.
        echoes.make_place(self._directory)
        inside = self._inside(name, create=True)
        inside.sweep(ORPHAN_SECONDS)
        # Write the touch record first. A later use only rewrites it, which works on a full disk.
        inside.rewrite(session.id + TOUCH, mac_touch(self._key, touch))
        inside.create(session.id + SEALED, sealed)
        return header

    def roll(self, found: Found, used: Moment, *, released: bool, seconds: int) -> None:
        """Record a use.

        Args:
            found: The opened session.
            used: The time of the use.
            released: Whether the secret is released.
            seconds: How long the session lives from now if it is not used again.
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
        """Return the mark for a touch record.

        Make a new one only if the record was lost or the audit key was replaced: it opens the
        credential.
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
        """Return the session's credential. The caller wipes it.

        Raises:
            LockTimeoutError: the answer is late.
        """
        self._in_time()
        if found.opened is None or found.keys is None:
            msg = "the label is opened before the credential"
            raise ValueError(msg)
        return open_credential(found.keys, found.opened)

    def grip(self, found: Found) -> Grip:
        """Return a grip on the session's file. It shows the session's end without the lock.

        Raises:
            StateError: the file is missing, or cannot be opened.
        """
        inside = self._directory.child(found.bucket)
        grip = None
        try:
            grip = inside.grip(found.id + SEALED)
        finally:
            if grip is None:
                inside.close()
        if grip is None:
            msg = "another program has removed the sealed file"
            raise StateMissingError(msg)
        return grip

    def remove(self, found: Found, *, keep_touch: bool) -> None:
        """Remove the session's file. Keep its touch record if an echo may still come.

        Raises:
            StateError: a file could not be removed. The share is destroyed nevertheless.
        """
        try:
            inside = self._inside(found.bucket)
            try:
                if keep_touch and found.touch is not None:
                    # Move it first: after a crash in between, the echo is still recognised. A
                    # failure does not stop the end, because a later sweep moves the record.
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
        # Close it first: a removed directory must not be used as a bucket any more.
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
            # Not swallowed: the judge ends a session that cannot be opened, with a reason.
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
            # A torn or forged record counts as lost, and a lost record makes a session older.
            return None
        return touch if touch.id == session else None


def _label(session: Session, digest: bytes) -> Label:
    return Label(session.target, session.username, session.authtype, session.expires, digest)
