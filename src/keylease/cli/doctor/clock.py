"""Check that the clocks by which sessions end can be read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from keylease.cli.doctor.base import Finding
from keylease.cli.table import read_time, time
from keylease.errors import StateError
from keylease.model import NANOSECONDS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from keylease.cli.doctor.base import Subject


def check(subject: Subject) -> Iterator[Finding]:
    """Read both clocks and the boot's id, and compare them with what the vault remembers.

    Raises:
        StateError: one of them cannot be read, so keylease cannot tell which sessions have ended.
    """
    now = subject.wiring.clock.now()
    try:
        record = subject.record
    except StateError:
        # The check of the vault reports this error.
        record = None
    made_ns = 0 if record is None else (read_time(record.created) or 0) * NANOSECONDS
    if now.wall_ns < made_ns:
        yield Finding(
            "warn",
            f"the clock says {time(now.wall_ns)}, but the vault key is of {time(made_ns)}",
            "set the clock; a session whose start is in the future ends at its next use",
        )
        return
    yield Finding("ok", f"it is {time(now.wall_ns)}, boot {now.boot}")
