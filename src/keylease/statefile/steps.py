"""The steps that the operations on a private directory share, whatever the platform underneath.

A file is judged when it is open, and a new one is whole before it gets a name that counts. So a
crash leaves nothing half-made under such a name. All of it may raise OSError.
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
"""How often a file is opened again that another process exchanged meanwhile."""


def open_if_there(files: Files, name: str, flags: int) -> int | None:
    """Return a descriptor of the file, judged while it had that name; `None` if it is not there."""
    files.judge_name(name)
    for _ in range(_TRIES):
        good, fd = False, None
        try:
            fd = files.open_file(name, flags)
            good = files.is_still(name, fd)
        except FileNotFoundError:
            return None
        except OSError:
            # What cannot even be opened is often no file at all: say that, not the errno.
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
    """Open a file that is to be removed, to wait for its readers; `None` if that cannot be."""
    if files.readers_lock:
        # For writing: NFS gives nobody else a lock that keeps others out.
        with suppress(OSError, UnsafeStateError):
            return open_if_there(files, name, os.O_RDWR)
    return None


def open_new(files: Files, name: str, flags: int) -> int:
    """Return a descriptor of a file that this made, readable by nobody else."""
    fd = files.open_file(name, flags | os.O_CREAT | os.O_EXCL)
    try:
        files.make_private(fd)
    except BaseException:
        let_go(fd)
        discard(files, name)
        raise
    return fd


def open_or_make(files: Files, name: str, flags: int) -> tuple[int, bool]:
    """Return a descriptor and whether the file was made for it."""
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
    """Write a temporary whole, then give it its name."""
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
    """Write what one call left of a record; what stops half-way is removed."""
    done = False
    try:
        write_all(fd, rest)
        done = True
    finally:
        if not done:
            discard(files, name)


def discard(files: Files, name: str) -> None:
    """Remove what was not finished; what cannot be removed is left to `sweep`."""
    with suppress(OSError):
        files.unlink(name)
