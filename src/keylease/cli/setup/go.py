"""`keylease setup go`: one line of the file that `go env -w` writes.

`GOAUTH` is a list of commands, and the first of them that has an answer counts. What is there stays
behind ours: without the variable that is `netrc`, and some servers are known to no other.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Final

import click

from keylease import tools
from keylease.cli import location
from keylease.cli.base import Command, Program, warn
from keylease.cli.setup.base import (
    Plan,
    SetupError,
    carry_out,
    dry_run_option,
    named,
    undo_option,
)
from keylease.cli.setup.lines import load, program
from keylease.cli.setup.records import replaced

if TYPE_CHECKING:
    from collections.abc import Sequence

    from keylease.cli.setup.lines import File

TOOL: Final = tools.named("go")
_KEY: Final = "GOAUTH"
_LINE: Final = re.compile(r"GOAUTH=.*")
_OURS: Final = re.compile(r'"?(?:[^";]*[/\\])?keylease-goauth(?:\.exe)?"?')
# The list is split at semicolons, and each of its commands at blanks where no quotes are.
_UNFIT: Final = r"[\";\x00-\x1f]"
# `go help goauth`: what counts where nothing is said.
_DEFAULT: Final = "netrc"


@click.command(cls=Command)
@dry_run_option
@undo_option
@click.pass_obj
def go(_: Program, dry_run: bool, undo: bool) -> None:
    """Let the go command fetch private modules with the sessions of git's servers.

    It sets one line in the file that go env -w writes, with what was there, or netrc, behind it:

    \b
        GOAUTH=/usr/bin/keylease-goauth;netrc

    Everything else in the file stays. Go 1.24 or newer reads it. The go command cannot start a
    session: that is done with keylease login URL, or by git. What was there before is put back by
    --undo.
    """  # noqa: D301 - click reads the backslash-b, and prints the line after it as it is
    carry_out("go", _undoing() if undo else plan(), dry_run=dry_run, undo=undo)
    if _KEY in os.environ and not undo:
        warn(f"{_KEY} is set in the environment, and counts before the file", "unset it")


def plan() -> Plan:
    """Return what has to be changed.

    Raises:
        SetupError: the file cannot be read, or says that nobody is to be asked.
    """
    file = load(_path())
    old = _value(file)
    commands = [each.strip() for each in (old or _DEFAULT).split(";")]
    if "off" in commands:
        msg = f"{_path()} says {_KEY}=off, so nobody is to be asked"
        raise SetupError(msg, f"run: go env -u {_KEY}")
    path = program(TOOL.program, _UNFIT)
    ours = f'"{path}"' if " " in path else path
    others = [each for each in commands if not _OURS.fullmatch(each)]
    if commands[: len(commands) - len(others)] == [ours]:
        return Plan((file.change(()),))
    # What is there stays as it was typed, if it is not ours.
    rest = (old or _DEFAULT) if len(others) == len(commands) else ";".join(others)
    after, _ = file.changed(
        file.found(_LINE), [f"{_KEY}={ours};{rest}" if rest else f"{_KEY}={ours}"]
    )
    shown = (
        *(() if old is None else (f"- {_KEY}={_shown(commands)}",)),
        f"+ {_KEY}={_shown([ours, *others])}",
    )
    # Only whether there was one: what it was stays in the line.
    kept = replaced("go") if len(others) != len(commands) else {_KEY: bool(old)}
    return Plan((after.change(shown),), kept)


def helpers() -> list[str]:
    """Return the programs that the configuration names for it, of keylease's; none if it does not.

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
        return Plan((file.change(()),))
    old = replaced("go").get(_KEY)
    rest = [f"{_KEY}={';'.join(others)}"] if others and (old or others != [_DEFAULT]) else []
    after, _ = file.changed(file.found(_LINE), rest)
    shown = [f"- {_KEY}={_shown(commands)}"]
    shown += [f"+ {_KEY}={_shown(others)}"] if rest else []
    return Plan((after.change(shown),))


def _shown(commands: Sequence[str]) -> str:
    return ";".join(each if _OURS.fullmatch(each) else named(each) for each in commands)


def _value(file: File) -> str | None:
    # As go reads the file: the last one counts.
    lines = file.found(_LINE)
    return lines[-1].partition("=")[2].strip() if lines else None


def _path() -> str:
    """Return the file that `go env -w` writes: os.UserConfigDir of Go, or what GOENV says."""
    chosen = os.environ.get("GOENV")
    if chosen == "off":
        msg = "GOENV is off, so go reads no file"
        raise SetupError(msg, f"unset it, or set {_KEY}={TOOL.program} in the environment")
    if chosen:
        return chosen
    return location.path(TOOL.configuration[0])
