"""SessionStore: the directory of the sessions.

With the vault's keys, `exclusive` opens it for one process; see `keylease.store.opened`. Without a
key, sealed files can still be counted and destroyed.
"""

from __future__ import annotations

from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final, NamedTuple

from keylease.errors import KeyleaseError, LockTimeoutError, StateError, UnsafeStateError
from keylease.faults import Steps
from keylease.secrets.hardening import uninterrupted
from keylease.shares import Shares
from keylease.store import echoes
from keylease.store.buckets import (
    LONGEST_SEALED,
    ORPHAN_SECONDS,
    SEALED,
    Tidied,
    bucket_names,
    header_of,
    ids,
    sealed_files,
)
from keylease.store.opened import Sessions
from keylease.store.release import UnderWay
from keylease.system.clock import Deadline

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from contextlib import AbstractContextManager

    from keylease.shares.base import ShareStore
    from keylease.statefile import Directory
    from keylease.store.format import Header, Touch
    from keylease.vault.vault import VaultKeys

_LOCK: Final = "lock"
_SETTLED: Final = "generation"
"""The file with the generation of the vault key whose predecessors have no files left."""
_GENERATION_BYTES: Final = 8


class Destroyed(NamedTuple):
    """The sessions that were destroyed without a key."""

    sessions: list[str]
    """The ids whose file was removed."""
    shares: list[str]
    """The ids whose share may still live, until its own timeout or until logout."""
    failures: list[KeyleaseError]
    """Files that could not be removed, and releases that did not finish."""


class SessionStore:
    """The sessions of one state directory, for one operation.

    Args:
        state: Opens the state directory.
        shares: The share stores, best first; the last one always works.
        deadline: The deadline of the operation, also for the wait for the lock.
    """

    def __init__(
        self,
        state: Callable[[], AbstractContextManager[Directory]],
        shares: Sequence[ShareStore],
        deadline: Deadline,
    ) -> None:
        self._state = state
        self._shares = Shares(shares)
        self._deadline = deadline

    @contextmanager
    def exclusive(self, keys: VaultKeys, *, at_once: bool = False) -> Iterator[Sessions]:
        """Return the sessions and hold the lock for the length of the block.

        Args:
            keys: The vault's keys.
            at_once: Fail at once if another process holds the lock.

        Raises:
            LockTimeoutError: another process did not release the lock in time.
            StateError: a session was ended, but a running release of it did not finish in time.
        """
        under_way = UnderWay()
        try:
            with self._locked(Deadline(0) if at_once else self._deadline) as directory:
                self._in_time()
                sessions = Sessions(directory, keys, self._shares, self._in_time, under_way)
                try:
                    yield sessions
                finally:
                    sessions.close()
        finally:
            # Wait without the lock, so that other processes can go on.
            under_way.wait(self._deadline)
            failures = under_way.failures()
        for failure in failures:
            raise failure

    def count(self) -> int:
        """Return the number of sealed files."""
        with self._locked() as directory:
            return len(list(sealed_files(directory)))

    def destroy(
        self,
        doomed: Callable[[Header | None], bool],
        announce: Callable[[list[str]], None],
        keep: Callable[[Touch], bool],
    ) -> Destroyed:
        """Remove sealed files and their shares without a key. A failure stops no other removal.

        A signal that ends the process waits until every file was tried.

        Args:
            doomed: Decides by the file's unproved header; `None` if it has none.
            announce: Called once after the removals, with the ids of all doomed files.
            keep: Decides by an unproved touch record whether an echo may still come.
        """
        done, over, under_way = Destroyed([], [], []), list[str](), UnderWay()

        def end(directory: Directory, inside: Directory, session: str) -> None:
            header = _claimed_header(inside, session)
            if doomed(header):
                over.append(session)
                # Keep the record first: after a crash in between, the echo is still recognised. A
                # failure does not stop the end.
                with steps.step(), suppress(StateError):
                    echoes.remember_if(directory, inside, session, keep)
                self._destroy(inside, session, header, done, under_way)

        with Steps(done.failures) as steps:
            with steps.step(), self._locked() as directory, uninterrupted():
                for name in bucket_names(directory):
                    with steps.step(), directory.child(name) as inside:
                        for session in ids(inside, SEALED):
                            with steps.step():
                                end(directory, inside, session)
                        echoes.tidy_bucket(directory, inside, keep)
                    with steps.step():
                        directory.remove_child(name)
            with steps.step():
                announce(over)
            with steps.step():
                under_way.wait(self._deadline)
            done.failures.extend(under_way.failures())
        return done

    def tidy(self, keep: Callable[[Touch], bool]) -> Tidied:
        """Remove unfinished files, and records and shares without a session. It needs no key.

        Args:
            keep: Decides by an unproved touch record whether an echo may still come.

        Raises:
            StateError: a file cannot be removed. All others were tried.
        """
        touches, temporaries, live = 0, 0, set()
        with Steps() as steps, self._locked() as directory, self._state() as state:
            for place in (state, directory):
                with steps.step():
                    temporaries += place.sweep(ORPHAN_SECONDS)
            for name in bucket_names(directory):
                with steps.step():
                    with directory.child(name) as inside:
                        live.update(ids(inside, SEALED))
                        tidied = echoes.tidy_bucket(directory, inside, keep)
                    touches += tidied.touches
                    temporaries += tidied.temporaries
                    directory.remove_child(name)
            with steps.step():
                touches += echoes.tidy(directory, keep)
            # A bucket that could not be read may hold the session of any share.
            steps.demand()
            # A share and its session's file are both made under this lock.
            return Tidied(touches, temporaries, self._shares.sweep(live))

    def settle(self, generation: int, destroy: Callable[[], Destroyed]) -> None:
        """End the sessions of former vault keys, once for each new key.

        A killed rotation can leave sessions behind, whose echoes must still be recognised.

        Args:
            generation: The generation of the vault key.
            destroy: Ends every session of a former key. Its failures are ignored, because the echo
                records are safe by then; the next new session tries again.

        Raises:
            StateError: the directory itself cannot be used.
        """
        packed = generation.to_bytes(_GENERATION_BYTES)
        with self._state() as state, state.child("sessions", create=True) as directory:
            settled = directory.read(_SETTLED, _GENERATION_BYTES) == packed
            if not (settled or destroy().failures):
                directory.replace(_SETTLED, packed)

    def _destroy(
        self,
        inside: Directory,
        session: str,
        header: Header | None,
        done: Destroyed,
        under_way: UnderWay,
    ) -> None:
        try:
            under_way.add(inside.withdraw(session + SEALED))
            done.sessions.append(session)
        finally:
            # On a read-only disk, destroying the share still ends the session.
            if not self._shares.destroy(header, session):
                done.shares.append(session)

    def _in_time(self) -> None:
        """Raise if the answer is late, because the keys may have been revoked since they were read.

        Otherwise a process that was stopped could answer after a revocation.
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


def _claimed_header(inside: Directory, session: str) -> Header | None:
    """Return the unproved header of a sealed file; `None` if it is malformed or unsafe."""
    try:
        return header_of(inside.read(session + SEALED, LONGEST_SEALED))
    except UnsafeStateError:
        # Another user could have written it, so it is no session.
        return None
