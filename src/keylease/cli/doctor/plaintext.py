"""Find files in which other tools keep passwords and tokens in plaintext.

It reports the path of such a file, never its content. It checks the records and copies that our own
setups made, too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from keylease.cli.doctor.base import Finding
from keylease.cli.plaintext import files, holds, search
from keylease.cli.setup import records
from keylease.errors import KeyleaseError
from keylease.tools import PLAINTEXT

if TYPE_CHECKING:
    from collections.abc import Iterator

    from keylease.cli.doctor.base import Subject

_OTHERS: Final = 0o077
_TIDY: Final = "run: keylease gc"


def check(_: Subject) -> Iterator[Finding]:
    """Search each file of the table, then what setups made."""
    found = False
    for place, path in files():
        try:
            mode = search(path, place.credential)
        except OSError as error:
            found = True
            remedy = "check the file yourself"
            yield Finding("warn", f"{path} cannot be searched: {error.strerror}", remedy)
            continue
        if mode is not None:
            found = True
            others = ", and others may read it" if mode & _OTHERS else ""
            said = f"{path} ({place.tool}) holds a password or token in plaintext{others}"
            yield Finding("warn", said, place.remedy)
    for finding in _own():
        found = True
        yield finding
    if not found:
        yield Finding("ok", f"no credential in the {len(PLAINTEXT)} files where tools keep them")


def _own() -> Iterator[Finding]:
    """Search what setups made: the records, and the copies that killed setups left."""
    for tool in records.tools():
        try:
            path, copies = records.path(tool), records.abandoned(tool)
            holds = any(_is_credential(each) for each in records.contents(tool))
            if holds or not records.is_lean(tool):
                said = f"{path} (keylease) holds a part of the {tool} configuration"
                yield Finding("warn", f"{said}, which may be a password or token", _TIDY)
        except KeyleaseError as error:
            yield Finding("warn", f"{tool}: {error}", error.hint)
            continue
        for each in copies:
            said = f"{each} (keylease) is a copy of the {tool} configuration"
            yield Finding("warn", f"{said}, left by a setup that was killed", _TIDY)


def _is_credential(content: bytes) -> bool:
    # Vault's file is nothing but a token, so its pattern finds one in any text.
    return any(holds(place.credential, content) for place in PLAINTEXT if place.tool != "vault")
