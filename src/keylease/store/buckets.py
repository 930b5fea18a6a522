"""Buckets: the directories in which sealed files and their touch records lie, side by side.

Nothing here has a key. So what is read here is a claim: good enough to remove something, or to
leave it, and never to release anything.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from keylease.errors import SealError, UnsafeStateError
from keylease.store.format import MAC_BYTES, TOUCH_BYTES, Header, Touch
from keylease.store.seal import BUCKET_DIGITS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from keylease.statefile import Directory

SEALED: Final = ".sealed"
"""What the name of a sealed file ends with, after the session's id."""
TOUCH: Final = ".touch"
"""What the name of its touch record ends with."""
LONGEST_SEALED: Final = 4 * 1024 * 1024
"""Bytes; a request is at most 1 MiB, and names and values are kept once each."""
ORPHAN_SECONDS: Final = 60.0
"""How old an unfinished file is before its writer counts as killed."""
_DIGITS: Final = frozenset("0123456789abcdef")


class Tidied(NamedTuple):
    """How much was removed that is of no use to anybody."""

    touches: int = 0
    temporaries: int = 0
    shares: int = 0


def claimed(inside: Directory, name: str) -> Touch | None:
    """Return what a touch record says, unproved: whoever could forge it could remove it as well."""
    try:
        record = inside.read(name, TOUCH_BYTES) or b""
        return Touch.unpack(record[:-MAC_BYTES]) if len(record) == TOUCH_BYTES else None
    except (SealError, UnsafeStateError):
        return None


def header_of(sealed: bytes | None) -> Header | None:
    """Return what a sealed file claims to be; `None` if it is not there, or is none."""
    try:
        return None if sealed is None else Header.unpack(sealed)
    except SealError:
        return None


def sealed_files(directory: Directory) -> Iterator[tuple[str, str]]:
    """Yield the bucket and the id of every sealed file."""
    for name in bucket_names(directory):
        with directory.child(name) as inside:
            sessions = ids(inside, SEALED)
        for session in sessions:
            yield name, session


def bucket_names(directory: Directory) -> list[str]:
    """Return the names of the buckets. What else lies there (`.DS_Store`) is not ours."""
    return [
        name
        for name in sorted(directory.names())
        if len(name) == BUCKET_DIGITS and _DIGITS.issuperset(name)
    ]


def ids(inside: Directory, suffix: str, *, without: str | None = None) -> list[str]:
    """Return the ids with a file of one suffix, and with none of the other if it is given."""
    names = set(inside.names())
    ids = [name.removesuffix(suffix) for name in sorted(names) if name.endswith(suffix)]
    return [each for each in ids if without is None or each + without not in names]
