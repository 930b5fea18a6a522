"""The steps that all operations on a private directory share, whatever the platform underneath.

How a platform opens, checks, moves and locks is in `posix` and `windows`; in which order it is
done, so that a crash leaves nothing half-made under a name that counts, is here, once.
"""

from __future__ import annotations

import errno
import os
from abc import ABC, abstractmethod
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final

from keylease.statefile.descriptor import let_go, printable, refusal, write_all

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Self

    from keylease.statefile.descriptor import Data

TEMPORARY: Final = ".tmp-"
"""How the name of every unfinished file begins. No reader takes such a file for a finished one."""

_TRIES: Final = 16
"""How often a file is opened again that another process exchanged meanwhile."""


class Primitives(ABC):
    """A directory of one platform, and the steps that the operations on it share.

    Args:
        path: Where it is, for advice to people.
        label: Where it is below the state directory, for messages; empty for that one itself.
    """

    def __init__(self, path: str, label: str) -> None:
        self._path = path
        self._label = label

    # What a platform does in its own way. All of it may raise OSError.

    @abstractmethod
    def _open_file(self, name: str, flags: int) -> int:
        """Open a file in a way that follows nothing, waits for nothing and is not inherited."""

    @abstractmethod
    def _stat(self, name: str) -> os.stat_result:
        """Return what is at `name`, following nothing."""

    @abstractmethod
    def _judge(self, name: str, found: os.stat_result) -> None:
        """Refuse a file that others can read or could have written."""

    @abstractmethod
    def _is_still(self, name: str, fd: int) -> bool:
        """Return whether `name` is still the file that was opened and judged."""

    @abstractmethod
    def _judge_name(self, name: str) -> None:
        """Refuse what is not the name of one file in this directory."""

    @abstractmethod
    def _make_private(self, fd: int) -> None:
        """Undo what the umask did to a file that was just made."""

    @abstractmethod
    def _move(self, old: str, new: str) -> None:
        """Rename, in one step, over what is there."""

    @abstractmethod
    def _move_into(self, old: str, into: Self, new: str) -> None:
        """Rename, in one step, into another directory and over what is there."""

    @abstractmethod
    def _move_to_new(self, old: str, new: str) -> None:
        """Rename, in one step, but never over what is there."""

    @abstractmethod
    def _unlink(self, name: str) -> None:
        """Remove a file."""

    @abstractmethod
    def _rmdir(self, name: str) -> None:
        """Remove an empty directory."""

    @abstractmethod
    def _list(self) -> list[str]:
        """Return every name in the directory."""

    @abstractmethod
    def _sync(self, fd: int) -> None:
        """Return when the file is on the disk."""

    @abstractmethod
    def _sync_data(self, fd: int) -> None:
        """Return when the file's bytes and size are on the disk; its times may wait."""

    @abstractmethod
    def _sync_directory(self) -> None:
        """Return when the directory's names are on the disk."""

    @abstractmethod
    def _try_lock(self, fd: int) -> bool:
        """Take the lock if it is free, and return whether it was."""

    @abstractmethod
    def _try_share(self, fd: int) -> bool:
        """Take the lock beside other readers if no remover has it, and return whether it worked.

        Where a platform has no such lock, it is as good as taken.
        """

    @abstractmethod
    def _open_to_wait(self, name: str) -> int | None:
        """Open a file that is to be removed, to wait for its readers; `None` if that cannot be."""

    @abstractmethod
    def _unlock(self, fd: int) -> None:
        """Free the lock."""

    @abstractmethod
    def _removal(self, name: str) -> str:
        """Return advice for a file that must go."""

    # The steps that the operations share.

    def _open_existing(self, name: str, flags: int) -> int:
        self._judge_name(name)
        for _ in range(_TRIES):
            try:
                fd = self._open_file(name, flags)
            except FileNotFoundError:
                raise
            except OSError:
                # What cannot even be opened is often no file at all: say that, not the errno.
                with suppress(OSError):
                    self._judge(name, self._stat(name))
                raise
            good = False
            try:
                self._judge(name, os.fstat(fd))
                good = self._is_still(name, fd)
            finally:
                if not good:
                    let_go(fd)
            if good:
                return fd
        raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    def _open_if_there(self, name: str, flags: int) -> int | None:
        try:
            return self._open_existing(name, flags)
        except FileNotFoundError:
            return None

    def _open_new(self, name: str, flags: int) -> int:
        fd = self._open_file(name, flags | os.O_CREAT | os.O_EXCL)
        try:
            self._make_private(fd)
        except BaseException:
            let_go(fd)
            self._discard(name)
            raise
        return fd

    def _open_or_make(self, name: str, flags: int) -> tuple[int, bool]:
        """Return a descriptor and whether the file was made for it."""
        # Another process may make the file between the two calls, and a third remove it again.
        for _ in range(_TRIES):
            try:
                return self._open_existing(name, flags), False
            except FileNotFoundError:
                with suppress(FileExistsError):
                    return self._open_new(name, flags), True
        raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    def _put(
        self,
        name: str,
        data: Data,
        move: Callable[[str, str], None],
        *,
        sync: bool = True,
        zeros: int = 0,
    ) -> None:
        """Write a temporary whole, then give it its name."""
        self._judge_name(name)
        temporary = TEMPORARY + os.urandom(8).hex()
        fd = self._open_new(temporary, os.O_WRONLY)
        moved = False
        try:
            try:
                write_all(fd, data)
                if zeros:
                    os.ftruncate(fd, len(data) + zeros)
                if sync:
                    self._sync(fd)
            finally:
                let_go(fd)
            move(temporary, name)
            moved = True
        finally:
            if not moved:
                self._discard(temporary)

    def _write_rest(self, name: str, fd: int, rest: memoryview) -> None:
        done = False
        try:
            write_all(fd, rest)
            done = True
        finally:
            if not done:
                self._discard(name)

    def _discard(self, name: str) -> None:
        """Remove what was not finished; what cannot be removed is left to `sweep`."""
        with suppress(OSError):
            self._unlink(name)

    def _called(self, name: str = "") -> str:
        """Return the name for messages, on one line whatever it is made of."""
        label = "/".join(part for part in (self._label, name) if part)
        return f"state file {printable(label)}" if label else "the state directory"

    @contextmanager
    def _doing(self, done: str, name: str = "") -> Iterator[None]:
        """Turn the system's errors into ours."""
        try:
            yield
        except OSError as error:
            what = f"{self._called(name)} cannot be {done}"
            raise refusal(what, error) from error
