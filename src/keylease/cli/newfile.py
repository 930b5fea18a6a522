"""Write a file that a command was asked for: whole or not at all, for its owner alone, never over
another one unasked.
"""  # noqa: D205 - the sentence is longer than a line

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING, Final

from keylease.cli import replacement
from keylease.errors import KeyleaseError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable

_PRIVATE: Final = stat.S_IRUSR | stat.S_IWUSR


class FileError(KeyleaseError):
    """The file that was asked for cannot be written."""

    hint = "nothing was written; name another place"


def write_new(path: str, parts: Iterable[bytes], *, force: bool) -> None:
    """Write a file that its owner alone can read.

    What is already there is kept to the last moment, so nobody ever sees half of a file.

    Args:
        path: Where to.
        parts: The content.
        force: Whether a file that is there may be replaced. A link is replaced, not followed.

    Raises:
        UsageError: there is something already, or `path` is `-`, which stands for stdout elsewhere.
        FileError: the system refuses.
    """
    if path == "-":
        msg = "a file is made here, and - is the name of none"
        raise UsageError(msg, "name one; if it is to be called so: ./-")
    if not force and os.path.lexists(path):
        raise _there()
    path = os.path.abspath(path)
    try:
        # What a killed command left of the same file goes first.
        replacement.sweep(path)
        with replacement.temporary_for(path, parts, _PRIVATE) as temporary:
            if force:
                os.replace(temporary, path)
            else:
                replacement.move_to_new(temporary, path)
    except FileExistsError:
        raise _there() from None
    except OSError as error:
        msg = f"the file cannot be written: {error.strerror}"
        raise FileError(msg) from error


def _there() -> UsageError:
    msg = "there is a file of that name already, and it was left as it is"
    return UsageError(msg, "name another one, or replace it with --force")
