"""Write a command's output file: in one step, private, and over no existing file unasked."""

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
    """The output file cannot be written."""

    hint = "nothing was written; choose another path"


def write_new(path: str, parts: Iterable[bytes], *, force: bool) -> None:
    """Write a file that only its owner can read.

    An existing file is replaced at the end in one step, so no program sees half of a file.

    Args:
        path: The path of the file.
        parts: The content.
        force: Whether to replace an existing file. A link is replaced, not followed.

    Raises:
        UsageError: the file exists, or `path` is `-`, which elsewhere means stdout.
        FileError: the system refuses.
    """
    if path == "-":
        msg = "found -, expected the name of a file: this command does not write to stdout"
        raise UsageError(msg, "give a file name; for a file called - write ./-")
    if not force and os.path.lexists(path):
        raise _exists()
    path = os.path.abspath(path)
    try:
        # First remove leftovers of a killed command for the same file.
        replacement.sweep(path)
        with replacement.temporary_for(path, parts, _PRIVATE) as temporary:
            if force:
                os.replace(temporary, path)
            else:
                replacement.move_to_new(temporary, path)
    except FileExistsError:
        raise _exists() from None
    except OSError as error:
        msg = f"cannot write the file: {error.strerror}"
        raise FileError(msg) from error


def _exists() -> UsageError:
    msg = "the file exists already and was not changed"
    return UsageError(msg, "choose another name, or replace it with --force")
