"""What makes an undo exact: of each change the bytes that it put in, and those that were there.

A tool's own undo takes out what it knows to be keylease's. It cannot know that the last line had no
end, or that a comment stood behind an entry. A patch does, for as long as nobody has edited that
place: where one does not fit, nothing is patched, and the tool's own undo counts.
"""

from __future__ import annotations

import base64
import binascii
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from keylease.errors import StateError

if TYPE_CHECKING:
    from collections.abc import Sequence

# Where nobody can say what was there before keylease: a copy of the file came from elsewhere.
_OURS: Final = b"keylease"


class Patch(NamedTuple):
    """One change, as it is taken back."""

    at: int
    new: bytes
    """What was put in at this place; with nothing it fits nowhere."""
    old: bytes | None
    """What was there instead; `None` if there was no file."""


SPOILT: Final = Patch(0, b"", b"")
"""Of a change that must not be taken back exactly."""


class NoFitError(StateError):
    """The file has been edited where it was changed."""


def with_change(earlier: Sequence[Patch], before: bytes | None, after: bytes | None) -> list[Patch]:
    """Return the patches of a file with that of one more change.

    Those that do not fit any more, or were never carried out, are forgotten.
    """
    try:
        taken_back(before, earlier)
    except NoFitError:
        earlier = ()
    if after is None or (not earlier and _OURS in (before or b"")):
        return [SPOILT]
    return [*earlier, difference(before, after)]


def difference(before: bytes | None, after: bytes) -> Patch:
    """Return the patch of a change. It has no more of the file than what the change replaced."""
    if before is None:
        return Patch(0, after, None)
    start = _alike(before, after)
    old, new = before[start:], after[start:]
    end = _alike(old[::-1], new[::-1])
    return Patch(start, new[: len(new) - end], old[: len(old) - end])


def taken_back(now: bytes | None, patches: Sequence[Patch]) -> bytes | None:
    """Return the file as it was before all of the patches; `None` if there was none.

    Raises:
        NoFitError: it has been edited since at one of these places.
    """
    for at, new, old in reversed(patches):
        end = at + len(new)
        whole = old is not None or now == new
        if now is None or not new or now[at:end] != new or not whole:
            msg = "the file was edited where setup had changed it"
            raise NoFitError(msg)
        now = None if old is None else now[:at] + old + now[end:]
    return now


def packed(patches: Sequence[Patch]) -> list[list[Any]]:
    """Return the patches as they are written down."""
    return [[at, _text(new), None if old is None else _text(old)] for at, new, old in patches]


def unpacked(found: object) -> list[Patch]:
    """Return the patches that were written down. What is none fits nowhere."""
    try:
        return [
            Patch(int(at), _bytes(new), None if old is None else _bytes(old))
            for at, new, old in found  # type: ignore[attr-defined]
        ]
    except (TypeError, ValueError, binascii.Error):
        return [SPOILT]


def _alike(one: bytes, other: bytes) -> int:
    """Return how many bytes are the same from the beginning."""
    pairs = zip(one, other, strict=False)
    different = (at for at, (left, right) in enumerate(pairs) if left != right)
    return next(different, min(len(one), len(other)))


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def _bytes(text: str) -> bytes:
    return base64.b64decode(text, validate=True)
