"""Search the memory of another process for secrets, through its open files in /proc.

proc(5): /proc/PID/maps lists the mappings, and /proc/PID/mem is their content. This process never
holds a whole secret itself. `keylease.cli.doctor.trace` stops the other process for the search.
"""

from __future__ import annotations

import base64
import os
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_WINDOW: Final = 16
"""A find is this many bytes in a row: of freed memory the beginning is often overwritten."""
_PREFIX: Final = 4
# Any sixteen bytes of a needle contain four whole bytes that begin at a multiple of this.
_STEP: Final = _WINDOW - _PREFIX + 1
_CHUNK: Final = 1 << 22


class Needle(NamedTuple):
    """A secret to search for. It is masked, so that the scanner's own memory does not have it."""

    name: str
    mask: bytes
    masked: bytes

    @classmethod
    def of(cls, name: str, secret: bytes | bytearray | memoryview) -> Needle:
        """Return the needle for a secret; the caller clears its own."""
        mask = os.urandom(len(secret))
        return cls(name, mask, bytes(a ^ b for a, b in zip(secret, mask, strict=True)))

    def unmasked(self, start: int, end: int) -> bytes:
        """Return a part of the secret. Keep it short: the result stays in memory."""
        pairs = zip(self.masked[start:end], self.mask[start:end], strict=True)
        return bytes(a ^ b for a, b in pairs)

    def anchors(self) -> range:
        """Return the starts of short parts. Every find contains at least one of them."""
        return range(0, max(1, len(self.masked) - _PREFIX + 1), _STEP)

    def is_around(self, memory: bytes, at: int, anchor: int) -> bool:
        """Return whether enough of the secret surrounds the anchor at that place."""
        length = len(self.masked)
        start = at - anchor
        first = end = anchor
        while first and self._is_at(memory, start, first - 1):
            first -= 1
        while end < length and self._is_at(memory, start, end):
            end += 1
        return end - first >= min(_WINDOW, length)

    def _is_at(self, memory: bytes, start: int, index: int) -> bool:
        """Return whether one byte of the secret is there, if the secret begins at `start`."""
        at = start + index
        return 0 <= at < len(memory) and memory[at] == self.masked[index] ^ self.mask[index]


class Scan(NamedTuple):
    """The result of a search."""

    hits: dict[str, int]
    """How often each needle was found, whole or in part."""
    places: list[str]
    """For each find the needle's name, the kind of memory and the address."""
    regions: int
    scanned: int
    """Bytes."""
    files: int
    """Bytes of mapped files that the process cannot change: programs and libraries."""
    unreadable: list[str]
    """The names of mappings that no process can read."""


def needles(name: str, secret: bytes | memoryview) -> list[Needle]:
    """Return needles for a secret as it is and in the encodings in which it travels."""
    raw = bytes(secret)
    # The end of base64 depends on the bytes that follow, and those are unknown.
    text = base64.b64encode(raw)[: len(raw) * 4 // 3]
    return [
        Needle.of(name, raw),
        Needle.of(f"{name} in base64", text),
        Needle.of(f"{name} in hexadecimal", raw.hex().encode()),
    ]


def scan(maps: int, memory: int, wanted: Sequence[Needle]) -> Scan:
    """Search every mapping of a process by its open files `maps` and `mem`."""
    hits = {needle.name: 0 for needle in wanted}
    places: list[str] = []
    unreadable: list[str] = []
    regions = scanned = files = 0
    for start, end, permissions, name in _mappings(maps):
        regions += 1
        if "w" not in permissions and name.startswith("/"):
            # A file's own content: the process cannot have written a secret there.
            files += end - start
            continue
        try:
            content = _read(memory, start, end)
        except (OSError, OverflowError):
            unreadable.append(f"{permissions} {name}".strip())
            continue
        scanned += len(content)
        for needle in wanted:
            found = _find(needle, content)
            hits[needle.name] += len(found)
            places += [
                f"{needle.name}: {permissions} {name} {start + at:x}" for at in sorted(found)
            ]
    return Scan(hits, places, regions, scanned, files, unreadable)


def _mappings(maps: int) -> Iterator[tuple[int, int, str, str]]:
    os.lseek(maps, 0, os.SEEK_SET)
    parts = []
    while part := os.read(maps, 1 << 16):
        parts.append(part)
    for line in b"".join(parts).decode("utf-8", "surrogateescape").splitlines():
        fields = line.split(maxsplit=5)
        start, _, end = fields[0].partition("-")
        # proc(5): address, permissions, offset, device, inode, and the name if there is one.
        yield int(start, 16), int(end, 16), fields[1], "".join(fields[5:]) or "anonymous"


def _read(memory: int, start: int, end: int) -> bytes:
    parts = []
    os.lseek(memory, start, os.SEEK_SET)
    while start < end:
        part = os.read(memory, min(end - start, _CHUNK))
        if not part:
            raise OSError(0, "end of file")
        parts.append(part)
        start += len(part)
    return b"".join(parts)


def _find(needle: Needle, content: bytes) -> set[int]:
    """Return where the needle begins, or would begin if all of it were there."""
    found = set()
    for anchor in needle.anchors():
        part = needle.unmasked(anchor, anchor + _PREFIX)
        at = content.find(part)
        while at >= 0:
            if needle.is_around(content, at, anchor):
                found.add(at - anchor)
            at = content.find(part, at + 1)
    return found
