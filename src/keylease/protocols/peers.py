"""The protocols by the name of the peer, from the table of `keylease.tools`.

A helper does without the table: its program's name says which module it needs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from keylease.errors import UsageError
from keylease.protocols import load_protocol
from keylease.tools import TOOLS

if TYPE_CHECKING:
    from keylease.protocols.base import Protocol

PROTOCOLS: Final = {
    tool.name: tool.protocol for tool in sorted(TOOLS, key=lambda tool: tool.name) if tool.protocol
}
"""The module of every protocol by the name of its peer; tests check each one's types."""


def load(name: str) -> Protocol:
    """Return the protocol called `name`.

    Raises:
        UsageError: there is no such protocol.
    """
    module = PROTOCOLS.get(name)
    if module is None:
        msg = f"unknown protocol {name!a}: expected one of {', '.join(PROTOCOLS)}"
        raise UsageError(msg)
    return load_protocol(module)
