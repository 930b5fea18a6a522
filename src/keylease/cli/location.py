"""Where a tool's file is on this machine, from the table of `keylease.tools`."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from keylease.tools import Location


def path(location: Location) -> str:
    """Return the path of the file, which may not exist; empty if it has no place here."""
    for variable in location.files:
        if named := os.environ.get(variable):
            return os.path.expanduser(named)
    base = os.environ.get(location.variable) if location.variable else ""
    base = base or os.path.expanduser(location.base)
    return os.path.join(base, *location.name.split("/")) if base else ""
