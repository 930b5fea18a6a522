"""Check that the audit log can be continued: without its line no credential is released."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from keylease.audit.line import LineError, parse
from keylease.audit.read import reader
from keylease.cli.doctor.base import Finding
from keylease.wiring import audit_directory

if TYPE_CHECKING:
    from collections.abc import Iterator

    from keylease.cli.doctor.base import Subject


def check(_: Subject) -> Iterator[Finding]:
    """Read the last line of each day: the next line is written after it.

    Raises:
        StateError: a file cannot be read.
    """
    place = audit_directory()
    found = reader.sizes(place)
    foreign = [name for name, size in found.items() if not _ends_well(place, name, size)]
    for name in foreign:
        path = os.path.join(place, name)
        yield Finding(
            "fail",
            f"keylease did not write the last line of audit/{name}, so it releases nothing",
            f"find out who wrote it, then move the file away: {path}",
        )
    if not found:
        yield Finding("ok", "the log has no line yet")
    elif not foreign:
        yield Finding(
            "ok",
            f"lines of {len(found)} day{'' if len(found) == 1 else 's'}; check their integrity: "
            "keylease audit verify",
        )


def _ends_well(place: str, name: str, size: int) -> bool:
    # A crash can leave a partial line at the end. The next write sets it aside.
    last = next((line for line in reader.backward(place, name, size) if line.whole), None)
    if last is None:
        return True
    try:
        parse(last.data)
    except LineError:
        return False
    return True
