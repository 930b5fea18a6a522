"""What the day files prove of what head and pin claim. Asked only where something is amiss.

Between two lines anybody of the same user can take lines from the end and put others there, without
a MAC, whose numbers and digests fit. So that the log goes on beyond the end that was known proves
nothing: the line that was the end has to be there. The audit lock is held by the caller.
"""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING, Final

from keylease.audit.line import BEFORE_MAC, LINE_PREFIX, digest, mac_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from keylease.audit.dayfile import LastLine
    from keylease.audit.head import Head
    from keylease.secret import Secret
    from keylease.statefile import Directory

_SOME_MAC: Final = BEFORE_MAC + b'"'


def has_end(directory: Directory, days: Mapping[str, LastLine], end: Head) -> bool:
    """Return whether the line that was the end is in the log.

    Args:
        directory: The audit directory.
        days: The last line of each day file.
        end: What head or pin say of it.

    Raises:
        StateError: the system refuses.
    """
    return _has(directory, days, end.seq, lambda line: digest(line) == end.digest)


def has_synced(directory: Directory, days: Mapping[str, LastLine], end: Head, key: Secret) -> bool:
    """Return whether the last line that was known to be on the disk is in the log, unforged.

    Raises:
        StateError: the system refuses.
    """
    # A head with a MAC is written with a line that has one: so has the line that was synced.
    return not end.synced or _has(directory, days, end.synced, lambda line: _fits(line, key))


def has_mac(directory: Directory, names: Iterable[str]) -> bool:
    """Return whether a line in these files has a MAC, whoever made it.

    Raises:
        StateError: the system refuses.
    """
    return any(_SOME_MAC in _content(directory, name) for name in names)


def _has(
    directory: Directory,
    days: Mapping[str, LastLine],
    seq: int,
    fits: Callable[[bytes], bool],
) -> bool:
    """Return whether the line of that number is there, and fits."""
    # Within a file the numbers grow. It is in the first that reaches so far, if no clock was set.
    later = sorted((last.seq, name) for name, last in days.items() if last.seq >= seq)
    return any(fits(_line(_content(directory, name), seq)) for _, name in later)


def _content(directory: Directory, name: str) -> bytes:
    return directory.read_tail(name, directory.size(name) or 0) or b""


def _line(content: bytes, seq: int) -> bytes:
    """Return the line of that number, or nothing. Of two the last: `verify` tells of both."""
    start = content.rfind(LINE_PREFIX + b"%d," % seq)
    return content[start : content.find(b"\n", start) + 1] if start >= 0 else b""


def _fits(line: bytes, key: Secret) -> bool:
    if BEFORE_MAC not in line:
        return False
    expected = f'"{mac_of(key, line)}"}}\n'.encode("ascii")
    return hmac.compare_digest(line[line.rindex(BEFORE_MAC) + len(BEFORE_MAC) :], expected)
