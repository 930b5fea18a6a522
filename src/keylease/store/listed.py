"""Who asked for a list a moment ago, so that its reading of each entry is told from a use.

Docker's own tools ask for the list and then for each entry of it, whatever they want to do. Were
each of those a use, one build would restart the timeout of every registry there is.

One record, of the last process that asked. It holds no secret, and believing a forged one only
makes sessions end sooner. Where it is lost, a reading counts as a use: `docs/decisions/`, 0014.
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
"""For how long a process is believed to read the list that it was given."""

_LONGEST_FILE: Final = 256


class Listings:
    """The record of the last list.

    Args:
        state: Opens the state directory.
        process: Names the process that asks, so that no later one is taken for it.
    """

    def __init__(
        self, state: Callable[[], AbstractContextManager[Directory]], process: str
    ) -> None:
        self._state = state
        self._process = process

    def record(self, namespace: str, now: Moment) -> None:
        """Write down that the process which asks was given the list of a family of tools.

        Raises:
            StateError: it cannot be written.
        """
        with self._state() as state:
            state.replace(FILE, f"{now.boot_ns} {self._whose(namespace, now)}".encode())

    def is_read(self, namespace: str, now: Moment) -> bool:
        """Return whether the process that asks was given that list a moment ago.

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
