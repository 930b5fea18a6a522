"""Buckets: the directories of the sealed files and their touch records.

Nothing here has a key, so everything read here is an unproved claim. It may decide whether a file
is removed, but never whether a secret is released.
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
"""The suffix of a sealed file; the session's id comes before it."""
TOUCH: Final = ".touch"
"""The suffix of its touch record."""
LONGEST_SEALED: Final = 4 * 1024 * 1024
"""Bytes; a request is at most 1 MiB, and names and values are kept once each."""
ORPHAN_SECONDS: Final = 60.0
"""An unfinished file of this age counts as left by a killed writer."""
_DIGITS: Final = frozenset("0123456789abcdef")


class Tidied(NamedTuple):
    """How many unused files and shares were removed."""

    touches: int = 0
    temporaries: int = 0
    shares: int = 0


def claimed(inside: Directory, name: str) -> Touch | None:
    """Return a touch record unproved: a program that can forge it could also remove it."""
    try:
        record = inside.read(name, TOUCH_BYTES) or b""
        return Touch.unpack(record[:-MAC_BYTES]) if len(record) == TOUCH_BYTES else None
    except (SealError, UnsafeStateError):
        return None


def header_of(sealed: bytes | None) -> Header | None:
    """Return the unproved header of a sealed file; `None` if it is missing or malformed."""
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
    """Return the names of the buckets. Skip foreign names, such as `.DS_Store`."""
    return [
        name
        for name in sorted(directory.names())
        if len(name) == BUCKET_DIGITS and _DIGITS.issuperset(name)
    ]


def ids(inside: Directory, suffix: str, *, without: str | None = None) -> list[str]:
    """Return the ids that have a file with `suffix` and, if given, none with `without`."""
    names = set(inside.names())
    ids = [name.removesuffix(suffix) for name in sorted(names) if name.endswith(suffix)]
    return [each for each in ids if without is None or each + without not in names]
