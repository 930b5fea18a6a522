"""What every `keylease setup TOOL` does alike: look, plan, show, write whole, and take back.

A tool's module plans and this one acts, so `--dry-run` cannot differ from what is done. What a
change replaces and nobody else keeps is kept in the state directory, and `--undo` puts it back, to
the byte where nobody has edited that place since. What is not keylease's is neither changed nor
shown: it may be private.
"""

from __future__ import annotations

import json
import os
import stat
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

import click

from keylease.cli.base import say
from keylease.cli.setup import patches
from keylease.cli.setup.gitconfig import find
from keylease.errors import KeyleaseError, StateError
from keylease.paths import state_directory
from keylease.statefile import Directory

if TYPE_CHECKING:
    from collections.abc import Mapping

MOST_BYTES: Final = 1 << 20
"""No configuration of a tool is longer."""
_KEPT: Final = "setup-{}.json"
_REPLACED, _FILES = "replaced", "files"


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


class Plan(NamedTuple):
    """What one `setup` is to do."""

    changes: tuple[Change, ...]
    replaced: Mapping[str, Any] | None = None
    """What `--undo` has to know, without a secret; `None` if it has to know nothing."""


class Tool(Protocol):
    """What `keylease setup` without a tool's name asks of a tool's module."""

    PROGRAMS: tuple[str, ...]
    """By what the tool is called; one of them on PATH means that it is here."""

    def helpers(self) -> list[str]:
        """Return the programs by which the tool asks keylease, as its configuration names them.

        By a path, or by a name that is looked for on PATH; none if the tool is not set up.

        Raises:
            SetupError: the tool's configuration cannot be read.
        """


class PlainTool(Tool, Protocol):
    """A tool that is set up without a further word."""

    def plan(self) -> Plan:
        """Return what has to be changed, if anything. It changes nothing.

        Raises:
            SetupError: the tool's configuration cannot be read.
        """


def is_here(tool: Tool) -> bool:
    """Return whether one of the tool's programs is on PATH."""
    return any(find(program, os.get_exec_path()) for program in tool.PROGRAMS)


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
        SetupError: a file has changed meanwhile, or cannot be written. It is as it was.
        StateError: what is replaced cannot be kept, so nothing is.
    """
    changes = [each for each in plan.changes if each.before != each.after]
    if not changes:
        say("nothing to undo" if undo else "nothing to change")
    if undo:
        changes = _exactly(tool, changes)
    elif changes and not dry_run:
        _keep(tool, plan.replaced, changes)
    for change in changes:
        if not dry_run:
            _write(change)
        say(f"{'would change' if dry_run else 'changed'} {change.path}:")
        for line in change.shown:
            say(f"  {line}")
    if undo and not dry_run and os.path.lexists(state_directory()):
        with Directory.open(state_directory()) as state:
            state.remove(_KEPT.format(tool))


def _keep(tool: str, new: Mapping[str, Any] | None, changes: list[Change]) -> None:
    """Write down what `--undo` has to know, before anything is changed."""
    record = _record(tool)
    files = record.get(_FILES, {})
    for change in changes:
        earlier = patches.unpacked(files.get(change.path, []))
        known = patches.with_change(earlier, change.before, change.after)
        files[change.path] = patches.packed(known if change.exact else [patches.SPOILT])
    kept = record.get(_REPLACED, {}) if new is None else dict(new)
    text = json.dumps({_REPLACED: kept, _FILES: files})
    with Directory.open(state_directory(), create=True) as state:
        state.replace(_KEPT.format(tool), text.encode("ascii"))


def _exactly(tool: str, changes: list[Change]) -> list[Change]:
    """Return the changes that leave each file as it was before setup, wherever that is known."""
    files = _record(tool).get(_FILES, {}) if changes else {}
    exact = []
    for change in changes:
        after = change.after
        if change.path in files:
            # Whoever has edited that place gets what the tool's own module can do.
            with suppress(patches.NoFitError):
                after = patches.taken_back(change.before, patches.unpacked(files[change.path]))
        exact.append(change._replace(after=after))
    return exact


def replaced(tool: str) -> dict[str, Any]:
    """Return what an earlier setup replaced; empty if nothing is known of one.

    Raises:
        StateError: the record cannot be used.
    """
    found: dict[str, Any] = _record(tool).get(_REPLACED, {})
    return found


def _record(tool: str) -> dict[str, Any]:
    if not os.path.lexists(state_directory()):
        return {}
    name = _KEPT.format(tool)
    with Directory.open(state_directory()) as state:
        packed = state.read(name, MOST_BYTES)
    try:
        found = json.loads(packed or b"{}")
    except ValueError:
        found = None
    if not isinstance(found, dict) or not all(isinstance(each, dict) for each in found.values()):
        msg = f"{name} is no record of what a setup replaced"
        raise StateError(msg, "delete it, and undo the setup by hand")
    return found


def _write(change: Change) -> None:
    """Put the file in the place of the one there is, whole and with its mode, or remove it."""
    # Dotfiles are often links to where they are kept. What they lead to is written.
    path = os.path.realpath(change.path)
    if read(path) != change.before:
        msg = f"{change.path} was changed by another program just now"
        raise SetupError(msg, "try again")
    unfinished = f"{path}.{os.getpid()}.keylease"
    try:
        if change.after is None:
            os.unlink(path)
            return
        there = None
        with suppress(FileNotFoundError):
            there = os.stat(path)
        os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
        try:
            mode = change.mode if there is None else 0o600
            with os.fdopen(os.open(unfinished, flags, mode), "wb") as file:
                file.write(change.after)
                file.flush()
                os.fsync(file.fileno())
            if there is not None:
                _resemble(unfinished, there)
            os.replace(unfinished, path)
        finally:
            with suppress(FileNotFoundError):
                os.unlink(unfinished)
    except OSError as error:
        msg = f"{change.path} cannot be written: {error.strerror}"
        raise SetupError(msg, "it is as it was") from error


def _resemble(path: str, there: os.stat_result) -> None:
    """Give a new file the owner and the mode of the one whose place it takes.

    Raises:
        OSError: it is somebody else's, and to take it from them is not for us.
    """
    if sys.platform != "win32":
        own = os.stat(path)
        if (own.st_uid, own.st_gid) != (there.st_uid, there.st_gid):
            os.chown(path, there.st_uid, there.st_gid)
    os.chmod(path, stat.S_IMODE(there.st_mode))
