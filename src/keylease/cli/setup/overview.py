"""`keylease setup` without a tool's name: which tools are here, and what each would be told.

It does what the commands of the tools do, one after the other, and nothing of its own.
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
    """A tool of this machine that is not set up."""

    name: str
    command: click.Command
    plan: Plan


def show(context: click.Context, modules: Mapping[str, str], *, dry_run: bool) -> None:
    """Show what would be changed for each tool that is here, ask, and do it.

    Args:
        context: That of `keylease setup`.
        modules: The module of each tool.
        dry_run: Whether nobody is asked and nothing done.
    """
    for place, path in holders():
        warn(f"{path} ({place.tool}) holds a password or token in plaintext", place.remedy)
    for name, command in _others(modules):
        say(f"{name} is here, and asks once it is named: {command}")
    found = list(_found(modules))
    if not found:
        say("every tool that was found asks keylease already")
        return
    for each in found:
        _describe(each)
    if dry_run:
        return
    if sys.stdin is None or not sys.stdin.isatty():
        warn("nothing was changed, for there is nobody to ask", f"name the tool: {_EXAMPLE}")
        return
    for each in found:
        if click.confirm(f"Set up {each.name}?", default=False, err=True):
            context.invoke(each.command)


def undo(context: click.Context, modules: Mapping[str, str], *, dry_run: bool) -> None:
    """Take back what setup wrote for every tool that is set up.

    Args:
        context: That of `keylease setup`.
        modules: The module of each tool.
        dry_run: Whether it is only shown.
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
                warn(f"{name} is left as it is", f"run: {module.TOOL.setup} --undo")
                continue
            context.invoke(command, undo=True, dry_run=dry_run)
        except KeyleaseError as error:
            # One tool whose file is broken does not keep the others from being undone.
            warn(f"{name}: {error}", error.hint)
    warn("git and completion are left as they are", "run: keylease setup git --undo")


def _describe(found: Found) -> None:
    for change in found.plan.changes:
        say(f"{found.name}: would change {change.path}:")
        for line in change.shown:
            say(f"  {line}")


def _others(modules: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Yield each tool that is here, is not set up, and needs to be told for what."""
    for name, path in modules.items():
        module = import_module(path)
        if not hasattr(module, "helpers") or hasattr(module, "plan"):
            continue
        # What is broken is told by the tool's own command, and by doctor.
        with suppress(KeyleaseError):
            asker = cast("AskingTool", module)
            if is_here(asker.TOOL) and not asker.helpers():
                yield name, asker.TOOL.setup


def _found(modules: Mapping[str, str]) -> Iterator[Found]:
    """Yield each tool that is on PATH and would have to be told something."""
    for name, path in modules.items():
        module = import_module(path)
        if not hasattr(module, "plan") or not is_here(cast("PlainTool", module).TOOL):
            continue
        try:
            plan = cast("PlainTool", module).plan()
        except KeyleaseError as error:
            # One tool whose file is broken does not keep the others from being set up.
            warn(f"{name}: {error}", error.hint)
            continue
        if any(change.before != change.after for change in plan.changes):
            yield Found(name, cast("click.Command", getattr(module, name)), plan)
