"""Patches make an undo exact: each records the bytes that setup inserted, and where.

A tool's own undo removes what it knows to be keylease's. It cannot know, for example, that the last
line had no line end. A patch knows, as long as that place was not edited. If a patch does not fit,
no patch is applied and the tool's own undo counts.

A patch never holds a byte of the user's. Each run of changed lines is its own patch, so the lines
between two runs are in neither. Removed text is recorded only if it is empty, keylease's own, or
known to the tool as no secret. Otherwise the change is not taken back exactly.
"""

from __future__ import annotations

import base64
import binascii
from difflib import SequenceMatcher
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from keylease.errors import StateError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

# A file that already holds this word without a record is a copy: its earlier content is unknown.
_OURS: Final = b"keylease"
# The most lines between the first and the last edit. A longer comparison would take too long.
_MOST_LINES: Final = 2000
# Empty values in JSON and YAML.
_NOTHING: Final = (b"", b"{}", b"[]", b"null")


class Patch(NamedTuple):
    """One change that can be taken back."""

    at: int
    new: bytes
    """The inserted bytes. An empty value never fits."""
    old: bytes | None
    """The bytes that they replaced; `None` if there was no file."""


SPOILT: Final = Patch(0, b"", b"")
"""It stands for a change that must not be taken back exactly."""


class NoFitError(StateError):
    """The file has been edited where it was changed."""


def with_change(
    earlier: Sequence[Patch],
    before: bytes | None,
    after: bytes | None,
    known: Sequence[bytes] = (),
) -> list[Patch]:
    """Return the patches of a file, with those of one more change.

    Patches that no longer fit, or were never carried out, are dropped.

    Args:
        earlier: The recorded patches.
        before: The file before the change.
        after: The file after it.
        known: Text that the change replaces and that is neither keylease's nor a secret.
    """
    earlier = carried_out(before, earlier)
    if after is None or (not earlier and _OURS in (before or b"")):
        return [SPOILT]
    patches = differences(before, after)
    allowed = [*known, *(patch.new for patch in earlier)]
    return [*earlier, *patches] if is_lean(patches, allowed) else [SPOILT]


def is_lean(patches: Sequence[Patch], allowed: Sequence[bytes]) -> bool:
    """Return whether the removed text of each patch is blank or part of an allowed text."""
    removed = [patch.old.strip() for patch in patches if patch.old is not None]
    return all(old in _NOTHING or any(old in each for each in allowed) for old in removed)


def lean(patches: Sequence[Patch], known: Sequence[bytes]) -> list[Patch]:
    """Return the patches of an earlier version without the user's bytes.

    They spanned everything from the first to the last changed byte.
    """
    allowed = [*known, *(new for _, new, old in patches if old is None or not old.strip())]
    parts: list[Patch] = []
    for patch in patches:
        if patch.old is None or is_lean([patch], allowed):
            parts.append(patch)
        else:
            inner = differences(patch.old, patch.new)
            parts += [each._replace(at=patch.at + each.at) for each in inner]
    return parts if is_lean(parts, allowed) and all(each.new for each in parts) else [SPOILT]


def differences(before: bytes | None, after: bytes) -> list[Patch]:
    """Return the patches of a change. Each one applies after those before it."""
    if before is None:
        return [Patch(0, after, None)]
    old, new = before.splitlines(keepends=True), after.splitlines(keepends=True)
    start = _alike(old, new)
    end = _alike(old[start:][::-1], new[start:][::-1])
    old, new = old[start : len(old) - end], new[start : len(new) - end]
    at = sum(map(len, after.splitlines(keepends=True)[:start]))
    if len(old) + len(new) > _MOST_LINES:
        return [SPOILT]
    return list(_runs(old, new, at))


def _runs(old: Sequence[bytes], new: Sequence[bytes], at: int) -> Iterator[Patch]:
    """Yield the patches of each run of different lines. `at` is where the first line begins."""
    matcher = SequenceMatcher(None, old, new, autojunk=False)
    for kind, old_start, old_end, new_start, new_end in matcher.get_opcodes():
        put, gone = new[new_start:new_end], old[old_start:old_end]
        if kind != "equal":
            yield from _insertions(gone, put, at) or _replacement(gone, put, at)
        at += sum(map(len, put))


def _insertions(old: Sequence[bytes], new: Sequence[bytes], at: int) -> list[Patch]:
    """Return the patches of inserted lines and inserted prefixes; none if the run has others."""
    patches, left = [], list(old)
    for line in new:
        kept = left[0] if left and (line.endswith(left[0]) or line == left[0] + b"\n") else b""
        del left[: bool(kept)]
        # The insertion stands before the old line, except for a line end that the file lacked.
        start = len(line) - len(kept) if line.endswith(kept) else 0
        put = line[:start] or line[len(kept) :]
        if put:
            patches.append(Patch(at if start else at + len(kept), put, b""))
        at += len(line)
    return [] if left else patches


def _replacement(old: Sequence[bytes], new: Sequence[bytes], at: int) -> list[Patch]:
    """Return the patches of replaced lines, in the form that holds the fewest old bytes."""
    whole = [_narrow(b"".join(old), b"".join(new), at)]
    if len(old) > len(new):
        return whole
    # One patch for each changed line, then one for the lines inserted behind them.
    pairs = []
    for gone, put in zip(old, new, strict=False):
        if gone != put:
            pairs.append(_narrow(gone, put, at))
        at += len(put)
    if rest := b"".join(new[len(old) :]):
        pairs.append(Patch(at, rest, b""))
    return min(whole, pairs, key=lambda each: sum(len(patch.old or b"") for patch in each))


def _narrow(old: bytes, new: bytes, at: int) -> Patch:
    """Return the patch of the different part, without the equal parts before and behind it."""
    front = _alike(old, new)
    back = _alike(old[front:][::-1], new[front:][::-1])
    # A pure removal keeps the byte before it, which marks the place.
    front -= front > 0 and front + back == len(new)
    return Patch(at + front, new[front : len(new) - back], old[front : len(old) - back])


def carried_out(now: bytes | None, patches: Sequence[Patch]) -> Sequence[Patch]:
    """Return the patches that are in the file: all, or those before a setup that was killed.

    Taking them back leaves nothing of keylease's in the file.
    """
    for count in range(len(patches), 0, -1):
        try:
            rest = taken_back(now, patches[:count])
        except NoFitError:
            continue
        if count == len(patches) or _OURS not in (rest or b""):
            return patches[:count]
    return ()


def taken_back(now: bytes | None, patches: Sequence[Patch]) -> bytes | None:
    """Return the file as it was before all of the patches; `None` if there was none.

    Raises:
        NoFitError: the file was edited since at one of these places.
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
    """Return the patches as the record holds them."""
    return [[at, _text(new), None if old is None else _text(old)] for at, new, old in patches]


def unpacked(found: object) -> list[Patch]:
    """Return the patches of a record. An invalid record gives a patch that never fits."""
    try:
        return [
            Patch(int(at), _bytes(new), None if old is None else _bytes(old))
            for at, new, old in found  # type: ignore[attr-defined]
        ]
    except (TypeError, ValueError, binascii.Error):
        return [SPOILT]


def _alike(one: Sequence[object], other: Sequence[object]) -> int:
    """Return the number of equal elements at the beginning."""
    pairs = zip(one, other, strict=False)
    different = (at for at, (left, right) in enumerate(pairs) if left != right)
    return next(different, min(len(one), len(other)))


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def _bytes(text: str) -> bytes:
    return base64.b64decode(text, validate=True)
