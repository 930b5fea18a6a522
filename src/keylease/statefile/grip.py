"""Grip: an open file whose reader can check, right before use, that it was not removed.

A reader takes its grip right before it uses what it read, and a remover waits until that use is
over. So the use ends before the remover goes on, or it never happens. A removed file gets no new
readers, so they cannot delay the remover again and again.
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
    """An open file and its directory.

    Args:
        directory: Where the file is; closed with the grip.
        name: The file's name.
        fd: A descriptor of the file; closed with the grip.
    """

    def __init__(self, directory: Directory, name: str, fd: int) -> None:
        self._directory = directory
        self._name = name
        self._fd = fd

    def take(self) -> bool:
        """Make removers wait from now on, and return whether the file is still there.

        Raises:
            StateError: the system refuses.
        """
        return self._fd != _CLOSED and self._directory.holds(self._name, self._fd)

    def close(self) -> None:
        """Let removers go on; a second call does nothing."""
        fd, self._fd = self._fd, _CLOSED
        if fd != _CLOSED:
            let_go(fd)
            self._directory.close()

    # A caller of the library may keep an object with a grip for as long as its process runs.
    def __del__(self) -> None:
        """Close a forgotten grip."""
        self.close()


class Reader:
    """The process that had a grip on a file when it was removed.

    Args:
        fd: A descriptor of the removed file.
        try_lock: Returns whether no other process has a lock on it.
    """

    def __init__(self, fd: int, try_lock: Callable[[int], bool]) -> None:
        self._fd = fd
        self._try_lock = try_lock

    def is_done(self) -> bool:
        """Return whether the reader has let go; if so, close."""
        if self._fd != _CLOSED:
            try:
                busy = not self._try_lock(self._fd)
            except OSError:
                # Where locks do not work, no reader could take a grip either.
                busy = False
            if busy:
                return False
            self.close()
        return True

    def close(self) -> None:
        """Stop waiting for the reader."""
        fd, self._fd = self._fd, _CLOSED
        if fd != _CLOSED:
            let_go(fd)


def is_named(found: os.stat_result, fd: int) -> bool:
    """Return whether a name still refers to the opened file.

    The link count does not tell: a network file system keeps a removed file that is open, under
    another name.
    """
    return os.path.samestat(found, os.fstat(fd))
