"""Search the files in which tools keep credentials, for `keylease doctor` and `keylease setup`.

A file is searched for the pattern of a credential in its format. Nothing of it is kept.
"""

from __future__ import annotations

import os
import re
import stat
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from keylease.cli import location
from keylease.secrets.memory import secure_clear
from keylease.tools import PLAINTEXT

if TYPE_CHECKING:
    from collections.abc import Iterator

    from keylease.tools import PlaintextFile

MOST_BYTES: Final = 1 << 20
"""Only this much of a file is searched."""


def holders() -> Iterator[tuple[PlaintextFile, str]]:
    """Yield each file that holds a credential, and its path. Skip files that cannot be read."""
    for place, path in files():
        with suppress(OSError):
            if search(path, place.credential) is not None:
                yield place, path


def files() -> Iterator[tuple[PlaintextFile, str]]:
    """Yield each file that has a place on this machine, and its path. It may not exist."""
    for place in PLAINTEXT:
        if path := location.path(place.location):
            yield place, path


def holds(credential: bytes, content: bytes | memoryview) -> bool:
    """Return whether a pattern of the table finds a credential in the content."""
    return re.search(credential, content, re.MULTILINE | re.IGNORECASE) is not None


def search(path: str, credential: bytes) -> int | None:
    """Return the file's mode if there is a credential in it, else `None`."""
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0)
    try:
        fd = os.open(path, flags | getattr(os, "O_BINARY", 0))
    except (FileNotFoundError, NotADirectoryError):
        return None
    content = bytearray(MOST_BYTES)
    try:
        mode = os.fstat(fd).st_mode
        if not stat.S_ISREG(mode):
            return None
        length = 0
        with os.fdopen(fd, "rb", buffering=0, closefd=False) as file, memoryview(content) as view:
            while count := file.readinto(view[length:]):
                length += count
        # On Windows the mode says nothing about other users; the directory's rights decide.
        private = 0 if os.name == "nt" else mode
        with memoryview(content)[:length] as part:
            return private if holds(credential, part) else None
    finally:
        secure_clear(content)
        os.close(fd)
