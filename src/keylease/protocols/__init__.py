"""Helper protocols: one module each.

Only the module that is asked for is imported, because a helper starts twice for every git command.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from keylease.protocols.base import Protocol


def load_protocol(name: str) -> Protocol:
    """Return the protocol whose module is called `name`.

    Args:
        name: A module of this package. `peers.load` takes what comes from a person.
    """
    return cast("Protocol", import_module(f"keylease.protocols.{name}"))
