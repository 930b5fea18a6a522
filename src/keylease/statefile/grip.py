"""Grip: a file that a reader keeps open, to learn in the last moment that others removed it.

The reader takes its grip right before it uses what it read; who removes the file waits for that
use. So either the use is over before the remover goes on, or it never happens. A file that is
removed gets no new readers, so nobody can delay a remover again and again.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from keylease.statefile.descriptor import let_go

if TYPE_CHECKING:
    from collections.abc import Callable

    from keylease.statefile.directory import Directory

_CLOSED: Final = -1


class Grip:
    """An open file of a directory, which it owns.

    Args:
        directory: Where the file is; it is closed with the grip.
        name: The file's name.
        fd: A descriptor of the file, also closed with the grip.
    """

    def __init__(self, directory: Directory, name: str, fd: int) -> None:
        self._directory = directory
        self._name = name
        self._fd = fd

    def take(self) -> bool:
        """Keep removers waiting from now on, and return whether the file is still there.

        Raises:
            StateError: the system refuses.
        """
        return self._fd != _CLOSED and self._directory.holds(self._name, self._fd)

    def close(self) -> None:
        """Let removers go on. Doing it twice does no harm."""
        fd, self._fd = self._fd, _CLOSED
        if fd != _CLOSED:
            let_go(fd)
            self._directory.close()

    # A library's caller may keep what has a grip for as long as its process runs.
    def __del__(self) -> None:
        """Close what nobody closed."""
        self.close()


class Reader:
    """Whoever had a grip on a file when it was removed.

    Args:
        fd: A descriptor of the removed file.
        try_lock: Returns whether nobody else has a lock on it.
    """

    def __init__(self, fd: int, try_lock: Callable[[int], bool]) -> None:
        self._fd = fd
        self._try_lock = try_lock

    def is_done(self) -> bool:
        """Return whether the reader has let go; then this is closed."""
        if self._fd != _CLOSED:
            try:
                busy = not self._try_lock(self._fd)
            except OSError:
                # A system that cannot tell has let no reader take a grip either.
                busy = False
            if busy:
                return False
            self.close()
        return True

    def close(self) -> None:
        """Wait for the reader no longer."""
        fd, self._fd = self._fd, _CLOSED
        if fd != _CLOSED:
            let_go(fd)


def is_named(found: os.stat_result, fd: int) -> bool:
    """Return whether a name still means the file that was opened.

    The link count would not do: a network file system keeps a removed file that is open, under
    another name.
    """
    return os.path.samestat(found, os.fstat(fd))
