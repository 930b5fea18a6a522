"""Operations on one open file, and the messages for errors of the system.

Every `OSError` becomes a `StateError` before it leaves this family, with advice where a person can
act.
"""

from __future__ import annotations

import errno
import io
import os
import stat
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from keylease.errors import StateError, StateMissingError, printable

if TYPE_CHECKING:
    from collections.abc import Callable

    Data = bytes | bytearray | memoryview

TEMPORARY: Final = ".tmp-"
"""Prefix of the name of every unfinished file; readers ignore such files."""

_CHUNK: Final = 1 << 16
# Advice for errors whose name alone does not say what to do.
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


def refusal(what: str, error: OSError) -> StateError:
    """Convert a system error to a `StateError`; `what` says what failed."""
    reason = error.strerror or type(error).__name__
    kind = StateMissingError if isinstance(error, FileNotFoundError) else StateError
    msg = f"{what}: {reason[:1].lower()}{reason[1:]}"
    return kind(msg, _ADVICE.get(error.errno or 0))


def called(label: str, name: str = "") -> str:
    """Return a file's name for messages, escaped to fit on one line."""
    whole = "/".join(part for part in (label, name) if part)
    return f"state file {printable(whole)}" if whole else "the state directory"


def let_go(fd: int) -> None:
    """Close a descriptor and ignore errors."""
    # close(2) can report an error of an earlier write. Data that must be on the disk was synced
    # before, so no such error matters here, and the caller could not undo anything anyway.
    with suppress(OSError):
        os.close(fd)


def kind_of(mode: int) -> str:
    """Return the common name of that file type."""
    return _KINDS.get(stat.S_IFMT(mode), "file of unknown type")


def read_up_to(fd: int, size: int) -> bytes:
    """Return the next `size` bytes of a file, or fewer if it ends before."""
    parts = []
    while size > 0:
        part = os.read(fd, min(size, _CHUNK))
        if not part:
            break
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


def read_into(fd: int, buffer: memoryview) -> int:
    """Read a whole file into `buffer` and return its length; read nothing if it does not fit."""
    size, length = os.fstat(fd).st_size, 0
    if size > len(buffer):
        return size
    with io.FileIO(fd, closefd=False) as file:
        while count := file.readinto(buffer[length:]):
            length += count
    return length


def content_end(fd: int, in_time: Callable[[], None]) -> int:
    """Return the offset where the file's trailing zeros begin; its size if it has none.

    Args:
        fd: The file.
        in_time: Called before each block is read; raises when the time is up.
    """
    end, length = os.fstat(fd).st_size, 1
    while end > 0:
        in_time()
        start = max(0, end - length)
        os.lseek(fd, start, os.SEEK_SET)
        block = read_up_to(fd, end - start)
        if block != bytes(len(block)):
            return start + len(block.rstrip(b"\0"))
        # Most files end with a non-zero byte: one read of one byte finds that.
        end, length = (_hole(fd, end), _CHUNK) if length == 1 else (start, _CHUNK)
    return 0


def _hole(fd: int, size: int) -> int:
    """Return where the hole at the end of the file begins; its size if there is none."""
    if sys.platform == "linux":
        with suppress(OSError):
            hole = os.lseek(fd, 0, os.SEEK_HOLE)
            try:
                os.lseek(fd, hole, os.SEEK_DATA)
            except OSError as error:
                # lseek(2): ENXIO if there is no data beyond.
                if error.errno == errno.ENXIO:
                    return hole
    return size


def write_all(fd: int, data: Data) -> None:
    """Write every byte, in as many calls as it takes."""
    left = memoryview(data)
    # write(2): "the number of bytes written may be less than count"; the next call reports why.
    while left:
        left = left[os.write(fd, left) :]
