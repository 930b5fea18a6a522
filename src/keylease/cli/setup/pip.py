"""`keylease setup pip`: one line of pip's own configuration.

pip asks for passwords by itself, but not with --no-input, unless the configuration says by which
way. The way is the program `keyring`, which finds keylease where both are installed together
(pip's documentation, "Authentication").
"""

from __future__ import annotations

import os
import re
import shutil
import sys
from typing import Final

import click

from keylease import tools
from keylease.cli import location
from keylease.cli.base import Command, Program, warn
from keylease.cli.setup.base import Plan, carry_out, dry_run_option, undo_option
from keylease.cli.setup.lines import File, load
from keylease.errors import UsageError

TOOL: Final = tools.named("pip")
_PROGRAM: Final = "keyring"
_LINE: Final = "keyring-provider = subprocess"
_SECTION: Final = re.compile(r"\[([^]]*)\].*")
# configparser, as pip uses it: either sign divides, and capital letters are small ones; pip itself
# takes an underscore for a dash.
_OPTION: Final = re.compile(r"keyring[-_]provider\s*[=:].*", re.IGNORECASE)


@click.command(cls=Command)
@dry_run_option
@undo_option
@click.pass_obj
def pip(_: Program, dry_run: bool, undo: bool) -> None:
    """Let pip ask keylease, by way of the program keyring.

    It writes one line into your own pip.conf (pip.ini on Windows):

    \b
        [global]
        keyring-provider = subprocess

    keylease has to be installed beside keyring: pipx inject keyring keylease. With the line pip
    asks even if there is nobody to answer a question (--no-input). Everything else in the file
    stays. --undo takes the line away.
    """  # noqa: D301 - click reads the backslash-b, and prints the lines after it as they are
    carry_out("pip", _undoing() if undo else plan(), dry_run=dry_run, undo=undo)
    if not undo and shutil.which(_PROGRAM) is None:
        hint = (
            "install it with keylease beside it: pipx install keyring; pipx inject keyring keylease"
        )
        warn("there is no program keyring on PATH", hint)


def plan() -> Plan:
    """Return what has to be changed for pip to ask.

    Raises:
        UsageError: another way is configured.
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
        after, shown = file.changed([], ["[global]", _LINE])
    else:
        after, shown = file.changed([header], [header, _LINE])
        shown = (f"+ {_LINE}",)
    return Plan((after.change(shown),))


def helpers() -> list[str]:
    """Return the program by which pip asks the library that asks keylease, if it is told to.

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
    # A section with nothing in it is what setup wrote, or means nothing.
    at = file.lines.index(header)
    rest = [line for line in file.lines[at + 1 :] if line.strip() and line != _LINE]
    alone = not rest or _SECTION.fullmatch(rest[0]) is not None
    after, shown = file.changed([header, _LINE] if alone else [_LINE], [])
    return Plan((after.change(shown),))


def _global(file: File) -> tuple[str | None, list[str]]:
    """Return the heading of the section `global`, and the options in it that are about keyring."""
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
