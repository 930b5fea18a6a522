"""Helper protocols: one module each, chosen by name from a table.

Only the one that is asked for is imported: a helper starts twice for every git command.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Final, cast

from keylease.errors import UsageError

if TYPE_CHECKING:
    from keylease.protocols import (
        aws,
        bazel,
        cargo,
        docker,
        git,
        goauth,
        kubernetes,
        pnpm,
        terraform,
        vault,
    )
    from keylease.protocols.base import Protocol

    # mypy holds each module against the contract here.
    _CHECKED: tuple[Protocol, ...] = (
        aws,
        bazel,
        cargo,
        docker,
        git,
        goauth,
        kubernetes,
        pnpm,
        terraform,
        vault,
    )

PROTOCOLS: Final = {
    "aws": "keylease.protocols.aws",
    "bazel": "keylease.protocols.bazel",
    "cargo": "keylease.protocols.cargo",
    "docker": "keylease.protocols.docker",
    "git": "keylease.protocols.git",
    "go": "keylease.protocols.goauth",
    "kubernetes": "keylease.protocols.kubernetes",
    "pnpm": "keylease.protocols.pnpm",
    "terraform": "keylease.protocols.terraform",
    "vault": "keylease.protocols.vault",
}
"""Every protocol by the name of the peer."""


def load(name: str) -> Protocol:
    """Return the protocol called `name`.

    Raises:
        UsageError: there is none of that name.
    """
    module = PROTOCOLS.get(name)
    if module is None:
        msg = f"no protocol is called {name!a}: expected one of {', '.join(PROTOCOLS)}"
        raise UsageError(msg)
    return cast("Protocol", import_module(module))
