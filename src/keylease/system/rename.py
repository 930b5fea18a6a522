"""Rename with the flags of renameat2(2): never over a file, or two files exchanged in one step.

Python has neither. macOS calls it renameatx_np(2). Windows, old kernels and some file systems have
no such call, and each caller knows what is the next best for it.
"""

from __future__ import annotations

import errno
import os
import sys
from typing import Final

# linux/fs.h: RENAME_NOREPLACE, RENAME_EXCHANGE, AT_FDCWD; sys/stdio.h of macOS: RENAME_EXCL,
# RENAME_SWAP, AT_FDCWD.
if sys.platform == "darwin":
    _NAME, _NO_REPLACE, _EXCHANGE, _HERE = "renameatx_np", 4, 2, -2
else:
    _NAME, _NO_REPLACE, _EXCHANGE, _HERE = "renameat2", 1, 2, -100
_UNKNOWN: Final = (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP)


def without_overwriting(old: str, new: str, directory: int) -> bool:
    """Rename within a directory, never over a file; return whether the system can do that.

    Raises:
        FileExistsError: there is something of the new name.
        OSError: it can, and refuses.
    """
    return _can(directory, old, new, _NO_REPLACE)


def exchange(one: str, other: str) -> bool:
    """Exchange two files in one step, and return whether the system can do that.

    Raises:
        OSError: it can, and refuses.
    """
    return _can(_HERE, one, other, _EXCHANGE)


def _can(directory: int, old: str, new: str, flag: int) -> bool:
    failure = _rename(directory, old, new, flag)
    if failure and failure not in _UNKNOWN:
        raise OSError(failure, os.strerror(failure), new)
    return not failure


def _rename(directory: int, old: str, new: str, flag: int) -> int:
    """Make the system call, and return its errno."""
    if sys.platform == "win32":
        return errno.ENOSYS
    try:
        import ctypes

        call = getattr(ctypes.CDLL(None, use_errno=True), _NAME)
    except (ImportError, AttributeError):
        return errno.ENOSYS
    names = (os.fsencode(old), os.fsencode(new))
    failed = call(directory, names[0], directory, names[1], ctypes.c_uint(flag))
    return ctypes.get_errno() if failed else 0
