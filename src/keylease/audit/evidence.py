"""Check the claims of head and pin against the day files. Needed only if they disagree.

Between two writes any program of the same user can replace lines at the end by lines without a MAC
whose numbers and digests fit. So a log that is longer than the known end proves nothing: the last
known line itself must be there. The caller holds the audit lock.
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
"""Bytes of one read."""


class Evidence:
    """The day files of one audit directory, as evidence for the claims of head and pin.

    Args:
        directory: The audit directory.
        days: The last line of each day file.
        in_time: Called before each block; raises when the time is over.
    """

    def __init__(
        self, directory: Directory, days: Mapping[str, LastLine], in_time: Callable[[], None]
    ) -> None:
        self._directory = directory
        self._days = days
        self._in_time = in_time

    def has_end(self, end: Head) -> bool:
        """Return whether the log has the last line that the head `end` names.

        Raises:
            StateError: the system refuses.
        """
        return self._has(end.seq, lambda line: digest(line) == end.digest)

    def has_synced(self, end: Head, key: Secret, before: bytes | None = None) -> bool:
        """Return whether the log has the last line that was synced, with a valid MAC.

        Args:
            end: The head that names the line.
            key: The audit key.
            before: If a reboot is to explain missing lines, the line must be older than this time,
                to the second.

        Raises:
            StateError: the system refuses.
        """
        # A head with a MAC is written with a line that has one, so the synced line has one, too.
        return not end.synced or self._has(
            end.synced,
            lambda line: _fits(line, key) and (before is None or _time(line) < before),
        )

    def has_mac(self) -> bool:
        """Return whether any line in the files has a MAC, valid or not.

        Raises:
            StateError: the system refuses.
        """
        return any(_SOME_MAC in block for name in self._days for block in self._blocks(name))

    def _has(self, seq: int, fits: Callable[[bytes], bool]) -> bool:
        """Return whether there is a line of that number that fits."""
        # Within a file the numbers grow, so the line is in the first file that reaches it, unless a
        # clock was set back.
        later = sorted((last.seq, name) for name, last in self._days.items() if last.seq >= seq)
        return any(fits(self._line(name, seq)) for _, name in later)

    def _line(self, name: str, seq: int) -> bytes:
        """Return the last line of that number, or nothing. `verify` reports duplicates."""
        for block in self._blocks(name):
            start = block.rfind(LINE_PREFIX + b"%d," % seq)
            if start >= 0:
                return block[start : block.find(b"\n", start) + 1]
        return b""

    def _blocks(self, name: str) -> Iterator[bytes]:
        """Yield overlapping blocks, last first; each line is complete in one of them."""
        end = self._directory.size(name) or 0
        while end > 0:
            self._in_time()
            yield self._directory.read_tail(name, _BLOCK + LONGEST_LINE, end=end) or b""
            end -= _BLOCK


def _time(line: bytes) -> bytes:
    """Return the time of a line, to the second."""
    return line.partition(b'"time":"')[2][: len("2026-11-22T11:26:21")]


def _fits(line: bytes, key: Secret) -> bool:
    if BEFORE_MAC not in line:
        return False
    expected = f'"{mac_of(key, line)}"}}\n'.encode("ascii")
    return hmac.compare_digest(line[line.rindex(BEFORE_MAC) + len(BEFORE_MAC) :], expected)
