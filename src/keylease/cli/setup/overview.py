"""`keylease setup` without a tool's name: find the tools, show the changes for each, and ask.

It only runs the commands of the tools, one after the other.
"""

from __future__ import annotations

import sys
from contextlib import suppress
from importlib import import_module
from typing import TYPE_CHECKING, Final, NamedTuple, cast

import click

from keylease.cli.base import say, warn
from keylease.cli.plaintext import holders
from keylease.cli.setup.base import is_here
from keylease.errors import KeyleaseError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from keylease.cli.setup.base import AskingTool, PlainTool, Plan

_EXAMPLE: Final = "keylease setup docker"


class Found(NamedTuple):
    """A tool that is installed but not set up."""

    name: str
    command: click.Command
    plan: Plan


def show(context: click.Context, modules: Mapping[str, str], *, dry_run: bool) -> None:
    """Show the changes for each installed tool, ask, and make them.

    Args:
        context: The context of `keylease setup`.
        modules: The module of each tool.
        dry_run: Whether to show the changes only.
    """
    for place, path in holders():
        warn(f"{path} ({place.tool}) holds a password or token in plaintext", place.remedy)
    for name, command in _others(modules):
        say(f"{name} is installed and needs an argument to be set up: {command}")
    found = list(_found(modules))
    if not found:
        say("every other installed tool already asks keylease")
        return
    for each in found:
        _describe(each)
    if dry_run:
        return
    if sys.stdin is None or not sys.stdin.isatty():
        warn("nothing was changed: stdin is not a terminal", f"name the tool: {_EXAMPLE}")
        return
    for each in found:
        if click.confirm(f"Set up {each.name}?", default=False, err=True):
            context.invoke(each.command)


def undo(context: click.Context, modules: Mapping[str, str], *, dry_run: bool) -> None:
    """Take back what setup wrote for every tool that is set up.

    Args:
        context: The context of `keylease setup`.
        modules: The module of each tool.
        dry_run: Whether to show the changes only.
    """
    for name, path in modules.items():
        module = import_module(path)
        if not hasattr(module, "helpers"):
            continue
        try:
            if not cast("AskingTool", module).helpers():
                continue
            command = cast("click.Command", getattr(module, name))
            if any(each.required for each in command.params):
                warn(f"{name} stays set up", f"run: {module.TOOL.setup} --undo")
                continue
            context.invoke(command, undo=True, dry_run=dry_run)
        except KeyleaseError as error:
            # A broken file of one tool must not prevent the undo of the others.
            warn(f"{name}: {error}", error.hint)
    warn("git and completion stay set up", "run: keylease setup git --undo")


def _describe(found: Found) -> None:
    for change in found.plan.changes:
        say(f"{found.name}: would change {change.path}:")
        for line in change.shown:
            say(f"  {line}")


def _others(modules: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Yield each tool that is installed, is not set up, and needs an argument for its setup."""
    for name, path in modules.items():
        module = import_module(path)
        if not hasattr(module, "helpers") or hasattr(module, "plan"):
            continue
        # The tool's own command and doctor report a broken file.
        with suppress(KeyleaseError):
            asker = cast("AskingTool", module)
            if is_here(asker.TOOL) and not asker.helpers():
                yield name, asker.TOOL.setup


def _found(modules: Mapping[str, str]) -> Iterator[Found]:
    """Yield each tool that is on PATH and whose configuration would change."""
    for name, path in modules.items():
        module = import_module(path)
        if not hasattr(module, "plan") or not is_here(cast("PlainTool", module).TOOL):
            continue
        try:
            plan = cast("PlainTool", module).plan()
        except KeyleaseError as error:
            # A broken file of one tool must not prevent the setup of the others.
            warn(f"{name}: {error}", error.hint)
            continue
        if any(change.before != change.after for change in plan.changes):
            yield Found(name, cast("click.Command", getattr(module, name)), plan)
