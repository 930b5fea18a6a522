"""Check that no other user can reach the state's files, by the code that uses them."""

from __future__ import annotations

import os
from itertools import islice
from typing import TYPE_CHECKING, Final

from keylease.cli.doctor.base import Finding
from keylease.errors import StateError, StateMissingError
from keylease.statefile import Directory
from keylease.system.paths import state_directory

if TYPE_CHECKING:
    from collections.abc import Iterator

    from keylease.cli.doctor.base import Subject

MOST_FILES: Final = 2000
"""At most this many are opened: the same code made them all, and the answer must come soon."""


def check(_: Subject) -> Iterator[Finding]:
    """Open every directory and file of the state as the helper does, and report what is unsafe."""
    path = state_directory()
    if not os.path.lexists(path):
        yield Finding("ok", f"{path} does not exist yet")
        return
    with Directory.open(path) as state:
        judged = list(islice(_judge(state, path), MOST_FILES))
    unsafe = [error for error in judged if error is not None]
    for error in unsafe:
        yield Finding("fail", str(error), error.hint)
    if not unsafe:
        yield Finding("ok", f"{path} and the {len(judged)} names in it belong to you alone")


def _judge(directory: Directory, path: str) -> Iterator[StateError | None]:
    """Yield the error of each name in the directory and below it, or `None`."""
    for name in sorted(directory.names()):
        if name.startswith("."):  # .DS_Store and the like: keylease never opens them
            continue
        below = os.path.join(path, name)
        try:
            if not os.path.isdir(below):
                directory.size(name)
                yield None
                continue
            child = directory.child(name)
        except StateMissingError:  # removed in the meantime
            continue
        except StateError as error:
            yield error
            continue
        with child:
            yield None
            yield from _judge(child, below)
