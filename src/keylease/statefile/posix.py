"""Private files on Linux, macOS and BSD, with directory descriptors, owners and modes.

Each file is opened through its directory's descriptor, without following a link, and judged by
fstat after that, so it cannot change in between. The checks are those of ssh for its own files:
owner, type, mode, link count, and write access to the directory above.

Not defended against: root, and other programs of the same user.
"""

from __future__ import annotations

import errno
import os
import stat
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, NoReturn

from keylease.errors import UnsafeStateError, printable
from keylease.statefile.descriptor import TEMPORARY, called, kind_of, let_go

if TYPE_CHECKING:
    from typing import Self

if sys.platform != "win32":
    import fcntl

    # O_NONBLOCK: without it, open(2) of a FIFO waits for the other end. It does not affect files.
    _FLAGS = os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
    _DIRECTORY_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
    _OTHERS = stat.S_IRWXG | stat.S_IRWXO
    _OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH

    class Files:
        """The files of one directory, reached through its descriptor.

        Args:
            fd: The descriptor, which this owns.
            path: Its path, for advice to people.
            label: Its path below the state directory, for messages; empty for that directory.
        """

        readers_lock = True
        """Whether a remover can wait for the readers of a file."""

        def __init__(self, fd: int, path: str, label: str) -> None:
            self._fd = fd
            self._path = path
            self.label = label

        @classmethod
        def open(cls, path: str, *, create: bool) -> Self:
            """Open the state directory at the absolute `path`."""
            above, name = os.path.split(path)
            parent = _open_parent(above, create=create)
            try:
                return cls(_open_in(parent, name, path, create=create), path, "")
            finally:
                let_go(parent)

        def child(self, name: str, *, create: bool) -> Self:
            """Open the directory `name` in this one."""
            path = os.path.join(self._path, name)
            fd = _open_in(self._fd, name, path, create=create)
            return type(self)(fd, path, os.path.join(self.label, name))

        def close(self) -> None:
            """Close the directory; a second call does nothing."""
            fd, self._fd = self._fd, -1
            if fd >= 0:
                let_go(fd)

        def open_file(self, name: str, flags: int) -> int:
            """Open a file without following links, without waiting, and not inheritable."""
            return os.open(name, flags | _FLAGS, 0o600, dir_fd=self._fd)

        def stat(self, name: str) -> os.stat_result:
            """Return the status of `name` without following a link."""
            return os.stat(name, dir_fd=self._fd, follow_symlinks=False)

        def judge(self, name: str, found: os.stat_result) -> None:
            """Refuse a file that others can read or could have written."""
            # This runs twice for each opened file, so names are formatted only for a refusal.
            if not stat.S_ISREG(found.st_mode):
                msg = (
                    f"{called(self.label, name)} is a {kind_of(found.st_mode)}, not a regular file"
                )
                raise UnsafeStateError(msg, self.removal(name))
            if found.st_uid != os.geteuid():
                _refuse_owner(called(self.label, name), found)
            if found.st_nlink > 1:
                msg = f"{called(self.label, name)} has {found.st_nlink} names, not one"
                raise UnsafeStateError(msg, self.removal(name))
            if found.st_mode & _OTHERS:
                _refuse_mode(called(self.label, name), os.path.join(self._path, name), found, 0o600)

        def is_still(self, name: str, fd: int) -> bool:
            """Refuse a bad file, and return whether `name` is still the opened file."""
            opened = os.fstat(fd)
            self.judge(name, opened)
            # An attacker may link another file of the user here for a moment: when it is judged, it
            # has one name again. A file with one link before and after, and this name after, is
            # ours. Only a program of the same user could exchange it twice in between.
            named = os.stat(name, dir_fd=self._fd, follow_symlinks=False)
            self.judge(name, named)
            return (named.st_ino, named.st_dev) == (opened.st_ino, opened.st_dev)

        def judge_name(self, name: str) -> None:
            """Refuse anything but the name of one file in this directory."""
            if name in ("", ".", "..") or "/" in name or "\0" in name or name.startswith(TEMPORARY):
                msg = f"{name!r} is not the name of one state file"
                raise ValueError(msg)

        def make_private(self, fd: int) -> None:
            """Give a new file mode 0600 whatever the umask."""
            os.fchmod(fd, 0o600)

        def move(self, old: str, new: str) -> None:
            """Rename atomically and replace an existing file."""
            os.rename(old, new, src_dir_fd=self._fd, dst_dir_fd=self._fd)

        def move_into(self, old: str, into: Self, new: str) -> None:
            """Rename atomically into another directory and replace an existing file."""
            os.rename(old, new, src_dir_fd=self._fd, dst_dir_fd=into._fd)

        def move_to_new(self, old: str, new: str) -> None:
            """Rename atomically; fail if the new name exists."""
            _rename_without_overwriting(self._fd, old, new)

        def unlink(self, name: str) -> None:
            """Remove a file."""
            os.unlink(name, dir_fd=self._fd)

        def rmdir(self, name: str) -> None:
            """Remove an empty directory."""
            os.rmdir(name, dir_fd=self._fd)

        def names(self) -> list[str]:
            """Return every name in the directory."""
            return os.listdir(self._fd)

        def sync(self, fd: int) -> None:
            """Return when the file is on the disk."""
            _sync(fd)

        def sync_data(self, fd: int) -> None:
            """Return when the file's bytes and size, but not its times, are on the disk."""
            _sync_data(fd)

        def sync_directory(self) -> None:
            """Return when the directory's names are on the disk."""
            _sync_names(self._fd)

        def try_lock(self, fd: int) -> bool:
            """Take the lock if it is free, and return whether it was."""
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
            return True

        def try_share(self, fd: int) -> bool:
            """Take the readers' shared lock unless a remover has it; return whether it was free."""
            try:
                fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
            return True

        def unlock(self, fd: int) -> None:
            """Free the lock."""
            # Closing is not enough: a child forked meanwhile keeps the same lock open.
            fcntl.flock(fd, fcntl.LOCK_UN)

        def removal(self, name: str) -> str:
            """Return advice for a file that must go."""
            path = _quoted(os.path.join(self._path, name))
            return f"find out who put it there, then move it away: mv {path} {path}.unsafe"

    def _open_parent(path: str, *, create: bool) -> int:
        """Return a descriptor of the directory that holds, or will hold, the state directory."""
        try:
            fd = os.open(path, _DIRECTORY_FLAGS)
        except FileNotFoundError:
            if not create:
                raise
            above, name = os.path.split(path)
            parent = _open_parent(above, create=True)
            try:
                _make_directory(parent, name)
            finally:
                let_go(parent)
            # Another program may have made it at the same moment, with a less private mode.
            fd = os.open(path, _DIRECTORY_FLAGS)
        try:
            _judge_parent(path, os.fstat(fd))
        except BaseException:
            let_go(fd)
            raise
        return fd

    def _open_in(parent: int, name: str, path: str, *, create: bool) -> int:
        """Return a descriptor of the private directory `name` in `parent`."""
        try:
            fd = os.open(name, _DIRECTORY_FLAGS | os.O_NOFOLLOW, dir_fd=parent)
        except FileNotFoundError:
            if not create:
                raise
            _make_directory(parent, name)
            return _open_in(parent, name, path, create=False)
        except OSError:
            with suppress(OSError):
                _judge_directory(path, os.stat(name, dir_fd=parent, follow_symlinks=False))
            raise
        try:
            _judge_directory(path, os.fstat(fd))
        except BaseException:
            let_go(fd)
            raise
        return fd

    def _make_directory(parent: int, name: str) -> None:
        try:
            os.mkdir(name, 0o700, dir_fd=parent)
        except FileExistsError:
            return
        # A umask can take bits from the owner too. Following links is safe here: the directory
        # above was judged, so no other user can have put one there.
        os.chmod(name, 0o700, dir_fd=parent)
        _sync_names(parent)

    def _judge_directory(path: str, found: os.stat_result) -> None:
        """Refuse anything but a directory that only the user can read and write."""
        is_directory, is_own = stat.S_ISDIR(found.st_mode), found.st_uid == os.geteuid()
        if is_directory and is_own and not found.st_mode & _OTHERS:
            return
        what = f"the directory {printable(path)}"
        if not is_directory:
            msg = f"{what} is a {kind_of(found.st_mode)}, not a directory"
            hint = f"find out who put it there, then move it away: mv {_quoted(path)} ELSEWHERE"
            raise UnsafeStateError(msg, hint)
        if not is_own:
            _refuse_owner(what, found)
        if found.st_mode & stat.S_ISVTX and found.st_mode & _OTHERS_WRITE:
            # The usual advice, chmod 700, would break /tmp.
            msg = f"{what} has mode {stat.S_IMODE(found.st_mode):04o}, as one that many users share"
            raise UnsafeStateError(msg, "name a directory in it that is not there yet, or your own")
        _refuse_mode(what, path, found, 0o700)

    def _judge_parent(path: str, found: os.stat_result) -> None:
        """Refuse a directory in which other users could replace the state directory."""
        is_own = found.st_uid in (0, os.geteuid())
        # In a sticky directory such as /tmp others can add names but not move ours, and a directory
        # that they made first has the wrong owner.
        if is_own and not (found.st_mode & _OTHERS_WRITE and not found.st_mode & stat.S_ISVTX):
            return
        what = f"the directory {printable(path)}, which holds the state directory,"
        if not is_own:
            _refuse_owner(what, found)
        msg = f"{what} has mode {stat.S_IMODE(found.st_mode):04o}: others can write it"
        raise UnsafeStateError(msg, f"remove their write access: chmod go-w {_quoted(path)}")

    def _refuse_owner(what: str, found: os.stat_result) -> NoReturn:
        msg = f"{what} belongs to user {found.st_uid}, not to user {os.geteuid()}"
        hint = "run keylease as that user, or name a directory of your own in KEYLEASE_STATE_DIR"
        raise UnsafeStateError(msg, hint)

    def _refuse_mode(what: str, path: str, found: os.stat_result, wanted: int) -> NoReturn:
        msg = f"{what} has mode {stat.S_IMODE(found.st_mode):04o}, not {wanted:04o}"
        hint = f"check that its content is unchanged, then: chmod {wanted:o} {_quoted(path)}"
        raise UnsafeStateError(msg, hint)

    def _quoted(path: str) -> str:
        """Quote the path for a shell."""
        return "'" + printable(path).replace("'", "'\\''") + "'"

    def _sync_names(fd: int) -> None:
        try:
            _sync(fd)
        except OSError as error:
            # fsync(2): EINVAL where the file system cannot sync a directory.
            if error.errno != errno.EINVAL:
                raise

    if sys.platform == "darwin":

        def _sync(fd: int) -> None:
            # fsync(2) of macOS: the drive may keep the data in its cache; F_FULLFSYNC empties it.
            try:
                fcntl.fcntl(fd, fcntl.F_FULLFSYNC)
            except OSError as error:
                if error.errno not in (errno.ENOTSUP, errno.EINVAL, errno.ENOTTY):
                    raise
                os.fsync(fd)

        _sync_data = _sync

    else:

        def _sync(fd: int) -> None:
            os.fsync(fd)

        def _sync_data(fd: int) -> None:
            os.fdatasync(fd)

    def _rename_without_overwriting(fd: int, old: str, new: str) -> None:
        # Only a new session needs it, so a `get` does not import it.
        from keylease.system.rename import without_overwriting

        # link(2) and unlink(2) would work everywhere, but a crash between them leaves a file with
        # two names, which every reader must take for an attack.
        if without_overwriting(old, new, fd):
            return
        # NOTE: if two processes make the same file at the same moment, both succeed and the later
        # file stays, complete. Callers make files under a lock or with a random name.
        with suppress(FileNotFoundError):
            os.stat(new, dir_fd=fd, follow_symlinks=False)
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), new)
        os.rename(old, new, src_dir_fd=fd, dst_dir_fd=fd)
