"""Put a file in the place of another: whole, and only if that one is still as it was read.

The new content stands in a temporary in the same directory, named `.NAME.<16 hex digits>.keylease`
and locked by its writer (flock). A temporary without a lock belongs to a writer that was killed:
`sweep` removes it. Where the tool has a lock of its own, `NAME.lock`, the temporary is linked there
first, so no writer that respects the lock runs meanwhile, and the lock is renamed over the file.

Not defended against: a program that writes into the file in place, through a descriptor that it
opened before the exchange.
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
"""A file that is replaced has no more."""
_END: Final = ".keylease"
# Older versions named it NAME.<process id>.keylease.
_NAMES: Final = r"\.{0}\.[0-9a-f]{{16}}\.keylease|{0}\.[0-9]+\.keylease"
# A name has at most 255 bytes, and a character up to four of them.
_MOST_NAME: Final = 50
# Windows has no flock. No writer needs this long.
_ABANDONED_SECONDS: Final = 60.0
_NO_LINKS: Final = (errno.EPERM, errno.ENOTSUP, errno.EMLINK, errno.ENOSYS)


class ChangedError(KeyleaseError):
    """Another program wrote the file, or holds its lock."""

    hint = "it is as that program left it; try again"


def replace(
    path: str, before: bytes | None, after: bytes | None, *, mode: int = 0o600, locked: bool = False
) -> None:
    """Put `after` in the place of the file that has `before` in it. A link is followed.

    Args:
        path: The file.
        before: What was read from it; `None` if it is not there.
        after: What is to be in it; `None` if it is to be removed.
        mode: The mode of a new file, less the umask. One that is there keeps its own.
        locked: Whether the tool locks the file by `NAME.lock`, as git and kubectl do.

    Raises:
        ChangedError: it has something else in it by now, or is locked. It is left so.
        OSError: the system refuses. The file is as it was.
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
    """Return the temporaries of the file that a killed writer left. A link is not followed.

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
    """Remove the temporaries that killed writers left, and their lock; return how many.

    A link is not followed.

    Raises:
        OSError: the system refuses.
    """
    found = abandoned(path)
    lock = _lock_of(path)
    for each in found:
        with suppress(FileNotFoundError):
            # The lock of a killed writer is a second name of its temporary. It goes first: without
            # the temporary it could not be told from the lock of a program that runs.
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
    """Make a locked temporary with this content, and remove what is left of it at the end.

    Args:
        path: The file in whose place it is to come.
        parts: The content.
        mode: The mode, less the umask.
        like: The file whose owner and mode it gets instead.

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
                # An open file cannot be renamed there.
                file.close()
            yield temporary
    finally:
        with suppress(FileNotFoundError):
            os.unlink(temporary)


@contextmanager
def _locked(path: str, temporary: str) -> Iterator[str]:
    """Hold the tool's own lock; return what is to be renamed over the file."""
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
        msg = f"{path} is locked by another program: there is {lock}"
        raise ChangedError(msg, "try again; if no program runs, remove that lock") from None
    try:
        yield lock if linked else temporary
    finally:
        with suppress(FileNotFoundError):
            # After the rename the name may be another program's lock already.
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
    """Give the temporary its name, if no other program has taken that meanwhile.

    Raises:
        FileExistsError: one has.
        OSError: the system refuses.
    """
    try:
        os.link(temporary, path)
    except OSError as error:
        # FAT and some network file systems have no links. There a rename is the next best; it would
        # take the place of a file that was made in this very moment.
        if error.errno not in _NO_LINKS:
            raise
        if os.path.lexists(path):
            raise FileExistsError from None
        os.rename(temporary, path)


def _exchange_checked(temporary: str, path: str, before: bytes) -> None:
    """Put the temporary there, and put the other one back if it is not what was read."""
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
    """Return what is there, as far as it can be equal to what was read before."""
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    try:
        with os.fdopen(os.open(path, flags), "rb") as file:
            return file.read(MOST_BYTES + 1)
    except FileNotFoundError:
        return None


def _resemble(path: str, there: os.stat_result) -> None:
    """Give a new file the owner and the mode of the one whose place it takes.

    Raises:
        OSError: it belongs to another user, and the system does not let us give it away.
    """
    if sys.platform != "win32":
        own = os.stat(path)
        if (own.st_uid, own.st_gid) != (there.st_uid, there.st_gid):
            os.chown(path, there.st_uid, there.st_gid)
    os.chmod(path, stat.S_IMODE(there.st_mode))


def _is_abandoned(path: str) -> bool:
    """Return whether no writer holds the temporary. One that is not ours to open is left alone."""
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
