"""Echoes: the touch records of ended sessions, kept for as long as an echo may come.

They lie outside the buckets. Bucket names depend on the vault key, and these records must outlive
a rotation or a revocation of that key. A record's name contains the mark of the secret and the
session's id, so a `store` reads only the list of names.

A record is moved here, which needs no key and no disk space. It proves nothing. A forged one can
make keylease refuse a credential for a moment, but never release one.
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
"""The directory of the records, beside the buckets. No bucket can have this name."""
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
        """Return whether it may be the record of that mark.

        Marks of different audit keys cannot be compared, so they count as equal. The mistake is
        safe: it refuses a `store` for as long as the record lasts.
        """
        own = self.mark[:MARK_GENERATION_BYTES]
        if mark is None or not hmac.compare_digest(own, mark[:MARK_GENERATION_BYTES]):
            return True
        return hmac.compare_digest(self.mark, mark)


def make_place(directory: Directory) -> None:
    """Make the directory of the records while the disk has space."""
    directory.child(PLACE, create=True).close()


def remember(directory: Directory, inside: Directory, touch: Touch) -> None:
    """Move the touch record of an ending session out of its bucket.

    Raises:
        StateError: it could not be moved, and is still in the bucket.
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
    """Yield every record, read from its name."""
    for name in place.names():
        mark, _, session = name.removesuffix(_SUFFIX).partition(".")
        try:
            echo = Echo(bytes.fromhex(mark), session)
        except ValueError:
            continue  # a foreign file
        if echo.name == name:
            yield echo


def read(place: Directory, echo: Echo) -> Touch | None:
    """Return a record unproved; `None` if it is missing or malformed."""
    return claimed(place, echo.name)


def tidy_bucket(
    directory: Directory,
    inside: Directory,
    keep: Callable[[Touch], bool],
    deadline: Deadline | None = None,
) -> Tidied:
    """Remove unfinished files and touch records without a session from a bucket.

    Move the records that an echo may still need: their session was ended by a crash or by hand.
    What is left at the deadline waits for the next call.
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
    """Remove the records that no echo can need, and return their number.

    Args:
        directory: The directory of the sessions.
        keep: Judges a record by what it claims.
        deadline: When to stop; never if not given.

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
