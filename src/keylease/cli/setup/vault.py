"""`keylease setup vault`: write one line into the file of each client, Vault's and OpenBao's.

Both run the program that `token_helper` names. It has to be an absolute path without arguments
(internal/command/config/util.go in OpenBao). OpenBao passes the line to a shell.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Final

from keylease import tools
from keylease.cli import location
from keylease.cli.base import warn
from keylease.cli.plaintext import holders
from keylease.cli.setup.base import Plan, SetupError, carry_out, setup_command
from keylease.cli.setup.gitconfig import find
from keylease.cli.setup.lines import load, program
from keylease.cli.setup.records import replaced

if TYPE_CHECKING:
    from keylease.cli.setup.lines import File
    from keylease.tools import Location


TOOL: Final = tools.named("vault")
# Each of the two clients with its file.
_CLIENTS: Final = tuple(zip(TOOL.commands, TOOL.configuration, strict=True))
_LINE: Final = re.compile(r"[ \t]*token_helper[ \t]*=.*")
_OURS: Final = re.compile(
    r'[ \t]*token_helper[ \t]*=[ \t]*"((?:[^"]*/)?keylease-vault(?:\.exe)?)"[ \t]*'
)
_UNFIT: Final = r"[^A-Za-z0-9_./+,:@-]"


@setup_command
def vault(dry_run: bool, undo: bool) -> None:
    """Let Vault and OpenBao keep their token in a session.

    It sets one line in ~/.vault and ~/.bao, or in the files that VAULT_CONFIG_PATH and
    BAO_CONFIG_PATH name:

    \b
        token_helper = "/usr/bin/keylease-vault"

    It does so for each of the two clients that is on PATH, and for vault if none is. From then on
    they neither write the token to ~/.vault-token nor read it from there: log in again. Everything
    else in the file stays. A line that was there before becomes a comment until --undo.
    """  # noqa: D301 - click reads the backslash-b, and prints the line after it as it is
    carry_out("vault", _undoing() if undo else plan(), dry_run=dry_run, undo=undo)
    if undo:
        return
    for place, path in holders():
        if place.tool == "vault":
            warn(f"{path} holds a token in plaintext", "revoke it, and delete the file")
    if os.environ.get("VAULT_TOKEN") or os.environ.get("BAO_TOKEN"):
        warn("VAULT_TOKEN or BAO_TOKEN is set, so the clients do not ask keylease", "unset it")


def plan() -> Plan:
    """Return the changes that setup has to make.

    Raises:
        SetupError: a file cannot be read or edited.
    """
    line = f'token_helper = "{program(TOOL.program, _UNFIT)}"'
    here = [each for each in _CLIENTS if find(each[0], os.get_exec_path())] or _CLIENTS[:1]
    changes = []
    for _, place in here:
        file = _file(place)
        old = file.found(_LINE)
        if [each.strip() for each in old] == [line]:
            continue
        changes.append(file.kept(_LINE, _OURS, line).change())
    return Plan(tuple(changes))


def helpers() -> list[str]:
    """Return the programs of keylease that the configuration names, if any.

    Raises:
        SetupError: the configuration cannot be read.
    """
    return [path for _, place in _CLIENTS for path in _file(place).named(_OURS)]


def _undoing() -> Plan:
    changes, kept = [], replaced("vault")
    for name, place in _CLIENTS:
        file = _file(place)
        if file.found(_OURS):
            # Older versions kept the replaced line in the record, not in the file.
            changes.append(file.restored(_LINE, _OURS, kept.get(name, [])).change())
    return Plan(tuple(changes))


def _file(place: Location) -> File:
    file = load(location.path(place))
    if file.lines and file.lines[0].lstrip().startswith("{"):
        msg = f"{file.path} is written in JSON, and cannot be edited"
        raise SetupError(msg, f"set token_helper by hand to the path of {TOOL.program}")
    return file
