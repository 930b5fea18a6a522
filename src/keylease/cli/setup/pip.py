"""`keylease setup pip`: write one line into pip's own configuration.

With --no-input pip looks up passwords only if its configuration names a keyring provider. The
provider here is the program `keyring`, which finds keylease if both are installed together (pip's
documentation, "Authentication").
"""

from __future__ import annotations

import os
import re
import shutil
import sys
from typing import Final

from keylease import tools
from keylease.cli import location
from keylease.cli.base import warn
from keylease.cli.setup.base import Plan, carry_out, setup_command
from keylease.cli.setup.lines import File, load
from keylease.errors import UsageError

TOOL: Final = tools.named("pip")
_PROGRAM: Final = "keyring"
_LINE: Final = "keyring-provider = subprocess"
_SECTION: Final = re.compile(r"\[([^]]*)\].*")
# pip reads it with configparser: `=` or `:` ends the name, and case is ignored. pip itself takes an
# underscore for a dash.
_OPTION: Final = re.compile(r"keyring[-_]provider\s*[=:].*", re.IGNORECASE)


@setup_command
def pip(dry_run: bool, undo: bool) -> None:
    """Let pip ask keylease, through the program keyring.

    It writes one line into your own pip.conf (pip.ini on Windows):

    \b
        [global]
        keyring-provider = subprocess

    keylease has to be installed beside keyring: pipx inject keyring keylease. With the line pip
    asks keylease even with --no-input. Everything else in the file stays. --undo takes the line
    away.
    """  # noqa: D301 - click reads the backslash-b, and prints the lines after it as they are
    carry_out("pip", _undoing() if undo else plan(), dry_run=dry_run, undo=undo)
    if not undo and shutil.which(_PROGRAM) is None:
        hint = "install both together: pipx install keyring; pipx inject keyring keylease"
        warn("the program keyring is not on PATH", hint)


def plan() -> Plan:
    """Return the changes that let pip ask keylease.

    Raises:
        UsageError: another provider is configured.
        SetupError: the configuration cannot be read.
    """
    file = load(_path())
    header, options = _global(file)
    if options == [_LINE]:
        return Plan(())
    if options:
        msg = f"{file.path} names another keyring-provider"
        raise UsageError(msg, "take that line out, then try again")
    if header is None:
        return Plan((file.changed([], ["[global]", _LINE]).change(),))
    return Plan((file.changed([header], [header, _LINE]).change([f"+ {_LINE}"]),))


def helpers() -> list[str]:
    """Return the program by which pip asks keylease, if it is configured.

    Raises:
        SetupError: the configuration cannot be read.
    """
    _, options = _global(load(_path()))
    return [_PROGRAM] if options == [_LINE] else []


def _undoing() -> Plan:
    file = load(_path())
    header, options = _global(file)
    if header is None or options != [_LINE]:
        return Plan(())
    # An empty section is removed: setup wrote it, or it has no meaning.
    at = file.lines.index(header)
    rest = [line for line in file.lines[at + 1 :] if line.strip() and line != _LINE]
    alone = not rest or _SECTION.fullmatch(rest[0]) is not None
    return Plan((file.changed([header, _LINE] if alone else [_LINE], []).change(),))


def _global(file: File) -> tuple[str | None, list[str]]:
    """Return the header of the section `global`, and its options that name a keyring provider."""
    header, section, options = None, "", []
    for line in file.lines:
        found = _SECTION.fullmatch(line.strip())
        if found is not None:
            section = found[1]
            header = header or (line if section == "global" else None)
        elif section == "global" and _OPTION.fullmatch(line.rstrip()):
            options.append(line.rstrip())
    return header, options


def _path() -> str:
    """Return the user's own file (pip's documentation, "Configuration")."""
    named = os.environ.get("PIP_CONFIG_FILE")
    if named and named != os.devnull:
        return os.path.expanduser(named)
    own, other = map(location.path, TOOL.configuration)
    return own if sys.platform != "darwin" or os.path.isdir(os.path.dirname(own)) else other
