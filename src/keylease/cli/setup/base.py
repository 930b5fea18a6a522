"""The part of `keylease setup TOOL` that all tools share: show a plan, carry it out, take it back.

A tool's module makes the plan and this module carries it out, so `--dry-run` shows exactly what
would be done. Before setup writes, it records the change in the state directory. `--undo` removes
the change, to the byte if that place was not edited since. Text that is not keylease's may be
private, so it is neither changed, shown nor copied. A line that setup replaces stays in the file as
a comment.
"""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

import click

from keylease.cli import replacement
from keylease.cli.base import Command, say
from keylease.cli.setup import records
from keylease.cli.setup.gitconfig import find
from keylease.errors import KeyleaseError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from keylease.tools import Tool

MOST_BYTES: Final = replacement.MOST_BYTES
"""A longer configuration is refused."""


class SetupError(KeyleaseError):
    """A tool's configuration cannot be changed."""

    hint = "nothing was changed"


class Change(NamedTuple):
    """The change of one file."""

    path: str
    before: bytes | None
    """The content now; `None` if there is no file."""
    after: bytes | None
    """The new content; `None` removes the file."""
    shown: tuple[str, ...]
    """What the user sees: lines that begin with `+` or `-`, without a secret."""
    mode: int = 0o600
    """The mode of a new file, before the umask. An existing file keeps its mode."""
    exact: bool = True
    """Whether `--undo` may restore the same bytes. It may not if they hold a secret."""
    known: tuple[bytes, ...] = ()
    """Replaced text that is no secret: names of programs."""
    locked: bool = False
    """Whether the tool locks the file by a second file, whose name ends in `.lock`."""


class Plan(NamedTuple):
    """The changes that one `setup` makes."""

    changes: tuple[Change, ...]
    replaced: Mapping[str, Any] | None = None
    """What `--undo` needs to know, without a secret; `None` if it needs nothing."""


class AskingTool(Protocol):
    """The module of a tool whose configuration names a program to ask."""

    TOOL: Tool

    def helpers(self) -> list[str]:
        """Return the programs by which the tool asks keylease, as its configuration names them.

        Each is a path, or a name to look up on PATH. There is none if the tool is not set up.

        Raises:
            SetupError: the tool's configuration cannot be read.
        """


class PlainTool(AskingTool, Protocol):
    """The module of a tool whose setup needs no argument."""

    def plan(self) -> Plan:
        """Return the changes that setup has to make, if any. It makes none itself.

        Raises:
            SetupError: the tool's configuration cannot be read.
        """


def is_here(tool: Tool) -> bool:
    """Return whether one of the tool's programs is on PATH."""
    return any(find(program, os.get_exec_path()) for program in tool.commands)


def setup_command(function: Callable[..., None]) -> Command:
    """Make the command of a tool, with the options `--dry-run` and `--undo`."""
    undo = click.option(
        "--undo", is_flag=True, help="Take away what setup wrote, and put back what it replaced."
    )
    dry_run = click.option(
        "--dry-run", is_flag=True, help="Show what would be changed, and change nothing."
    )
    return click.command(cls=Command)(dry_run(undo(function)))


def undo_alone(*others: object) -> None:
    """Check that nothing else is given with `--undo`.

    Raises:
        UsageError: something is.
    """
    if any(others):
        msg = "--undo takes back everything that setup wrote, so it takes no arguments"
        raise UsageError(msg, "give --undo alone")


def difference(label: str, old: str | None, new: str | None) -> list[str]:
    """Return the lines that show a change of one value; `None` stands for no value."""
    pairs = (("-", old), ("+", new))
    return [f"{sign} {label}{value}" for sign, value in pairs if value is not None]


def named(command: str) -> str:
    """Return another program's command as it may be shown: its arguments may be secret."""
    program, *rest = command.split(maxsplit=1)[:2] or [""]
    return f"{program} ..." if rest else program


def read(path: str) -> bytes | None:
    """Return a configuration file, `None` if there is none. A link is followed.

    Raises:
        SetupError: it is not a regular file, is too long, or cannot be read.
    """
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    try:
        with os.fdopen(os.open(path, flags), "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                msg = f"{path} is not a regular file"
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
    """Carry out the plan and show it; with `dry_run` only show it.

    Raises:
        ChangedError: a file has changed since the plan. It stays as it is.
        SetupError: a file cannot be written. It stays as it was.
        StateError: the changes cannot be recorded, so none is made.
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
    """Remove what a killed setup left, and the excess that an earlier version recorded.

    Raises:
        SetupError: a leftover file cannot be removed.
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
    """Replace the file as a whole and keep its mode, or remove it.

    Raises:
        ChangedError: it has changed since the plan. It stays as it is.
        SetupError: it cannot be written. It stays as it was.
    """
    try:
        replacement.replace(
            change.path, change.before, change.after, mode=change.mode, locked=change.locked
        )
    except OSError as error:
        msg = f"{change.path} cannot be written: {error.strerror}"
        raise SetupError(msg, "the file is as it was") from error
