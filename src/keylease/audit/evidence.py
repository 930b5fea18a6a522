"""What the day files prove of what head and pin claim. Asked only where something is amiss.

Between two lines anybody of the same user can take lines from the end and put others there, without
a MAC, whose numbers and digests fit. So that the log goes on beyond the end that was known proves
nothing: the line that was the end has to be there. The audit lock is held by the caller.
"""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING, Final

from keylease.audit.line import BEFORE_MAC, LINE_PREFIX, LONGEST_LINE, digest, mac_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from keylease.audit.dayfile import LastLine
    from keylease.audit.head import Head
    from keylease.secrets.secret import Secret
    from keylease.statefile import Directory

_SOME_MAC: Final = BEFORE_MAC + b'"'
_BLOCK: Final = 1 << 20
"""How much is read at once."""


class Evidence:
    """The day files of one audit directory, as witnesses of what head and pin claim.

    Args:
        directory: The audit directory.
        days: The last line of each day file.
        in_time: Called before each block is read; it raises when that takes too long.
    """

    def __init__(
        self, directory: Directory, days: Mapping[str, LastLine], in_time: Callable[[], None]
    ) -> None:
        self._directory = directory
        self._days = days
        self._in_time = in_time

    def has_end(self, end: Head) -> bool:
        """Return whether the line that was the end is in the log; `end` is what a head says of it.

        Raises:
            StateError: the system refuses.
        """
        return self._has(end.seq, lambda line: digest(line) == end.digest)

    def has_synced(self, end: Head, key: Secret, before: bytes | None = None) -> bool:
        """Return whether the last line that was known to be on the disk is in the log, unforged.

        Args:
            end: What a head says of it.
            key: The audit key.
            before: The time, to the second, before which it was written if a reboot explains the
                rest.

        Raises:
            StateError: the system refuses.
        """
        # A head with a MAC is written with a line that has one: so has the line that was synced.
        return not end.synced or self._has(
            end.synced,
            lambda line: _fits(line, key) and (before is None or _time(line) < before),
        )

    def has_mac(self) -> bool:
        """Return whether a line in the files has a MAC, whoever made it.

        Raises:
            StateError: the system refuses.
        """
        return any(_SOME_MAC in block for name in self._days for block in self._blocks(name))

    def _has(self, seq: int, fits: Callable[[bytes], bool]) -> bool:
        """Return whether the line of that number is there, and fits."""
        # Within a file the numbers grow. It is in the first that reaches so far, if no clock was
        # set.
        later = sorted((last.seq, name) for name, last in self._days.items() if last.seq >= seq)
        return any(fits(self._line(name, seq)) for _, name in later)

    def _line(self, name: str, seq: int) -> bytes:
        """Return the line of that number, or nothing. Of two the last: `verify` tells of both."""
        for block in self._blocks(name):
            start = block.rfind(LINE_PREFIX + b"%d," % seq)
            if start >= 0:
                return block[start : block.find(b"\n", start) + 1]
        return b""

    def _blocks(self, name: str) -> Iterator[bytes]:
        """Yield the file in pieces, the last first; each line is whole in one of them."""
        end = self._directory.size(name) or 0
        while end > 0:
            self._in_time()
            yield self._directory.read_tail(name, _BLOCK + LONGEST_LINE, end=end) or b""
            end -= _BLOCK


def _time(line: bytes) -> bytes:
    """Return when a line was written, to the second."""
    return line.partition(b'"time":"')[2][: len("2026-11-22T11:26:21")]


def _fits(line: bytes, key: Secret) -> bool:
    if BEFORE_MAC not in line:
        return False
    expected = f'"{mac_of(key, line)}"}}\n'.encode("ascii")
    return hmac.compare_digest(line[line.rindex(BEFORE_MAC) + len(BEFORE_MAC) :], expected)
