"""What is done with one open file, and what is said when the system refuses.

No error of the system leaves this family raw: it becomes a `StateError`, with advice where a person
can do something.
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
"""How the name of every unfinished file begins. No reader takes such a file for a finished one."""

_CHUNK: Final = 1 << 16
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


def refusal(what: str, error: OSError) -> StateError:
    """Return the system's error as one of ours; `what` says what could not be done."""
    reason = error.strerror or type(error).__name__
    kind = StateMissingError if isinstance(error, FileNotFoundError) else StateError
    msg = f"{what}: {reason[:1].lower()}{reason[1:]}"
    return kind(msg, _ADVICE.get(error.errno or 0))


def called(label: str, name: str = "") -> str:
    """Return what a file is called in messages, on one line whatever its name is made of."""
    whole = "/".join(part for part in (label, name) if part)
    return f"state file {printable(whole)}" if whole else "the state directory"


def let_go(fd: int) -> None:
    """Close a descriptor, whatever the system says to it."""
    # close(2) may tell of an error of an earlier write. What must be on the disk was synced before,
    # so there is none left to tell; and no caller could take back a file that it cannot reach.
    with suppress(OSError):
        os.close(fd)


def kind_of(mode: int) -> str:
    """Return what people call a file of that type."""
    return _KINDS.get(stat.S_IFMT(mode), "file of unknown type")


def read_up_to(fd: int, size: int) -> bytes:
    """Return the next bytes of a file: so many, or fewer if it ends before."""
    parts = []
    while size > 0:
        part = os.read(fd, min(size, _CHUNK))
        if not part:
            break
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


def read_into(fd: int, buffer: memoryview) -> int:
    """Read a whole file into `buffer` and return its length; if it is longer, only its length."""
    size, length = os.fstat(fd).st_size, 0
    if size > len(buffer):
        return size
    with io.FileIO(fd, closefd=False) as file:
        while count := file.readinto(buffer[length:]):
            length += count
    return length


def content_end(fd: int, in_time: Callable[[], None]) -> int:
    """Return the place in the file from which on it has nothing but zeros; its size if it has none.

    Args:
        fd: The file.
        in_time: Called before each block is read; it raises when that takes too long.
    """
    end, length = os.fstat(fd).st_size, 1
    while end > 0:
        in_time()
        start = max(0, end - length)
        os.lseek(fd, start, os.SEEK_SET)
        block = read_up_to(fd, end - start)
        if block != bytes(len(block)):
            return start + len(block.rstrip(b"\0"))
        # Most files end with another byte, and cost one read of it.
        end, length = (_hole(fd, end), _CHUNK) if length == 1 else (start, _CHUNK)
    return 0


def _hole(fd: int, size: int) -> int:
    """Return where the hole begins in which the file ends; its size if it does not end in one."""
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
    # write(2): "the number of bytes written may be less than count"; the next call says why.
    while left:
        left = left[os.write(fd, left) :]
