"""The operations of a private directory on every platform.

`steps` has the steps that the operations share. `posix` and `windows` each have a class `Files`
that opens, checks, moves and locks files. An error names the file by its path below the state
directory.
"""

from __future__ import annotations

import errno
import os
import sys
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, TypeVar

from keylease.errors import StateError, UnsafeStateError, printable
from keylease.statefile import descriptor, steps
from keylease.statefile.descriptor import TEMPORARY, called, let_go, refusal, write_all
from keylease.statefile.grip import Grip, Reader, is_named
from keylease.statefile.lock import acquire

if sys.platform == "win32":
    from keylease.statefile.windows import Files
else:
    from keylease.statefile.posix import Files

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import TracebackType
    from typing import Self

    from keylease.statefile.descriptor import Data
    from keylease.system.clock import Deadline

__all__ = ["Directory", "Files"]

_T = TypeVar("_T")


class Directory:
    """A private directory, opened once.

    Args:
        files: The platform's access to its files; closed with the directory.
    """

    def __init__(self, files: Files) -> None:
        self._files = files
        self._crowded = False

    @classmethod
    def open(cls, path: str, *, create: bool = False) -> Self:
        """Open the state directory at the absolute `path`.

        With `create`, make the missing directories; only the user can read them.

        Raises:
            StateMissingError: it is not there.
            UnsafeStateError: other users can read or replace it, or may have made it.
            StateError: the system refuses.
        """
        if not os.path.isabs(path):
            msg = f"the state directory needs an absolute path, not {printable(path)}"
            raise ValueError(msg)
        path = os.path.normpath(path)
        if not os.path.basename(path):
            msg = "the state directory cannot be the root of the file system"
            raise StateError(msg, "name another one in KEYLEASE_STATE_DIR")
        try:
            return cls(Files.open(path, create=create))
        except OSError as error:
            what = f"the state directory {printable(path)} cannot be opened"
            raise refusal(what, error) from error

    def child(self, name: str, *, create: bool = False) -> Self:
        """Open the directory `name` in this one, as `open` does."""
        self._files.judge_name(name)
        try:
            return type(self)(self._files.child(name, create=create))
        except OSError as error:
            raise self._refusal(name, "opened", error) from error

    def close(self) -> None:
        """Close the directory; a second call does nothing."""
        self._files.close()

    def names(self) -> list[str]:
        """Return the names in the directory, without unfinished files, unsorted.

        Raises:
            StateError: the system refuses.
        """
        with self._doing("listed"):
            return [name for name in self._files.names() if not name.startswith(TEMPORARY)]

    def read(self, name: str, limit: int) -> bytes | None:
        """Return the whole file, or `None` if it is not there.

        Raises:
            UnsafeStateError: it is longer than `limit` bytes, or others could have written it.
            StateError: the system refuses.
        """
        data = self._read(name, lambda fd: descriptor.read_up_to(fd, limit + 1))
        if data is not None and len(data) > limit:
            raise self._too_long(name, limit)
        return data

    def read_into(self, name: str, buffer: memoryview) -> int | None:
        """Read the whole file into `buffer` and return its length; `None` if it is not there.

        This makes no other copy of the content.

        Raises:
            UnsafeStateError: it does not fit, or others could have written it.
            StateError: the system refuses.
        """
        length = self._read(name, lambda fd: descriptor.read_into(fd, buffer))
        if length is not None and length > len(buffer):
            raise self._too_long(name, len(buffer))
        return length

    def read_start(self, name: str, size: int) -> bytes | None:
        """Return the first `size` bytes of the file, or all if it has fewer; `None` as for `read`.

        Raises:
            UnsafeStateError: others could have written it.
            StateError: the system refuses.
        """
        return self._read(name, lambda fd: descriptor.read_up_to(fd, size))

    def read_tail(self, name: str, size: int, *, end: int | None = None) -> bytes | None:
        """Return the last `size` bytes of the file, or all if it has fewer; `None` as for `read`.

        Args:
            name: The file.
            size: How many bytes.
            end: The offset at which they end; the end of the file if not given.

        Raises:
            UnsafeStateError: others could have written it.
            StateError: the system refuses.
        """

        def read(fd: int) -> bytes:
            last = os.fstat(fd).st_size if end is None else end
            start = os.lseek(fd, max(0, last - size), os.SEEK_SET)
            return descriptor.read_up_to(fd, last - start)

        return self._read(name, read)

    def content_end(self, name: str, in_time: Callable[[], None]) -> int:
        """Return the offset where the file's trailing zeros begin; its size if it has none.

        Args:
            name: The file. A missing file counts as empty.
            in_time: Called before each block is read; raises when the time is up.

        Raises:
            UnsafeStateError: others could have written it.
            StateError: the system refuses.
        """
        return self._read(name, lambda fd: descriptor.content_end(fd, in_time)) or 0

    def size(self, name: str) -> int | None:
        """Return the file's size in bytes, or `None` if it is not there.

        Raises:
            UnsafeStateError: others could have written it.
            StateError: the system refuses.
        """
        return self._read(name, lambda fd: os.fstat(fd).st_size)

    def create(self, name: str, data: Data) -> None:
        """Make the file `name`, complete and on the disk, or not at all.

        Raises:
            StateError: it exists already, or the system refuses.
            StateMissingError: the directory was removed.
        """
        with self._doing("created", name):
            steps.put(self._files, name, data, self._files.move_to_new)
            try:
                self._files.sync_directory()
            except OSError:
                # The caller assumes that no file was made, so a later reader must not find one.
                steps.discard(self._files, name)
                raise

    def replace(self, name: str, data: Data, *, zeros: int = 0) -> None:
        """Replace or make the file `name` atomically; `data` is on the disk on return.

        If this raises, the old file is unchanged. Only if the last step fails, which makes the
        change survive a power cut, the new file is in place.

        Args:
            name: The file.
            data: Its first bytes.
            zeros: How many zeros follow; they use no disk space where files can have holes.

        Raises:
            UnsafeStateError: others could have written the present file.
            StateMissingError: the directory was removed.
            StateError: the system refuses.
        """
        with self._doing("written", name):
            self._files.judge_name(name)
            with suppress(FileNotFoundError):
                self._files.judge(name, self._files.stat(name))
            steps.put(self._files, name, data, self._files.move, zeros=zeros)
            self._files.sync_directory()

    def rewrite(self, name: str, data: Data) -> None:
        """Overwrite a small file of fixed size in place, without waiting for the disk.

        A power cut may lose the write. If the write stops half-way, remove the file: a lost record
        is harmless, but a torn one looks like an attack.

        Raises:
            UnsafeStateError: others could have written the present file.
            StateMissingError: the directory was removed.
            StateError: the system refuses.
        """
        with self._doing("written", name):
            fd = steps.open_if_there(self._files, name, os.O_WRONLY)
            if fd is None:
                steps.put(self._files, name, data, self._files.move, sync=False)
                return
            try:
                excess = os.fstat(fd).st_size > len(data)
                written = os.write(fd, data)
                if written < len(data):
                    steps.write_rest(self._files, name, fd, memoryview(data)[written:])
                if excess:
                    os.ftruncate(fd, len(data))
            finally:
                let_go(fd)

    def append(self, name: str, data: Data, *, sync: bool) -> None:
        """Add `data` at the end of the file; make the file if it is missing.

        A failed append is cut off again. The caller must hold a lock, or the cut would also remove
        what another process has appended meanwhile.

        Args:
            name: The file.
            data: What to add.
            sync: Return only when the data, and the name of a new file, are on the disk.

        Raises:
            UnsafeStateError: others could have written the present file.
            StateMissingError: the directory was removed.
            StateError: the system refuses.
        """
        with self._doing("written", name):
            fd, made = steps.open_or_make(self._files, name, os.O_WRONLY | os.O_APPEND)
            done = False
            try:
                before = os.fstat(fd).st_size
                try:
                    write_all(fd, data)
                    if sync:
                        self._files.sync_data(fd)
                        if made:
                            self._files.sync_directory()
                    done = True
                finally:
                    if not done:
                        os.ftruncate(fd, before)
            finally:
                let_go(fd)
                if made and not done:
                    steps.discard(self._files, name)

    def truncate(self, name: str, size: int) -> None:
        """Cut the file to its first `size` bytes and sync it.

        Raises:
            StateMissingError: it is not there.
            UnsafeStateError: others could have written it.
            StateError: it is shorter than that, or the system refuses.
        """
        with self._doing("cut", name):
            fd = steps.open_if_there(self._files, name, os.O_WRONLY)
            if fd is None:
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
            try:
                if os.fstat(fd).st_size < size:
                    msg = f"{self._called(name)} is shorter than the {size} bytes to keep"
                    raise StateError(msg)
                os.ftruncate(fd, size)
                self._files.sync_data(fd)
            finally:
                let_go(fd)

    def remove(self, name: str) -> bool:
        """Remove the file and return whether it was there.

        Of a link, only the link is removed, not its target.

        Raises:
            StateError: the system refuses.
        """
        with self._doing("removed", name):
            self._files.judge_name(name)
            try:
                self._files.unlink(name)
            except FileNotFoundError:
                return False
            return True

    def grip(self, name: str) -> Grip | None:
        """Return a grip on the file, or `None` if it is not there; the grip owns this directory.

        Raises:
            UnsafeStateError: others could have written it.
            StateError: the system refuses.
        """
        with self._doing("opened", name):
            fd = steps.open_if_there(self._files, name, os.O_RDONLY)
        return None if fd is None else Grip(self, name, fd)

    def holds(self, name: str, fd: int) -> bool:
        """Make removers of an open file wait, and return whether it still has its name.

        Raises:
            StateError: the system refuses.
        """
        with self._doing("locked", name):
            try:
                return self._files.try_share(fd) and is_named(self._files.stat(name), fd)
            except FileNotFoundError:
                return False

    def withdraw(self, name: str) -> Reader | None:
        """Remove the file as `remove` does; return its reader if one has a grip on it.

        Raises:
            StateError: the system refuses.
        """
        with self._doing("removed", name):
            self._files.judge_name(name)
            fd = steps.open_to_wait(self._files, name)
            reader = None if fd is None else Reader(fd, self._files.try_lock)
            removed = False
            try:
                with suppress(FileNotFoundError):
                    self._files.unlink(name)
                removed = True
            finally:
                if reader is not None and not removed:
                    reader.close()
            return None if reader is None or reader.is_done() else reader

    def move(self, name: str, into: Self, new: str) -> bool:
        """Move the file to `new` in the directory `into`; return whether it was there.

        This needs no disk space and does not wait for the disk.

        Raises:
            StateError: the system refuses.
        """
        with self._doing("moved", name):
            self._files.judge_name(name)
            into._files.judge_name(new)
            try:
                self._files.move_into(name, into._files, new)
            except FileNotFoundError:
                return False
            return True

    def remove_child(self, name: str) -> bool:
        """Remove the directory `name` if it is empty, and return whether this removed it.

        Raises:
            StateError: the system refuses.
        """
        with self._doing("removed", name):
            self._files.judge_name(name)
            try:
                self._files.rmdir(name)
            except FileNotFoundError:
                return False
            except OSError as error:
                # rmdir(3p) of POSIX allows both for a directory that is not empty.
                if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
                    return False
                raise
            return True

    def sweep(self, older_than_seconds: float) -> int:
        """Remove the unfinished files of killed writers; return their number.

        A file whose time is as far in the future is an orphan too: no write takes so long, so the
        clock was set. A live writer whose temporary is removed fails without changing anything.

        Raises:
            StateError: the system refuses.
        """
        swept = 0
        with self._doing("swept"):
            now = time.time()
            for name in self._files.names():
                if not name.startswith(TEMPORARY):
                    continue
                with suppress(FileNotFoundError):
                    if abs(now - self._files.stat(name).st_mtime) > older_than_seconds:
                        self._files.unlink(name)
                        swept += 1
        return swept

    @contextmanager
    def lock(self, name: str, deadline: Deadline) -> Iterator[None]:
        """Hold the lock `name` while the block runs; it excludes other processes and threads.

        The lock file is never removed, since that would let in a second holder. The system frees
        the lock of a process that dies.

        Raises:
            LockTimeoutError: others held it until the deadline.
            StateMissingError: the directory was removed.
            StateError: the system refuses.
        """
        try:
            fd, self._crowded = acquire(self._files, name, deadline, crowded=self._crowded)
        except OSError as error:
            raise self._refusal(name, "locked", error) from error
        try:
            yield
        finally:
            try:
                self._files.unlock(fd)
            except OSError as error:
                raise self._refusal(name, "unlocked", error) from error
            finally:
                let_go(fd)

    def __enter__(self) -> Self:
        """Return the directory; the end of the block closes it."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the directory."""
        self._files.close()

    def _read(self, name: str, read: Callable[[int], _T]) -> _T | None:
        """Call `read` with the open file and return its result; `None` if the file is missing."""
        try:
            fd = steps.open_if_there(self._files, name, os.O_RDONLY)
            if fd is None:
                return None
            try:
                return read(fd)
            finally:
                let_go(fd)
        except OSError as error:
            raise self._refusal(name, "read", error) from error

    def _too_long(self, name: str, limit: int) -> UnsafeStateError:
        msg = f"{self._called(name)} is longer than its limit of {limit} bytes"
        return UnsafeStateError(msg, self._files.removal(name))

    def _called(self, name: str) -> str:
        return called(self._files.label, name)

    def _refusal(self, name: str, done: str, error: OSError) -> StateError:
        return refusal(f"{self._called(name)} cannot be {done}", error)

    @contextmanager
    def _doing(self, done: str, name: str = "") -> Iterator[None]:
        """Convert an `OSError` to a `StateError`."""
        try:
            yield
        except OSError as error:
            raise self._refusal(name, done, error) from error
