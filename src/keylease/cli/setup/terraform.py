"""`keylease setup terraform`: put the program among Terraform's plugins, and write its name.

Terraform looks for `terraform-credentials-NAME` among its plugins and never on PATH ("Credentials
Helpers" in its documentation). If it finds none it says nothing, and writes each token in
plaintext. So setup puts the program there before the line, and `--undo` removes it after the line.
"""

from __future__ import annotations

import os
import re
import shlex
import sys
from typing import Final

from keylease import tools
from keylease.cli import location
from keylease.cli.base import warn
from keylease.cli.executable import find
from keylease.cli.plaintext import holders
from keylease.cli.setup.base import Change, Plan, SetupError, carry_out, read, setup_command
from keylease.cli.setup.lines import load

TOOL: Final = tools.named("terraform")
LINE: Final = 'credentials_helper "keylease" {}'
_ENTRY: Final = re.compile(r'[ \t]*credentials_helper[ \t]+"?([^"\s{]*)"?.*')
_OURS: Final = re.compile(re.escape(LINE))
_MARK: Final = "# Written by: keylease setup terraform"
_EXEC: Final = re.compile(r'^exec (.+) "\$@"$', re.MULTILINE)
_SCRIPT: Final = f"""\
#!/bin/sh
{_MARK}
# Take it away with: keylease setup terraform --undo
exec {{}} "$@"
"""


@setup_command
def terraform(dry_run: bool, undo: bool) -> None:
    """Let Terraform and OpenTofu keep the tokens of hosts in sessions.

    It puts a program into ~/.terraform.d/plugins, the only place where Terraform looks for it. It
    writes one line into ~/.terraformrc, and into ~/.tofurc if that exists, or into the file that
    TF_CLI_CONFIG_FILE names:

    \b
        credentials_helper "keylease" {}

    Everything else in the file stays. A token in credentials.tfrc.json, or in a block of your own,
    counts before the helper: take it out, and log in again with terraform login.
    """  # noqa: D301 - click reads the backslash-b, and prints the line after it as it is
    carry_out("terraform", _undoing() if undo else plan(), dry_run=dry_run, undo=undo)
    if undo:
        return
    for place, path in holders():
        if place.tool == "terraform":
            warn(f"{path} holds tokens in plaintext, which count first", "run: terraform logout")
    if any(name.startswith("TF_TOKEN_") for name in os.environ):
        warn("a variable TF_TOKEN_... is set and counts before keylease", "unset it")


def plan() -> Plan:
    """Return the changes: the program first, because the line may not name a missing program.

    Raises:
        SetupError: another helper is configured, or a file cannot be read.
    """
    changes = [_placing()]
    for path in _configurations():
        file = load(path)
        named = [found[1] for line in file.found(_ENTRY) if (found := _ENTRY.fullmatch(line))]
        others = [name for name in named if name != "keylease"]
        if others or (file.lines and file.lines[0].lstrip().startswith("{")):
            what = f"names the helper {others[0]!a}" if others else "is written in JSON"
            msg = f"{path} {what}, and Terraform takes one helper"
            raise SetupError(msg, f"write this by hand: {LINE}")
        if not named:
            changes.append(file.changed([], [LINE]).change())
    return Plan(tuple(changes))


def helpers() -> list[str]:
    """Return the programs of keylease that the configuration names, if any.

    Raises:
        SetupError: the configuration cannot be read.
    """
    if not any(load(path).found(_OURS) for path in _configurations()):
        return []
    # Terraform says nothing if the program is missing, or if it cannot run its own command.
    text = (read(_place()) or b"").decode("utf-8", "surrogateescape")
    found = _EXEC.search(text) if sys.platform != "win32" else None
    return [_place(), *(shlex.split(found[1]) if found else ())]


def _undoing() -> Plan:
    changes = []
    for path in _configurations():
        file = load(path)
        if file.found(_OURS):
            changes.append(file.exchanged(_OURS))
    path = _place()
    before = None if os.path.islink(path) else read(path)
    if before is not None and _is_ours(before):
        changes.append(Change(path, before, None, ("- the program",)))
    return Plan(tuple(changes))


def _placing() -> Change:
    """Return the change that puts the program among the plugins; on POSIX a script that runs it.

    Raises:
        SetupError: there is another file of this name.
    """
    program, path = os.path.abspath(find(TOOL.program)), _place()
    if os.path.islink(path) and os.path.realpath(path) == os.path.realpath(program):
        return Change(path, None, None, ())
    before = read(path)
    if os.path.islink(path) or (before is not None and not _is_ours(before)):
        msg = f"{path} exists and was not written by keylease"
        raise SetupError(msg, "move it away, then try again")
    after = read(program) if sys.platform == "win32" else _script(program)
    shown = (f"+ a program that runs {program}",)
    return Change(path, before, after, shown, 0o755)


def _script(program: str) -> bytes:
    return _SCRIPT.format(shlex.quote(program)).encode("utf-8", "surrogateescape")


def _is_ours(before: bytes) -> bool:
    return sys.platform == "win32" or _MARK.encode("ascii") in before


def _place() -> str:
    if sys.platform == "win32":
        return os.path.join(_home(), "terraform.d", "plugins", f"{TOOL.program}.exe")
    return os.path.join(_home(), ".terraform.d", "plugins", TOOL.program)


def _configurations() -> list[str]:
    named = os.environ.get("TF_CLI_CONFIG_FILE")
    if named:
        return [named]
    first, second = map(location.path, TOOL.configuration)
    return [first, second] if os.path.lexists(second) else [first]


def _home() -> str:
    if sys.platform == "win32":
        return os.environ.get("APPDATA") or os.path.expanduser("~")
    return os.path.expanduser("~")
