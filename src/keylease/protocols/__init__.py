"""Helper protocols: one module each, chosen by name from the table of `keylease.tools`.

Only the chosen module is imported, because a helper starts twice for every git command.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Final, cast

from keylease.errors import UsageError
from keylease.tools import TOOLS

if TYPE_CHECKING:
    from keylease.protocols.base import Protocol

PROTOCOLS: Final = {
    tool.name: f"keylease.protocols.{tool.protocol}"
    for tool in sorted(TOOLS, key=lambda tool: tool.name)
    if tool.protocol
}
"""Every protocol by the name of the peer. tests/test_static_checks.py type-checks each one against
`Protocol`."""


def load(name: str) -> Protocol:
    """Return the protocol called `name`.

    Raises:
        UsageError: there is no such protocol.
    """
    module = PROTOCOLS.get(name)
    if module is None:
        msg = f"unknown protocol {name!a}: expected one of {', '.join(PROTOCOLS)}"
        raise UsageError(msg)
    return cast("Protocol", import_module(module))
