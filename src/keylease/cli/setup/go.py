"""`keylease setup go`: write one line into the file that `go env -w` writes.

`GOAUTH` is a list of commands, and the first one that answers counts. The old commands stay behind
ours, because they may know servers that keylease does not. Without `GOAUTH` the command is `netrc`.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Final

from keylease import tools
from keylease.cli import location
from keylease.cli.base import warn
from keylease.cli.setup.base import Plan, SetupError, carry_out, difference, named, setup_command
from keylease.cli.setup.lines import load, program
from keylease.cli.setup.records import replaced

if TYPE_CHECKING:
    from collections.abc import Sequence

    from keylease.cli.setup.lines import File

TOOL: Final = tools.named("go")
_KEY: Final = "GOAUTH"
_LINE: Final = re.compile(r"GOAUTH=.*")
_OURS: Final = re.compile(r'"?(?:[^";]*[/\\])?keylease-goauth(?:\.exe)?"?')
# go splits the list at semicolons, and each command at blanks outside quotes.
_UNFIT: Final = r"[\";\x00-\x1f]"
# `go help goauth`: the value without the variable.
_DEFAULT: Final = "netrc"


@setup_command
def go(dry_run: bool, undo: bool) -> None:
    """Let the go command fetch private modules with the sessions of git's servers.

    It sets one line in the file that go env -w writes. The old value, or netrc, stays behind it:

    \b
        GOAUTH=/usr/bin/keylease-goauth;netrc

    Everything else in the file stays. Go 1.24 or newer reads it. The go command cannot start a
    session: start it with keylease login URL, or with git. --undo puts the old value back.
    """  # noqa: D301 - click reads the backslash-b, and prints the line after it as it is
    carry_out("go", _undoing() if undo else plan(), dry_run=dry_run, undo=undo)
    if _KEY in os.environ and not undo:
        warn(f"{_KEY} is set in the environment, and counts before the file", "unset it")


def plan() -> Plan:
    """Return the changes that setup has to make.

    Raises:
        SetupError: the file cannot be read, or turns authentication off.
    """
    file = load(_path())
    old = _value(file)
    commands = [each.strip() for each in (old or _DEFAULT).split(";")]
    if "off" in commands:
        msg = f"{_path()} sets {_KEY}=off, so the go command uses no credentials"
        raise SetupError(msg, f"run: go env -u {_KEY}")
    path = program(TOOL.program, _UNFIT)
    ours = f'"{path}"' if " " in path else path
    others = [each for each in commands if not _OURS.fullmatch(each)]
    if commands[: len(commands) - len(others)] == [ours]:
        return Plan((file.change(),))
    # Commands that are not ours stay as they were typed.
    rest = (old or _DEFAULT) if len(others) == len(commands) else ";".join(others)
    after = file.changed(file.found(_LINE), [f"{_KEY}={ours};{rest}" if rest else f"{_KEY}={ours}"])
    before = None if old is None else _shown(commands)
    shown = difference(f"{_KEY}=", before, _shown([ours, *others]))
    # The record says only whether there was a value: the line itself still holds it.
    kept = replaced("go") if len(others) != len(commands) else {_KEY: bool(old)}
    return Plan((after.change(shown),), kept)


def helpers() -> list[str]:
    """Return the programs of keylease that the configuration names, if any.

    Raises:
        SetupError: the configuration cannot be read.
    """
    commands = [each.strip() for each in (_value(load(_path())) or "").split(";")]
    return [each.strip('"') for each in commands if _OURS.fullmatch(each)]


def _undoing() -> Plan:
    file = load(_path())
    commands = [each.strip() for each in (_value(file) or "").split(";")]
    others = [each for each in commands if not _OURS.fullmatch(each)]
    if len(others) == len(commands):
        return Plan((file.change(),))
    old = replaced("go").get(_KEY)
    rest = [f"{_KEY}={';'.join(others)}"] if others and (old or others != [_DEFAULT]) else []
    after = file.changed(file.found(_LINE), rest)
    shown = difference(f"{_KEY}=", _shown(commands), _shown(others) if rest else None)
    return Plan((after.change(shown),))


def _shown(commands: Sequence[str]) -> str:
    return ";".join(each if _OURS.fullmatch(each) else named(each) for each in commands)


def _value(file: File) -> str | None:
    # go uses the last line of the file.
    lines = file.found(_LINE)
    return lines[-1].partition("=")[2].strip() if lines else None


def _path() -> str:
    """Return the file that `go env -w` writes: GOENV, or a file in Go's os.UserConfigDir."""
    chosen = os.environ.get("GOENV")
    if chosen == "off":
        msg = "GOENV is off, so go reads no file"
        raise SetupError(msg, f"unset it, or set {_KEY}={TOOL.program} in the environment")
    if chosen:
        return chosen
    return location.path(TOOL.configuration[0])
