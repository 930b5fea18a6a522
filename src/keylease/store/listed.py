"""Listings: remember which process has just asked for a list.

Docker's own tools ask for the list and then for each entry, whatever they want to do. If each of
these counted as a use, one build would restart the timeout of every registry.

The record holds the last process that asked, and no secret. A forged record only makes sessions end
sooner. Without the record, each `get` counts as a use: `docs/decisions/`, 0014.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from keylease.model import NANOSECONDS

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from keylease.model import Moment
    from keylease.statefile import Directory

FILE: Final = "listed"
SECONDS: Final = 60
"""How long after a list its process may read the entries without using them."""

_LONGEST_FILE: Final = 256


class Listings:
    """The record of the last list.

    Args:
        state: Opens the state directory.
        process: Identifies the process that asks, even if its id is used again.
    """

    def __init__(
        self, state: Callable[[], AbstractContextManager[Directory]], process: str
    ) -> None:
        self._state = state
        self._process = process

    def record(self, namespace: str, now: Moment) -> None:
        """Record that the process receives the list of a namespace.

        Raises:
            StateError: the record cannot be written.
        """
        with self._state() as state:
            state.replace(FILE, f"{now.boot_ns} {self._whose(namespace, now)}".encode())

    def is_read(self, namespace: str, now: Moment) -> bool:
        """Return whether the process has just received that list.

        Raises:
            StateError: the record cannot be read.
        """
        with self._state() as state:
            packed = state.read(FILE, _LONGEST_FILE)
        when, _, whose = (packed or b"").partition(b" ")
        if whose != self._whose(namespace, now).encode() or not when.isdigit():
            return False
        return 0 <= now.boot_ns - int(when) < SECONDS * NANOSECONDS

    def _whose(self, namespace: str, now: Moment) -> str:
        return f"{namespace} {self._process} {now.boot}"
