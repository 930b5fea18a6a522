"""What a private directory does, whatever the platform underneath.

The order of the system calls is here, once; how a platform opens, checks, moves and locks is in
`posix` and `windows`. No error of the system leaves this family raw: it becomes a `StateError` that
names the file relative to the state directory.
"""

from __future__ import annotations

import errno
import os
import stat
import time
from abc import ABC, abstractmethod
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final

from keylease.errors import LockTimeoutError, StateError, StateMissingError, UnsafeStateError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import TracebackType
    from typing import Self

    from keylease.clock import Deadline

    Data = bytes | bytearray | memoryview

TEMPORARY: Final = ".tmp-"
"""How the name of every unfinished file begins. No reader takes such a file for a finished one."""

_CHUNK: Final = 1 << 16
_TRIES: Final = 16
"""How often a file is opened again that another process exchanged meanwhile."""

# The pauses between two tries for a lock, in seconds. They grow while the wait is young, so that a
# short hold costs little and a crowd does not burn the processor; and they shrink again with age,
# so that who has waited longest asks most often. Measured with 64 processes that take the lock
# over and over for 5 ms each, the longest wait is 1.2 s. Without the shrinking it was 3 s, for the
# lock is then a lottery; without the courtesy of `_acquire` 4 s; with neither 10 s.
_SHORTEST_PAUSE: Final = 0.001
_LONGEST_PAUSE: Final = 0.015
_PATIENCE: Final = 0.002
"""Pause times age of an old wait, in square seconds: after 0.2 s one asks every 10 ms."""

# What a person can do about an error, where that is not plain from its name.
_ADVICE: Final = {
    errno.ENOSPC: "make room on the disk, then try again",
    errno.EDQUOT: "make room within the disk quota, then try again",
    errno.EFBIG: "raise the file size limit (ulimit -f), then try again",
    errno.EMFILE: "raise the limit of open files (ulimit -n), then try again",
    errno.ENFILE: "the machine has too many files open; close some programs, then try again",
    errno.EROFS: "make the file system of the state directory writable, then try again",
    errno.EIO: "check the disk: the system could not read or write it",
}

_KINDS: Final = {
    stat.S_IFREG: "regular file",
    stat.S_IFDIR: "directory",
    stat.S_IFLNK: "symbolic link",
    stat.S_IFIFO: "FIFO",
    stat.S_IFSOCK: "socket",
    stat.S_IFCHR: "character device",
    stat.S_IFBLK: "block device",
}


class BaseDirectory(ABC):
    """A private directory, opened once.

    Args:
        path: Where it is, for advice to people.
        label: Where it is below the state directory, for messages; empty for that one itself.
    """

    def __init__(self, path: str, label: str) -> None:
        self._path = path
        self._label = label
        self._crowded = False

    # What a caller can do.

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
                data = _read_up_to(fd, limit + 1)
            finally:
                let_go(fd)
        if len(data) > limit:
            msg = f"{self._called(name)} has more than the {limit} bytes that it can have"
            raise UnsafeStateError(msg, self._removal(name))
        return data

    def read_start(self, name: str, size: int) -> bytes | None:
        """Return the first `size` bytes of the file, or all if it has fewer; `None` as for `read`.

        Raises:
            UnsafeStateError: others could have written it.
            StateError: the system refuses.
        """
        return self._read_part(name, size, lambda _: 0)

    def read_tail(self, name: str, size: int) -> bytes | None:
        """Return the last `size` bytes of the file, or all if it has fewer; `None` as for `read`.

        Raises:
            UnsafeStateError: others could have written it.
            StateError: the system refuses.
        """
        return self._read_part(name, size, lambda fd: max(0, os.fstat(fd).st_size - size))

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

    def replace(self, name: str, data: Data) -> None:
        """Put `data` in the place of the file `name`, or make it; whole and on the disk.

        If this raises, the file is as it was; or it is the new one, if what failed was the last
        step, which makes the change survive a power cut.

        Raises:
            UnsafeStateError: what is there now could have been put there by others.
            StateMissingError: the directory is not there any more.
            StateError: the system refuses.
        """
        with self._doing("written", name):
            self._judge_name(name)
            with suppress(FileNotFoundError):
                self._judge(name, self._stat(name))
            self._put(name, data, self._move)
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
                    _write_all(fd, data)
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

    @contextmanager
    def lock(self, name: str, deadline: Deadline) -> Iterator[None]:
        """Hold the lock `name` while the block runs; one process at a time, one thread at a time.

        The file stays for ever: who removes a lock file lets in a second holder. The system frees
        the lock of a process that dies.

        Raises:
            LockTimeoutError: others held it until the deadline.
            StateMissingError: the directory is not there any more.
            StateError: the system refuses.
        """
        fd = self._acquire(name, deadline)
        try:
            yield
        finally:
            with self._doing("unlocked", name):
                try:
                    self._unlock(fd)
                finally:
                    let_go(fd)

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
    def _unlock(self, fd: int) -> None:
        """Free the lock."""

    @abstractmethod
    def _removal(self, name: str) -> str:
        """Return advice for a file that must go."""

    # The steps that the operations share.

    def _read_part(self, name: str, size: int, start: Callable[[int], int]) -> bytes | None:
        with self._doing("read", name):
            fd = self._open_if_there(name, os.O_RDONLY)
            if fd is None:
                return None
            try:
                os.lseek(fd, start(fd), os.SEEK_SET)
                return _read_up_to(fd, size)
            finally:
                let_go(fd)

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
        self, name: str, data: Data, move: Callable[[str, str], None], *, sync: bool = True
    ) -> None:
        """Write a temporary whole, then give it its name."""
        self._judge_name(name)
        temporary = TEMPORARY + os.urandom(8).hex()
        fd = self._open_new(temporary, os.O_WRONLY)
        moved = False
        try:
            try:
                _write_all(fd, data)
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
            _write_all(fd, rest)
            done = True
        finally:
            if not done:
                self._discard(name)

    def _discard(self, name: str) -> None:
        """Remove what was not finished; what cannot be removed is left to `sweep`."""
        with suppress(OSError):
            self._unlink(name)

    def _acquire(self, name: str, deadline: Deadline) -> int:
        with self._doing("locked", name):
            started = time.monotonic()
            tries = 0
            # Who had to queue the last time lets others go first. Else a process that takes the
            # lock again and again would take it back before any sleeper woke.
            if self._crowded:
                time.sleep(min(_pause(tries, 0.0), deadline.remaining()))
            while True:
                fd, _ = self._open_or_make(name, os.O_RDWR)
                held = False
                try:
                    while not self._try_lock(fd):
                        left = deadline.remaining()
                        if left == 0:
                            msg = f"{self._called(name)} is held by another process for too long"
                            raise LockTimeoutError(msg)
                        time.sleep(min(_pause(tries, time.monotonic() - started), left))
                        tries += 1
                    # Somebody may have removed the whole state while this process waited; a lock
                    # on a file without a name keeps nobody out.
                    held = os.fstat(fd).st_nlink != 0
                finally:
                    if not held:
                        let_go(fd)
                if held:
                    self._crowded = tries > 0
                    return fd

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


def refusal(what: str, error: OSError) -> StateError:
    """Return the system's error as one of ours; `what` says what could not be done."""
    reason = error.strerror or type(error).__name__
    kind = StateMissingError if isinstance(error, FileNotFoundError) else StateError
    msg = f"{what}: {reason[:1].lower()}{reason[1:]}"
    return kind(msg, _ADVICE.get(error.errno or 0))


def let_go(fd: int) -> None:
    """Close a descriptor, whatever the system says to it."""
    # close(2) may tell of an error of an earlier write. What must be on the disk was synced before,
    # so there is none left to tell; and no caller could take back a file that it cannot reach.
    with suppress(OSError):
        os.close(fd)


def kind_of(mode: int) -> str:
    """Return what people call a file of that type."""
    return _KINDS.get(stat.S_IFMT(mode), "file of unknown type")


def printable(text: str) -> str:
    """Return `text`, escaped if it would break the line or move the cursor."""
    return text if text.isprintable() else ascii(text)[1:-1]


def _read_up_to(fd: int, size: int) -> bytes:
    parts = []
    while size > 0:
        part = os.read(fd, min(size, _CHUNK))
        if not part:
            break
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


def _write_all(fd: int, data: Data) -> None:
    left = memoryview(data)
    # write(2): "the number of bytes written may be less than count"; the next call says why.
    while left:
        left = left[os.write(fd, left) :]


def _pause(tries: int, age: float) -> float:
    growing = min(_LONGEST_PAUSE, _SHORTEST_PAUSE * (1 << min(tries, 8)))
    shrinking = max(_SHORTEST_PAUSE, _PATIENCE / age) if age > 0 else growing
    # Jitter, or processes that were started together would ask together for ever. It needs no
    # quality, only no import: the random module costs more than the wait.
    return min(growing, shrinking) * (0.5 + os.urandom(1)[0] / 255)
