"""SessionStore: the directory of the sessions, and what can be done with it without a key.

With a key it is opened with every other process kept out, and handed on; see
`keylease.sealedsessions`. Without one, what is sealed can still be counted and destroyed.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, NamedTuple

from keylease.buckets import (
    LONGEST_SEALED,
    ORPHAN_SECONDS,
    SEALED,
    Tidied,
    bucket_names,
    header_of,
    ids,
    sealed_files,
    tidy,
)
from keylease.clock import Deadline
from keylease.errors import LockTimeoutError, StateError, UnsafeStateError
from keylease.sealedsessions import Sessions
from keylease.shares import Shares

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from keylease.record import Header, Touch
    from keylease.shares.base import ShareStore
    from keylease.statefile import Directory
    from keylease.vault import VaultKeys

_LOCK: Final = "lock"


class Destroyed(NamedTuple):
    """What became of the sessions that were destroyed without a key."""

    sessions: list[str]
    """The ids of those whose file is gone."""
    shares: list[str]
    """The ids of those whose share may still live; it dies by itself, or with the login."""
    failures: list[StateError]
    """What could not be removed."""


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
        """
        with self._locked(Deadline(0) if at_once else self._deadline) as directory:
            self._in_time()
            yield Sessions(directory, keys, self._shares, self._in_time)

    def count(self) -> int:
        """Return how many sealed files there are. It needs no key."""
        with self._locked() as directory:
            return len(list(sealed_files(directory)))

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
            for name in bucket_names(directory):
                with _collecting(done.failures), directory.child(name) as inside:
                    for session in ids(inside, SEALED):
                        with _collecting(done.failures):
                            self._destroy(inside, session, doomed, announce, done)
                    tidy(inside, keep)
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
            temporaries = state.sweep(ORPHAN_SECONDS) + directory.sweep(ORPHAN_SECONDS)
            for name in bucket_names(directory):
                with _collecting(failures):
                    with directory.child(name) as inside:
                        live.update(ids(inside, SEALED))
                        tidied = tidy(inside, keep)
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
            sealed = inside.read(session + SEALED, LONGEST_SEALED)
        except UnsafeStateError:
            # What others could have written is no session, and nothing is read from it.
            sealed = None
        header = header_of(sealed)
        if not doomed(header):
            return
        announce(session)
        try:
            inside.remove(session + SEALED)
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


@contextmanager
def _collecting(failures: list[StateError]) -> Iterator[None]:
    """Keep what went wrong for later, so that the rest is done now."""
    try:
        yield
    except StateError as error:
        failures.append(error)
