"""The steps that the operations on a private directory share on every platform.

A file is judged after it is open. A new file is complete before it gets its final name, so a crash
leaves no half-written file under that name. Every function may raise `OSError`.
"""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from keylease.errors import UnsafeStateError
from keylease.statefile.descriptor import TEMPORARY, let_go, write_all

if TYPE_CHECKING:
    from collections.abc import Callable

    from keylease.statefile.descriptor import Data
    from keylease.statefile.directory import Files

_TRIES: Final = 16
"""How often to retry when another process exchanges the file meanwhile."""


def open_if_there(files: Files, name: str, flags: int) -> int | None:
    """Open and judge the file, and return its descriptor; `None` if it is not there."""
    files.judge_name(name)
    for _ in range(_TRIES):
        good, fd = False, None
        try:
            fd = files.open_file(name, flags)
            good = files.is_still(name, fd)
        except FileNotFoundError:
            return None
        except OSError:
            # A failed open often means that it is no regular file: report that, not the errno.
            if fd is None:
                with suppress(OSError):
                    files.judge(name, files.stat(name))
            raise
        finally:
            if fd is not None and not good:
                let_go(fd)
        if good:
            return fd
    raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))


def open_to_wait(files: Files, name: str) -> int | None:
    """Open a file before its removal, to wait for its readers; `None` if that is impossible."""
    if files.readers_lock:
        # For writing, because NFS gives an exclusive lock only on such a descriptor.
        with suppress(OSError, UnsafeStateError):
            return open_if_there(files, name, os.O_RDWR)
    return None


def open_new(files: Files, name: str, flags: int) -> int:
    """Make a file that only the user can read, and return its descriptor."""
    fd = files.open_file(name, flags | os.O_CREAT | os.O_EXCL)
    try:
        files.make_private(fd)
    except BaseException:
        let_go(fd)
        discard(files, name)
        raise
    return fd


def open_or_make(files: Files, name: str, flags: int) -> tuple[int, bool]:
    """Return a descriptor, and whether this made the file."""
    # Another process may make the file between the two calls, and a third remove it again.
    for _ in range(_TRIES):
        fd = open_if_there(files, name, flags)
        if fd is not None:
            return fd, False
        with suppress(FileExistsError):
            return open_new(files, name, flags), True
    raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))


def put(  # noqa: PLR0913 - what is written, where, and how
    files: Files,
    name: str,
    data: Data,
    move: Callable[[str, str], None],
    *,
    sync: bool = True,
    zeros: int = 0,
) -> None:
    """Write a complete temporary file, then give it its name."""
    files.judge_name(name)
    temporary = TEMPORARY + os.urandom(8).hex()
    fd = open_new(files, temporary, os.O_WRONLY)
    moved = False
    try:
        try:
            write_all(fd, data)
            if zeros:
                os.ftruncate(fd, len(data) + zeros)
            if sync:
                files.sync(fd)
        finally:
            let_go(fd)
        move(temporary, name)
        moved = True
    finally:
        if not moved:
            discard(files, temporary)


def write_rest(files: Files, name: str, fd: int, rest: memoryview) -> None:
    """Write the rest of a record; remove the file if that fails."""
    done = False
    try:
        write_all(fd, rest)
        done = True
    finally:
        if not done:
            discard(files, name)


def discard(files: Files, name: str) -> None:
    """Remove an unfinished file; if that fails, `sweep` removes it later."""
    with suppress(OSError):
        files.unlink(name)
