"""What a private directory does, whatever the platform underneath.

The operations are here, and the steps that they share in `primitives`; how a platform opens,
checks, moves and locks is in `posix` and `windows`. An error names the file as it is called below
the state directory.
"""

from __future__ import annotations

import errno
import io
import os
import time
from abc import abstractmethod
from contextlib import suppress
from typing import TYPE_CHECKING

from keylease.errors import StateError, UnsafeStateError
from keylease.statefile.descriptor import content_end, let_go, read_up_to, write_all
from keylease.statefile.grip import Grip, Reader, is_named
from keylease.statefile.lock import Lockable
from keylease.statefile.primitives import TEMPORARY

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from typing import Self

    from keylease.statefile.descriptor import Data


class BaseDirectory(Lockable):
    """A private directory, opened once.

    Args:
        path: Where it is, for advice to people.
        label: Where it is below the state directory, for messages; empty for that one itself.
    """

    @classmethod
    @abstractmethod
    def open(cls, path: str, *, create: bool = False) -> Self:
        """Open the state directory at the absolute `path`.

        With `create`, what is missing of it is made, readable by nobody else.

        Raises:
            StateMissingError: it is not there.
            UnsafeStateError: others could read, replace or have made it.
            StateError: the system refuses.
        """

    @abstractmethod
    def child(self, name: str, *, create: bool = False) -> Self:
        """Open the directory `name` in this one. As `open` otherwise."""

    @abstractmethod
    def close(self) -> None:
        """Let go of the directory. Doing it twice does no harm."""

    def names(self) -> list[str]:
        """Return the names in the directory, without unfinished files, in no order.

        Raises:
            StateError: the system refuses.
        """
        with self._doing("listed"):
            return [name for name in self._list() if not name.startswith(TEMPORARY)]

    def read(self, name: str, limit: int) -> bytes | None:
        """Return the whole file, or `None` if it is not there.

        Raises:
            UnsafeStateError: it has more than `limit` bytes, or others could have written it.
            StateError: the system refuses.
        """
        with self._doing("read", name):
            fd = self._open_if_there(name, os.O_RDONLY)
            if fd is None:
                return None
            try:
                data = read_up_to(fd, limit + 1)
            finally:
                let_go(fd)
        if len(data) > limit:
            msg = f"{self._called(name)} has more than the {limit} bytes that it can have"
            raise UnsafeStateError(msg, self._removal(name))
        return data

    def read_into(self, name: str, buffer: memoryview) -> int | None:
        """Read the whole file into `buffer` and return its length; `None` if it is not there.

        No other copy of its content is made.

        Raises:
            UnsafeStateError: it has more bytes than that, or others could have written it.
            StateError: the system refuses.
        """
        with self._doing("read", name):
            fd = self._open_if_there(name, os.O_RDONLY)
            if fd is None:
                return None
            with io.FileIO(fd) as file:
                size, length = os.fstat(fd).st_size, 0
                while size <= len(buffer) and (count := file.readinto(buffer[length:])):
                    length += count
        if size > len(buffer):
            msg = f"{self._called(name)} has more than the {len(buffer)} bytes that it can have"
            raise UnsafeStateError(msg, self._removal(name))
        return length

    def read_start(self, name: str, size: int) -> bytes | None:
        """Return the first `size` bytes of the file, or all if it has fewer; `None` as for `read`.

        Raises:
            UnsafeStateError: others could have written it.
            StateError: the system refuses.
        """
        return self._read_part(name, size, lambda _: 0)

    def read_tail(self, name: str, size: int, *, end: int | None = None) -> bytes | None:
        """Return the last `size` bytes of the file, or all if it has fewer; `None` as for `read`.

        Args:
            name: The file.
            size: How many bytes.
            end: The place before which they stand; the end of the file if not given.

        Raises:
            UnsafeStateError: others could have written it.
            StateError: the system refuses.
        """
        if end is not None:
            return self._read_part(name, min(size, end), lambda _: max(0, end - size))
        return self._read_part(name, size, lambda fd: max(0, os.fstat(fd).st_size - size))

    def content_end(self, name: str, in_time: Callable[[], None]) -> int:
        """Return the place from which on the file has only zeros: its size if it has none.

        Args:
            name: The file. One that is not there is empty.
            in_time: Called again and again meanwhile; it raises when that takes too long.

        Raises:
            UnsafeStateError: others could have written it.
            StateError: the system refuses.
        """
        with self._doing("read", name):
            fd = self._open_if_there(name, os.O_RDONLY)
            if fd is None:
                return 0
            try:
                return content_end(fd, in_time)
            finally:
                let_go(fd)

    def size(self, name: str) -> int | None:
        """Return the file's size in bytes, or `None` if it is not there.

        Raises:
            UnsafeStateError: others could have written it.
            StateError: the system refuses.
        """
        with self._doing("read", name):
            fd = self._open_if_there(name, os.O_RDONLY)
            if fd is None:
                return None
            try:
                return os.fstat(fd).st_size
            finally:
                let_go(fd)

    def create(self, name: str, data: Data) -> None:
        """Make the file `name`, whole and on the disk, or not at all.

        Raises:
            StateError: there is one already, or the system refuses.
            StateMissingError: the directory is not there any more.
        """
        with self._doing("created", name):
            self._put(name, data, self._move_to_new)
            try:
                self._sync_directory()
            except OSError:
                # The caller will act as if nothing was made, so nothing must be found later.
                self._discard(name)
                raise

    def replace(self, name: str, data: Data, *, zeros: int = 0) -> None:
        """Put `data` in the place of the file `name`, or make it; whole and on the disk.

        If this raises, the file is as it was; or it is the new one, if what failed was the last
        step, which makes the change survive a power cut.

        Args:
            name: The file.
            data: What it begins with.
            zeros: How many zeros follow. They take no room on the disk where files can have holes.

        Raises:
            UnsafeStateError: what is there now could have been put there by others.
            StateMissingError: the directory is not there any more.
            StateError: the system refuses.
        """
        with self._doing("written", name):
            self._judge_name(name)
            with suppress(FileNotFoundError):
                self._judge(name, self._stat(name))
            self._put(name, data, self._move, zeros=zeros)
            self._sync_directory()

    def rewrite(self, name: str, data: Data) -> None:
        """Overwrite a small file of fixed size in place, in one write that may still be lost.

        Nothing waits for the disk. If the write stops half-way the file is removed, for a lost
        record is harmless and a torn one looks like an attack.

        Raises:
            UnsafeStateError: what is there now could have been put there by others.
            StateMissingError: the directory is not there any more.
            StateError: the system refuses.
        """
        with self._doing("written", name):
            fd = self._open_if_there(name, os.O_WRONLY)
            if fd is None:
                self._put(name, data, self._move, sync=False)
                return
            try:
                excess = os.fstat(fd).st_size > len(data)
                written = os.write(fd, data)
                if written < len(data):
                    self._write_rest(name, fd, memoryview(data)[written:])
                if excess:
                    os.ftruncate(fd, len(data))
            finally:
                let_go(fd)

    def append(self, name: str, data: Data, *, sync: bool) -> None:
        """Add `data` at the end of the file, making the file if need be.

        What was written of a failed append is taken back. The caller holds a lock: what another
        process appended in between would be taken back too.

        Args:
            name: The file.
            data: What to add.
            sync: Return only when it is on the disk, the new file's name included.

        Raises:
            UnsafeStateError: what is there now could have been put there by others.
            StateMissingError: the directory is not there any more.
            StateError: the system refuses.
        """
        with self._doing("written", name):
            fd, made = self._open_or_make(name, os.O_WRONLY | os.O_APPEND)
            done = False
            try:
                before = os.fstat(fd).st_size
                try:
                    write_all(fd, data)
                    if sync:
                        self._sync_data(fd)
                        if made:
                            self._sync_directory()
                    done = True
                finally:
                    if not done:
                        os.ftruncate(fd, before)
            finally:
                let_go(fd)
                if made and not done:
                    self._discard(name)

    def truncate(self, name: str, size: int) -> None:
        """Cut the file to its first `size` bytes, on the disk.

        Raises:
            StateMissingError: it is not there.
            UnsafeStateError: others could have written it.
            StateError: it is shorter than that, or the system refuses.
        """
        with self._doing("cut", name):
            fd = self._open_existing(name, os.O_WRONLY)
            try:
                if os.fstat(fd).st_size < size:
                    msg = f"{self._called(name)} is shorter than the {size} bytes to keep"
                    raise StateError(msg)
                os.ftruncate(fd, size)
                self._sync_data(fd)
            finally:
                let_go(fd)

    def remove(self, name: str) -> bool:
        """Remove the file and return whether it was there.

        A link is removed itself; what it points to is left alone.

        Raises:
            StateError: the system refuses.
        """
        with self._doing("removed", name):
            self._judge_name(name)
            try:
                self._unlink(name)
            except FileNotFoundError:
                return False
            return True

    def grip(self, name: str) -> Grip | None:
        """Return a grip on the file, which owns this directory; `None` if it is not there.

        Raises:
            UnsafeStateError: others could have written it.
            StateError: the system refuses.
        """
        with self._doing("opened", name):
            fd = self._open_if_there(name, os.O_RDONLY)
        return None if fd is None else Grip(self, name, fd)

    def holds(self, name: str, fd: int) -> bool:
        """Keep removers of an open file waiting, and return whether it still has its name.

        Raises:
            StateError: the system refuses.
        """
        with self._doing("locked", name):
            try:
                return self._try_share(fd) and is_named(self._stat(name), fd)
            except FileNotFoundError:
                return False

    def withdraw(self, name: str) -> Reader | None:
        """Remove the file as `remove` does, and return its reader if one has a grip on it now.

        Raises:
            StateError: the system refuses.
        """
        with self._doing("removed", name):
            self._judge_name(name)
            fd = self._open_to_wait(name)
            reader = None if fd is None else Reader(fd, self._try_lock)
            removed = False
            try:
                with suppress(FileNotFoundError):
                    self._unlink(name)
                removed = True
            finally:
                if reader is not None and not removed:
                    reader.close()
            return None if reader is None or reader.is_done() else reader

    def move(self, name: str, into: Self, new: str) -> bool:
        """Give the file another place and name, and return whether it was there.

        It needs no room for the file, and nothing waits for the disk.

        Raises:
            StateError: the system refuses.
        """
        with self._doing("moved", name):
            self._judge_name(name)
            into._judge_name(new)
            try:
                self._move_into(name, into, new)
            except FileNotFoundError:
                return False
            return True

    def remove_child(self, name: str) -> bool:
        """Remove the directory `name` if it is empty, and return whether this removed it.

        Raises:
            StateError: the system refuses.
        """
        with self._doing("removed", name):
            self._judge_name(name)
            try:
                self._rmdir(name)
            except FileNotFoundError:
                return False
            except OSError as error:
                # rmdir(3p) of POSIX allows both for a directory with something in it.
                if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
                    return False
                raise
            return True

    def sweep(self, older_than_seconds: float) -> int:
        """Remove what killed writers left unfinished, and return how many files that were.

        A file whose time is as far in the future is an orphan too: nobody writes for so long, it is
        the clock that was set. A writer whose file is taken away fails, and leaves all as it was.

        Raises:
            StateError: the system refuses.
        """
        swept = 0
        with self._doing("swept"):
            now = time.time()
            for name in self._list():
                if not name.startswith(TEMPORARY):
                    continue
                with suppress(FileNotFoundError):
                    if abs(now - self._stat(name).st_mtime) > older_than_seconds:
                        self._unlink(name)
                        swept += 1
        return swept

    def __enter__(self) -> Self:
        """Return the directory; it is closed when the block is left."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close, whatever happened."""
        self.close()

    def _read_part(self, name: str, size: int, start: Callable[[int], int]) -> bytes | None:
        with self._doing("read", name):
            fd = self._open_if_there(name, os.O_RDONLY)
            if fd is None:
                return None
            try:
                os.lseek(fd, start(fd), os.SEEK_SET)
                return read_up_to(fd, size)
            finally:
                let_go(fd)
