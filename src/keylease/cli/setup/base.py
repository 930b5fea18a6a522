"""What every `keylease setup TOOL` does alike: look, plan, show, write whole, and take back.

A tool's module plans and this one acts, so `--dry-run` cannot differ from what is done. What setup
writes is recorded first in the state directory, and `--undo` takes it out again, to the byte where
nobody has edited that place since. What is not keylease's is neither changed, shown nor copied: it
may be private. A line that setup replaces stays in the file as a comment.
"""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

import click

from keylease.cli import replacement
from keylease.cli.base import say
from keylease.cli.setup import records
from keylease.cli.setup.gitconfig import find
from keylease.errors import KeyleaseError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from keylease.tools import Tool

MOST_BYTES: Final = replacement.MOST_BYTES
"""No configuration of a tool is longer."""


class SetupError(KeyleaseError):
    """A tool's configuration is not one that can be changed."""

    hint = "nothing was changed"


class Change(NamedTuple):
    """One file as it is, and as it is to be."""

    path: str
    before: bytes | None
    """`None` if there is none."""
    after: bytes | None
    """`None` if it is to be removed."""
    shown: tuple[str, ...]
    """What a person sees of it: lines that begin with `+` or `-`, none of them a secret."""
    mode: int = 0o600
    """Of a new file, less what the umask takes. One that is there keeps its own."""
    exact: bool = True
    """Whether `--undo` may put back the very bytes; not where a secret is among them."""
    known: tuple[bytes, ...] = ()
    """What is replaced that is no secret: names of programs."""
    locked: bool = False
    """Whether the tool locks the file by a file of that name with `.lock` at its end."""


class Plan(NamedTuple):
    """What one `setup` is to do."""

    changes: tuple[Change, ...]
    replaced: Mapping[str, Any] | None = None
    """What `--undo` has to know, without a secret; `None` if it has to know nothing."""


class AskingTool(Protocol):
    """The module of a tool that is told which program to ask."""

    TOOL: Tool

    def helpers(self) -> list[str]:
        """Return the programs by which the tool asks keylease, as its configuration names them.

        By a path, or by a name that is looked for on PATH; none if the tool is not set up.

        Raises:
            SetupError: the tool's configuration cannot be read.
        """


class PlainTool(AskingTool, Protocol):
    """The module of a tool that is set up without a further word."""

    def plan(self) -> Plan:
        """Return what has to be changed, if anything. It changes nothing.

        Raises:
            SetupError: the tool's configuration cannot be read.
        """


def is_here(tool: Tool) -> bool:
    """Return whether one of the tool's programs is on PATH."""
    return any(find(program, os.get_exec_path()) for program in tool.commands)


dry_run_option = click.option(
    "--dry-run", is_flag=True, help="Show what would be changed, and change nothing."
)
"""The option `--dry-run`, as every setup has it."""
undo_option = click.option(
    "--undo", is_flag=True, help="Take away what setup wrote, and put back what it replaced."
)
"""The option `--undo`, as every setup has it."""


def named(command: str) -> str:
    """Return a command of somebody else's as it may be shown: what stands behind may be secret."""
    program, *rest = command.split(maxsplit=1)[:2] or [""]
    return f"{program} ..." if rest else program


def read(path: str) -> bytes | None:
    """Return a configuration file, `None` if there is none. A link is followed.

    Raises:
        SetupError: it is no file, too long, or cannot be read.
    """
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    try:
        with os.fdopen(os.open(path, flags), "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                msg = f"{path} is no regular file"
                raise SetupError(msg)
            data = file.read(MOST_BYTES + 1)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        msg = f"{path} cannot be read: {error.strerror}"
        raise SetupError(msg) from error
    if len(data) > MOST_BYTES:
        msg = f"{path} is longer than {MOST_BYTES} bytes"
        raise SetupError(msg)
    return data


def carry_out(tool: str, plan: Plan, *, dry_run: bool, undo: bool) -> None:
    """Do what is planned and show it; with `dry_run` only show it.

    Raises:
        ChangedError: a file has changed meanwhile. It is left so.
        SetupError: a file cannot be written. It is as it was.
        StateError: what is done cannot be recorded, so nothing is.
    """
    if not dry_run:
        tidy(tool, plan)
    changes = [each for each in plan.changes if each.before != each.after]
    if not changes:
        say("nothing to undo" if undo else "nothing to change")
    if undo:
        changes = records.exactly(tool, changes)
    elif changes and not dry_run:
        records.keep(tool, plan.replaced, changes)
    for change in changes:
        if not dry_run:
            write(change)
        say(f"{'would change' if dry_run else 'changed'} {change.path}:")
        for line in change.shown:
            say(f"  {line}")
    if undo and not dry_run:
        records.forget(tool, [each.path for each in plan.changes])


def tidy(tool: str, plan: Plan) -> None:
    """Remove what a killed setup left, and what an earlier version recorded too much.

    Raises:
        SetupError: a file that was left cannot be removed.
        StateError: the record cannot be used.
    """
    records.rewrite(tool)
    records.sweep(tool)
    for change in plan.changes:
        try:
            replacement.sweep(os.path.realpath(change.path))
        except OSError as error:
            msg = f"the directory of {change.path} cannot be tidied: {error.strerror}"
            raise SetupError(msg) from error


def write(change: Change) -> None:
    """Put the file in the place of the one there is, whole and with its mode, or remove it.

    Raises:
        ChangedError: it has changed meanwhile. It is left so.
        SetupError: it cannot be written. It is as it was.
    """
    try:
        replacement.replace(
            change.path, change.before, change.after, mode=change.mode, locked=change.locked
        )
    except OSError as error:
        msg = f"{change.path} cannot be written: {error.strerror}"
        raise SetupError(msg, "it is as it was") from error
