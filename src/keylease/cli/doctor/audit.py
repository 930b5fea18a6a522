"""Whether the audit log can be gone on with: nothing is released whose line cannot be written."""

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
    """Read the last line of each day, after which the next one would have to go.

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
            f"the last line of audit/{name} is not one of keylease's, so nothing is released",
            f"find out who wrote it, then move the file away: {path}",
        )
    if not found:
        yield Finding("ok", "there is no line yet")
    elif not foreign:
        yield Finding(
            "ok",
            f"lines of {len(found)} day{'' if len(found) == 1 else 's'}; whether they are as they "
            "were written tells: keylease audit verify",
        )


def _ends_well(place: str, name: str, size: int) -> bool:
    # What a crash left behind the last line is set aside by the next one.
    last = next((line for line in reader.backward(place, name, size) if line.whole), None)
    if last is None:
        return True
    try:
        parse(last.data)
    except LineError:
        return False
    return True
