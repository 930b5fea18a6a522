"""Replace a file in one step, and only if it still has the content that was read.

The new content is in a temporary file in the same directory, named
`.NAME.<16 hex digits>.keylease` and locked by its writer (flock). A temporary without a lock
belongs to a killed writer, and `sweep` removes it. If the tool locks the file by `NAME.lock`, the
temporary is first linked to that name, which keeps other writers out, and then renamed to the file.

Not defended against: a program that writes into the file through a descriptor that it opened before
the exchange.
"""

from __future__ import annotations

import errno
import os
import re
import stat
import sys
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final

from keylease.errors import KeyleaseError
from keylease.system.rename import exchange

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

if sys.platform != "win32":
    import fcntl

MOST_BYTES: Final = 1 << 20
"""Maximum size of a file that is replaced."""
_END: Final = ".keylease"
# Older versions named it NAME.<process id>.keylease.
_NAMES: Final = r"\.{0}\.[0-9a-f]{{16}}\.keylease|{0}\.[0-9]+\.keylease"
# A name has at most 255 bytes, and a character up to four of them.
_MOST_NAME: Final = 50
# Windows has no flock, so age decides there. No writer needs this long.
_ABANDONED_SECONDS: Final = 60.0
_NO_LINKS: Final = (errno.EPERM, errno.ENOTSUP, errno.EMLINK, errno.ENOSYS)


class ChangedError(KeyleaseError):
    """Another program wrote the file, or holds its lock."""

    hint = "it was left as that program wrote it; try again"


def replace(
    path: str, before: bytes | None, after: bytes | None, *, mode: int = 0o600, locked: bool = False
) -> None:
    """Replace the content `before` of a file by `after`. A link is followed.

    Args:
        path: The file.
        before: The content that was read; `None` if the file does not exist.
        after: The new content; `None` to remove the file.
        mode: The mode of a new file, less the umask. An existing file keeps its mode.
        locked: Whether the tool locks the file by `NAME.lock`, as git and kubectl do.

    Raises:
        ChangedError: the file has other content by now, or is locked. It is not changed.
        OSError: the system refuses. The file is not changed.
    """
    path = os.path.realpath(path)
    _make_directory(os.path.dirname(path))
    sweep(path)
    like = None
    with suppress(FileNotFoundError):
        like = os.stat(path)
    with temporary_for(path, [after or b""], mode, like) as temporary:
        if locked:
            with _locked(path, temporary) as source:
                _check(path, before)
                _put(source, path, after)
        elif before is None:
            if after is not None:
                _put_new(temporary, path)
        elif after is None:
            os.replace(path, temporary)
            if _read(temporary) != before:
                _put_new(temporary, path)
                raise _changed(path)
        else:
            _exchange_checked(temporary, path, before)


def abandoned(path: str) -> list[str]:
    """Return the temporaries that a killed writer of the file left. A link is not followed.

    Raises:
        OSError: the directory cannot be listed.
    """
    directory, name = os.path.split(os.path.abspath(path))
    pattern = re.compile(_NAMES.format(re.escape(name[:_MOST_NAME])))
    try:
        names = os.listdir(directory)
    except (FileNotFoundError, NotADirectoryError):
        return []
    found = [os.path.join(directory, each) for each in names if pattern.fullmatch(each)]
    return sorted(each for each in found if _is_abandoned(each))


def sweep(path: str) -> int:
    """Remove the temporaries and the lock that killed writers left; return how many.

    A link is not followed.

    Raises:
        OSError: the system refuses.
    """
    found = abandoned(path)
    lock = _lock_of(path)
    for each in found:
        with suppress(FileNotFoundError):
            # The lock of a killed writer is a link to its temporary. Remove the lock first: without
            # the temporary it looks like the lock of a running program.
            if os.path.samefile(each, lock):
                os.unlink(lock)
        with suppress(FileNotFoundError):
            os.unlink(each)
    return len(found)


def _make_directory(path: str) -> None:
    try:
        os.makedirs(path, mode=0o700, exist_ok=True)
    except FileExistsError:
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), path) from None


@contextmanager
def temporary_for(
    path: str, parts: Iterable[bytes], mode: int, like: os.stat_result | None = None
) -> Iterator[str]:
    """Create a locked temporary with this content, and remove it at the end if it is still there.

    Args:
        path: The file that it will replace.
        parts: The content.
        mode: The mode, less the umask.
        like: Use the owner and mode of this file instead.

    Raises:
        OSError: the system refuses.
    """
    directory, name = os.path.split(path)
    temporary = os.path.join(directory, f".{name[:_MOST_NAME]}.{os.urandom(8).hex()}{_END}")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
    fd = os.open(temporary, flags, mode if like is None else 0o600)
    try:
        with os.fdopen(fd, "wb") as file:
            if sys.platform != "win32":
                fcntl.flock(fd, fcntl.LOCK_EX)
            file.writelines(parts)
            file.flush()
            os.fsync(fd)
            if like is not None:
                _resemble(temporary, like)
            if sys.platform == "win32":
                # Windows cannot rename an open file.
                file.close()
            yield temporary
    finally:
        with suppress(FileNotFoundError):
            os.unlink(temporary)


@contextmanager
def _locked(path: str, temporary: str) -> Iterator[str]:
    """Hold the tool's own lock. Yield the path to rename to the file."""
    lock = _lock_of(path)
    linked = True
    try:
        try:
            os.link(temporary, lock)
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            linked = False
            os.close(os.open(lock, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    except FileExistsError:
        msg = f"{path} is locked by another program: {lock} exists"
        raise ChangedError(msg, "try again; if no program uses it, remove that lock") from None
    try:
        yield lock if linked else temporary
    finally:
        with suppress(FileNotFoundError):
            # After the rename another program may already have locked the file.
            if not linked or os.path.samefile(temporary, lock):
                os.unlink(lock)


def _lock_of(path: str) -> str:
    return f"{path}.lock"


def _put(source: str, path: str, after: bytes | None) -> None:
    if after is None:
        os.unlink(path)
    else:
        os.replace(source, path)


def _put_new(temporary: str, path: str) -> None:
    try:
        move_to_new(temporary, path)
    except FileExistsError:
        raise _changed(path) from None


def move_to_new(temporary: str, path: str) -> None:
    """Rename the temporary, unless another program has created the file by now.

    Raises:
        FileExistsError: one has.
        OSError: the system refuses.
    """
    try:
        os.link(temporary, path)
    except OSError as error:
        # FAT and some network file systems have no links. There use a rename; it would replace a
        # file that appears at this very moment.
        if error.errno not in _NO_LINKS:
            raise
        if os.path.lexists(path):
            raise FileExistsError from None
        os.rename(temporary, path)


def _exchange_checked(temporary: str, path: str, before: bytes) -> None:
    """Exchange the two files, and exchange them back if the old content is not `before`."""
    _check(path, before)
    if not exchange(temporary, path):
        os.replace(temporary, path)
        return
    if _read(temporary) != before:
        exchange(temporary, path)
        raise _changed(path)


def _check(path: str, before: bytes | None) -> None:
    if _read(path) != before:
        raise _changed(path)


def _changed(path: str) -> ChangedError:
    msg = f"{path} was changed by another program just now"
    return ChangedError(msg)


def _read(path: str) -> bytes | None:
    """Return the content, or one byte more than the maximum size; `None` if there is no file."""
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    try:
        with os.fdopen(os.open(path, flags), "rb") as file:
            return file.read(MOST_BYTES + 1)
    except FileNotFoundError:
        return None


def _resemble(path: str, there: os.stat_result) -> None:
    """Give a new file the owner and the mode of the file that it replaces.

    Raises:
        OSError: that file belongs to another user, and the system refuses the change of owner.
    """
    if sys.platform != "win32":
        own = os.stat(path)
        if (own.st_uid, own.st_gid) != (there.st_uid, there.st_gid):
            os.chown(path, there.st_uid, there.st_gid)
    os.chmod(path, stat.S_IMODE(there.st_mode))


def _is_abandoned(path: str) -> bool:
    """Return whether no writer locks the temporary; `False` if it cannot be opened."""
    if sys.platform == "win32":
        try:
            age = time.time() - os.stat(path).st_mtime
        except OSError:
            return False
        return abs(age) > _ABANDONED_SECONDS
    else:  # noqa: RET505 - mypy reads code for one platform only behind such a branch
        try:
            fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            return False
        try:
            fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        finally:
            os.close(fd)
        return True
