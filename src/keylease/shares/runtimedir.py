"""Shares in files of the login's runtime directory, where it is in memory and not on a disk.

The platform erases them at logout and at reboot. Only this program checks the session's own end, as
without shares, so `erases` is false. But no other login can open a copy of the disk or a backup.
"""

from __future__ import annotations

from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final

from keylease.errors import StateError, StateMissingError
from keylease.secrets.memory import allocate, secure_clear
from keylease.secrets.secret import Secret
from keylease.shares.base import SHARE_BYTES, ShareUnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from keylease.statefile import Directory

_SUFFIX: Final = ".share"
_ORPHAN_SECONDS: Final = 60.0


class RuntimeDirShares:
    """The shares of this login.

    Args:
        make: Opens the directory for shares and makes it if needed, or raises `StateError`.
        find: Opens the directory if it is there, or raises `StateMissingError`.
    """

    kind = 2
    erases = False

    def __init__(self, make: Callable[[], Directory], find: Callable[[], Directory]) -> None:
        self._make = make
        self._find = find

    def create(self, session: str, seconds: int) -> Secret | None:
        """Write a share. `seconds` is ignored: a file does not expire."""
        del seconds
        share = Secret.random(SHARE_BYTES)
        with _refusing(), self._make() as directory:
            directory.create(session + _SUFFIX, share.reveal())
        return share

    def read(self, session: str) -> Secret | None:
        """Return the share.

        Raises:
            ShareUnavailableError: it is not found. It may be gone, or this may be another login or
                a container with its own memory; the session's times tell when it ends.
        """
        buffer = allocate(SHARE_BYTES)
        try:
            with _refusing(), self._find() as directory:
                length = directory.read_into(session + _SUFFIX, buffer)
            if length is None:
                msg = "the session's share is not in the runtime directory of this login"
                raise ShareUnavailableError(msg)
            return Secret(buffer[:length])
        finally:
            secure_clear(buffer)

    def prolong(self, session: str, seconds: int) -> None:
        """Do nothing: the file does not expire."""

    def destroy(self, session: str) -> None:
        """Remove the share."""
        with _refusing(), suppress(StateMissingError), self._find() as directory:
            directory.remove(session + _SUFFIX)

    def sweep(self, live: set[str]) -> int:
        """Remove the shares of sessions that are not in `live`; return their number."""
        swept = 0
        with _refusing(), suppress(StateMissingError), self._find() as directory:
            swept += directory.sweep(_ORPHAN_SECONDS)
            for name in directory.names():
                if name.endswith(_SUFFIX) and name.removesuffix(_SUFFIX) not in live:
                    swept += directory.remove(name)
        return swept


@contextmanager
def _refusing() -> Iterator[None]:
    try:
        yield
    except StateError as error:
        msg = f"the share cannot be kept in the runtime directory: {error}"
        raise ShareUnavailableError(msg) from error
