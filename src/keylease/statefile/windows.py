"""Private files on Windows, where paths replace directory descriptors.

The access list of the user's AppData protects the files, and new files inherit it; owners and modes
are not judged. A link (any reparse point) in place of a file or directory of ours is refused.
Readers and virus scanners can briefly block replacing or removing a file; this retries for a
bounded time. Windows cannot flush a directory: after a power cut a new name may be missing.

Not defended against: administrators, and other programs of the same user.
"""

from __future__ import annotations

import os
import stat
import sys
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Final, TypeVar

from keylease.errors import UnsafeStateError, printable
from keylease.statefile.descriptor import TEMPORARY, called, kind_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Self

# System error codes of Windows: ERROR_ACCESS_DENIED, ERROR_SHARING_VIOLATION, ERROR_LOCK_VIOLATION.
# A real refusal has the first code too; only retrying tells the two apart.
_BUSY: Final = (5, 32, 33)
_LOCKED: Final = 33
_BUSY_SECONDS: Final = 1.0
_BUSY_PAUSE: Final = 0.01

# "Naming Files, Paths, and Namespaces": devices in every directory, with any extension.
_DEVICES: Final = frozenset(
    ["CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$"]
    + [f"{port}{digit}" for port in ("COM", "LPT") for digit in "0123456789¹²³"]
)
_FORBIDDEN: Final = frozenset('<>:"/\\|?*') | {chr(code) for code in range(32)}

if sys.platform == "win32":
    import ctypes
    import msvcrt
    from ctypes import wintypes

    _T = TypeVar("_T")

    # CreateFileW, with the values of its documentation.
    _ACCESS = {
        os.O_RDONLY: 0x80000000,  # GENERIC_READ
        os.O_WRONLY: 0x40000000,  # GENERIC_WRITE
        os.O_RDWR: 0xC0000000,
    }
    _SHARE_ALL = 1 | 2 | 4  # FILE_SHARE_READ, _WRITE, _DELETE
    _CREATE_NEW = 1
    _OPEN_EXISTING = 3
    _OPEN_REPARSE_POINT = 0x00200000
    _INVALID = wintypes.HANDLE(-1).value
    _kernel32 = ctypes.WinDLL("kernel32", use_last_error=True)
    _LockFile = _kernel32.LockFile
    _UnlockFile = _kernel32.UnlockFile
    for _function in (_LockFile, _UnlockFile):
        _function.restype = wintypes.BOOL
        _function.argtypes = (wintypes.HANDLE, *(wintypes.DWORD,) * 4)
    _CreateFileW = _kernel32.CreateFileW
    _CreateFileW.restype = wintypes.HANDLE
    _CreateFileW.argtypes = (
        wintypes.LPCWSTR,
        wintypes.DWORD,
        wintypes.DWORD,
        wintypes.LPVOID,
        wintypes.DWORD,
        wintypes.DWORD,
        wintypes.HANDLE,
    )

    class Files:
        """The files of one directory, which is checked once and then used by path.

        Args:
            path: Its path.
            label: Its path below the state directory, for messages; empty for that directory.
        """

        readers_lock = False
        """Whether a remover can wait for the readers of a file."""
        # NOTE: a lock on Windows blocks readers. So a remover waits for no reader, and a reader
        # only checks right before use that the file is there.

        def __init__(self, path: str, label: str) -> None:
            self._path = path
            self.label = label

        @classmethod
        def open(cls, path: str, *, create: bool) -> Self:
            """Open the state directory at the absolute `path`."""
            if create:
                os.makedirs(os.path.dirname(path), exist_ok=True)
            _open_directory(path, create=create)
            return cls(path, "")

        def child(self, name: str, *, create: bool) -> Self:
            """Open the directory `name` in this one."""
            path = self._at(name)
            _open_directory(path, create=create)
            return type(self)(path, "/".join(part for part in (self.label, name) if part))

        def close(self) -> None:
            """Do nothing: an open handle would keep the directory from being removed."""

        def open_file(self, name: str, flags: int) -> int:
            """Open a file without following links, without waiting, and not inheritable."""
            path = self._at(name)

            def attempt() -> int:
                try:
                    return _open(path, flags)
                except PermissionError:
                    # A file under removal is denied briefly; a directory is denied always.
                    with suppress(OSError):
                        self.judge(name, os.lstat(path))
                    raise

            return _patiently(attempt)

        def stat(self, name: str) -> os.stat_result:
            """Return the status of `name` without following a link."""
            return os.lstat(self._at(name))

        def judge(self, name: str, found: os.stat_result) -> None:
            """Refuse a file that others can read or could have written."""
            if _is_reparse_point(found) or not stat.S_ISREG(found.st_mode):
                msg = f"{called(self.label, name)} is a {_kind(found)}, not a regular file"
                raise UnsafeStateError(msg, self.removal(name))
            if found.st_nlink > 1:
                msg = f"{called(self.label, name)} has {found.st_nlink} names, not one"
                raise UnsafeStateError(msg, self.removal(name))

        def is_still(self, name: str, fd: int) -> bool:
            """Refuse a bad file, and return whether `name` is still the opened file."""
            # No link was followed. A second name that existed only for a moment goes undetected.
            self.judge(name, os.fstat(fd))
            return True

        def judge_name(self, name: str) -> None:
            """Refuse anything but the name of one file in this directory."""
            if (
                not _FORBIDDEN.isdisjoint(name)
                or name[-1:] in ("", ".", " ")
                or name.partition(".")[0].rstrip().upper() in _DEVICES
                or name.startswith(TEMPORARY)
            ):
                msg = f"{name!r} is not the name of one state file"
                raise ValueError(msg)

        def make_private(self, fd: int) -> None:
            """Do nothing: the access list is inherited from the directory."""

        def move(self, old: str, new: str) -> None:
            """Rename atomically and replace an existing file."""
            _patiently(lambda: os.replace(self._at(old), self._at(new)))

        def move_into(self, old: str, into: Self, new: str) -> None:
            """Rename atomically into another directory and replace an existing file."""
            _patiently(lambda: os.replace(self._at(old), into._at(new)))

        def move_to_new(self, old: str, new: str) -> None:
            """Rename atomically; fail if the new name exists."""
            # os.rename: "On Windows, if dst exists a FileExistsError is always raised".
            _patiently(lambda: os.rename(self._at(old), self._at(new)))

        def unlink(self, name: str) -> None:
            """Remove a file."""
            _patiently(lambda: os.unlink(self._at(name)))

        def rmdir(self, name: str) -> None:
            """Remove an empty directory."""
            _patiently(lambda: os.rmdir(self._at(name)))

        def names(self) -> list[str]:
            """Return every name in the directory."""
            return os.listdir(self._path)

        def sync(self, fd: int) -> None:
            """Return when the file is on the disk."""
            os.fsync(fd)

        def sync_data(self, fd: int) -> None:
            """Return when the file's bytes and size, but not its times, are on the disk."""
            os.fsync(fd)

        def sync_directory(self) -> None:
            """Do nothing: Windows has no such call."""

        def try_lock(self, fd: int) -> bool:
            """Take the lock if it is free, and return whether it was."""
            # The byte need not exist: no program reads or writes this file. msvcrt.locking does the
            # same, but its errors depend on the C library.
            if _LockFile(msvcrt.get_osfhandle(fd), 0, 0, 1, 0):
                return True
            code = ctypes.get_last_error()
            if code == _LOCKED:
                return False
            raise ctypes.WinError(code)

        def try_share(self, fd: int) -> bool:  # noqa: ARG002 - the other platform's
            """Return True: readers take no lock on Windows."""
            return True

        def unlock(self, fd: int) -> None:
            """Free the lock."""
            if not _UnlockFile(msvcrt.get_osfhandle(fd), 0, 0, 1, 0):
                raise ctypes.WinError(ctypes.get_last_error())

        def removal(self, name: str) -> str:
            """Return advice for a file that must go."""
            return f'find out who put it there, then move it away: "{printable(self._at(name))}"'

        def _at(self, name: str) -> str:
            return os.path.join(self._path, name)

    def _open_directory(path: str, *, create: bool) -> None:
        """Make the directory if `create`, and refuse anything but a directory."""
        if create:
            with suppress(FileExistsError):
                os.mkdir(path, 0o700)
        found = os.lstat(path)
        if _is_reparse_point(found) or not stat.S_ISDIR(found.st_mode):
            msg = f"the directory {printable(path)} is a {_kind(found)}, not a directory"
            raise UnsafeStateError(msg, "find out who put it there, then move it away")

    def _is_reparse_point(found: os.stat_result) -> bool:
        return bool(found.st_file_attributes & stat.FILE_ATTRIBUTE_REPARSE_POINT)

    def _kind(found: os.stat_result) -> str:
        return "reparse point" if _is_reparse_point(found) else kind_of(found.st_mode)

    def _open(path: str, flags: int) -> int:
        """Open a file as open(2) does with O_NOFOLLOW, and let others replace it meanwhile.

        os.open follows links, and its descriptor keeps others from replacing or removing the file.
        """
        access = _ACCESS[flags & (os.O_RDONLY | os.O_WRONLY | os.O_RDWR)]
        disposition = _CREATE_NEW if flags & os.O_EXCL else _OPEN_EXISTING
        handle = _CreateFileW(
            path, access, _SHARE_ALL, None, disposition, _OPEN_REPARSE_POINT, None
        )
        if handle == _INVALID:
            raise ctypes.WinError(ctypes.get_last_error())
        return msvcrt.open_osfhandle(handle, flags & (os.O_APPEND | os.O_RDONLY) | os.O_NOINHERIT)

    def _patiently(action: Callable[[], _T]) -> _T:
        """Retry for a bounded time while another program holds the file."""
        end = time.monotonic() + _BUSY_SECONDS
        while True:
            try:
                return action()
            except PermissionError as error:
                if error.winerror not in _BUSY or time.monotonic() >= end:
                    raise
            time.sleep(_BUSY_PAUSE)
