"""SessionStore: the directory of the sessions, and what can be done with it without a key.

With a key it is opened with every other process kept out, and handed on; see
`keylease.store.opened`. Without one, what is sealed can still be counted and destroyed.
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
"""The generation of the vault key before which nothing is left."""
_GENERATION_BYTES: Final = 8


class Destroyed(NamedTuple):
    """What became of the sessions that were destroyed without a key."""

    sessions: list[str]
    """The ids of those whose file is gone."""
    shares: list[str]
    """The ids of those whose share may still live; it dies by itself, or with the login."""
    failures: list[KeyleaseError]
    """Why something could not be removed, or could still be written by a release under way."""


class SessionStore:
    """The sessions of one state directory, for one operation.

    Args:
        state: Opens the state directory.
        shares: Where the volatile shares can live, best first; the last one always works.
        deadline: How long the operation may take, and the store may wait for its lock.
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
        """Return the sessions, with every other process kept out.

        Args:
            keys: The vault's keys.
            at_once: Whether not to wait for another process at all.

        Raises:
            LockTimeoutError: another process did not let go in time.
            StateError: a session was ended, and its release, which was under way, is not over.
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
            # Without the lock: others need not wait, too.
            under_way.wait(self._deadline)
            failures = under_way.failures()
        for failure in failures:
            raise failure

    def count(self) -> int:
        """Return how many sealed files there are. It needs no key."""
        with self._locked() as directory:
            return len(list(sealed_files(directory)))

    def destroy(
        self,
        doomed: Callable[[Header | None], bool],
        announce: Callable[[list[str]], None],
        keep: Callable[[Touch], bool],
    ) -> Destroyed:
        """Remove sealed files and their shares without a key. What fails keeps nothing else alive.

        A signal that ends the process waits until all of them were tried.

        Args:
            doomed: Judges a file by its header, which is a claim; `None` if it has none.
            announce: Called once, with the ids of all that were doomed, after they were removed.
            keep: Judges a touch record, which is a claim, too: whether an echo may still come.
        """
        done, over, under_way = Destroyed([], [], []), list[str](), UnderWay()

        def end(directory: Directory, inside: Directory, session: str) -> None:
            header = _claimed_header(inside, session)
            if doomed(header):
                over.append(session)
                # First, so that no crash leaves an echo that nothing tells. It holds up no end.
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
        """Remove what killed writers, ended sessions and old logins left. It needs no key.

        Args:
            keep: Judges a touch record without a session, as in `destroy`.

        Raises:
            StateError: something cannot be removed; the rest is removed all the same.
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
            # A bucket that could not be looked into may have a session for any share.
            steps.demand()
            # A share is made before its session's file, and both under this lock.
            return Tidied(touches, temporaries, self._shares.sweep(live))

    def settle(self, generation: int, destroy: Callable[[], Destroyed]) -> None:
        """See to it that nothing of a former vault key is left, once for each new one.

        A change of the key that was killed leaves sessions that it was to end, and with them what
        tells their echoes.

        Args:
            generation: That of the vault key.
            destroy: Ends every session of a former one. What it cannot remove holds up nothing,
                for what tells the echoes is kept by then; the next new session tries again.

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


def _claimed_header(inside: Directory, session: str) -> Header | None:
    """Return what a sealed file claims; `None` if it is none."""
    try:
        return header_of(inside.read(session + SEALED, LONGEST_SEALED))
    except UnsafeStateError:
        # What others could have written is no session, and nothing is read from it.
        return None
