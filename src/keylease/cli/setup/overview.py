"""`keylease setup` without a tool's name: which tools are here, and what each would be told.

It does what the commands of the tools do, one after the other, and nothing of its own.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module
from typing import TYPE_CHECKING, Final, NamedTuple, cast

import click

from keylease.cli.base import say, warn
from keylease.cli.doctor.plaintext import holders
from keylease.cli.setup.gitconfig import find
from keylease.errors import KeyleaseError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from keylease.cli.setup.base import Plan, Tool

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
    found = list(_found(modules))
    if not found:
        say("every tool that was found asks keylease already")
        return
    for each in found:
        for change in each.plan.changes:
            say(f"{each.name}: would change {change.path}:")
            for line in change.shown:
                say(f"  {line}")
    if dry_run:
        return
    if sys.stdin is None or not sys.stdin.isatty():
        warn("nothing was changed, for there is nobody to ask", f"name the tool: {_EXAMPLE}")
        return
    for each in found:
        if click.confirm(f"Set up {each.name}?", default=False, err=True):
            context.invoke(each.command)


def _found(modules: Mapping[str, str]) -> Iterator[Found]:
    """Yield each tool that is on PATH and would have to be told something."""
    for name, path in modules.items():
        module = import_module(path)
        programs = getattr(module, "PROGRAMS", ())
        if not any(find(program, os.get_exec_path()) for program in programs):
            continue
        try:
            plan = cast("Tool", module).plan()
        except KeyleaseError as error:
            # One tool whose file is broken does not keep the others from being set up.
            warn(f"{name}: {error}", error.hint)
            continue
        if any(change.before != change.after for change in plan.changes):
            yield Found(name, cast("click.Command", getattr(module, name)), plan)
