"""Echoes: the touch records of sessions that have ended, for as long as an echo may come.

They lie outside the buckets, whose names hang on the vault key: a rotation or a revocation takes
that key, and what it ended must stay ended. The name of a record has the mark of the secret and the
session's id, so one list of names answers a `store`, however many records there are.

A record is moved here, which needs no key and no room: whoever ends a session can do it. It proves
nothing. A forged one can make keylease refuse a credential for a moment, and never release one.
"""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING, Final, NamedTuple

from keylease.errors import StateMissingError
from keylease.store.buckets import ORPHAN_SECONDS, SEALED, TOUCH, Tidied, claimed, ids
from keylease.store.format import MARK_GENERATION_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from keylease.statefile import Directory
    from keylease.store.format import Touch
    from keylease.system.clock import Deadline

PLACE: Final = "echoes"
"""The directory of the records, beside the buckets. It is no name of a bucket."""
_SUFFIX: Final = ".echo"


class Echo(NamedTuple):
    """One record, by its name."""

    mark: bytes
    id: str
    """The session's."""

    @property
    def name(self) -> str:
        """The name of its file."""
        return f"{self.mark.hex()}.{self.id}{_SUFFIX}"

    def fits(self, mark: bytes | None) -> bool:
        """Return whether it can be the record of that mark.

        Of a mark that hangs on another audit key this cannot be told, so it counts as the same:
        to refuse is the safe side, and such a record lasts no longer than any other.
        """
        own = self.mark[:MARK_GENERATION_BYTES]
        if mark is None or not hmac.compare_digest(own, mark[:MARK_GENERATION_BYTES]):
            return True
        return hmac.compare_digest(self.mark, mark)


def make_place(directory: Directory) -> None:
    """Make the directory of the records while there is room for it."""
    directory.child(PLACE, create=True).close()


def remember(directory: Directory, inside: Directory, touch: Touch) -> None:
    """Move the touch record of a session that ends out of its bucket.

    Raises:
        StateError: it cannot be moved, and stays where it is.
    """
    with directory.child(PLACE, create=True) as place:
        inside.move(touch.id + TOUCH, place, Echo(touch.mark, touch.id).name)


def remember_if(
    directory: Directory, inside: Directory, session: str, keep: Callable[[Touch], bool]
) -> bool:
    """Move the touch record of a session out of its bucket if an echo may come.

    Return whether it was moved.

    Args:
        directory: The directory of the sessions.
        inside: The bucket.
        session: The session's id.
        keep: Judges the record by what it claims.

    Raises:
        StateError: it cannot be read or moved.
    """
    claim = claimed(inside, session + TOUCH)
    if claim is None or claim.id != session or not keep(claim):
        return False
    remember(directory, inside, claim)
    return True


def find(place: Directory) -> Iterator[Echo]:
    """Yield every record, by its name."""
    for name in place.names():
        mark, _, session = name.removesuffix(_SUFFIX).partition(".")
        try:
            echo = Echo(bytes.fromhex(mark), session)
        except ValueError:
            continue  # it is no file of ours
        if echo.name == name:
            yield echo


def read(place: Directory, echo: Echo) -> Touch | None:
    """Return what a record says, unproved; `None` if it is not there or says nothing."""
    return claimed(place, echo.name)


def tidy_bucket(
    directory: Directory,
    inside: Directory,
    keep: Callable[[Touch], bool],
    deadline: Deadline | None = None,
) -> Tidied:
    """Remove unfinished files from a bucket, and touch records without a session.

    Those that an echo may still need are moved here: their session ended by a crash, or by hand.
    With a deadline what is left then stays for the next time.
    """
    removed = 0
    for session in ids(inside, TOUCH, without=SEALED):
        if deadline is not None and not deadline.remaining():
            return Tidied(removed)
        if not remember_if(directory, inside, session, keep):
            removed += inside.remove(session + TOUCH)
    return Tidied(removed, inside.sweep(ORPHAN_SECONDS))


def tidy(
    directory: Directory, keep: Callable[[Touch], bool], deadline: Deadline | None = None
) -> int:
    """Remove the records that no echo can need, and return how many there were.

    Args:
        directory: The directory of the sessions.
        keep: Judges a record by what it claims.
        deadline: When to stop, if not when everything was looked at.

    Raises:
        StateError: a record cannot be read or removed.
    """
    try:
        place = directory.child(PLACE)
    except StateMissingError:
        return 0
    with place:
        return _tidy(place, keep, deadline)


def _tidy(place: Directory, keep: Callable[[Touch], bool], deadline: Deadline | None) -> int:
    removed = 0
    for echo in find(place):
        if deadline is not None and not deadline.remaining():
            break
        claim = read(place, echo)
        if claim is None or not keep(claim):
            removed += place.remove(echo.name)
    return removed
