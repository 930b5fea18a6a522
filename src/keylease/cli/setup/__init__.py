"""`keylease setup`: configure other programs to ask keylease. Each tool has its own module."""

from __future__ import annotations

from typing import Final

import click

from keylease import tools
from keylease.cli.base import Group
from keylease.errors import UsageError

TOOLS: Final = {
    **{tool.name: f"keylease.cli.setup.{tool.name}" for tool in tools.TOOLS if tool.setup},
    "completion": "keylease.cli.setup.completion",
}
"""The module of each tool by the tool's name."""


class _Setup(Group):
    """A group that runs without a tool's name, too, instead of printing the help."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the command line, which may be empty."""
        return click.Group.parse_args(self, ctx, args)


@click.group(cls=_Setup, modules=TOOLS, invoke_without_command=True)
@click.option(
    "--dry-run",
    is_flag=True,
    help="Without a tool's name: show what would be changed, ask nothing, and change nothing.",
)
@click.option(
    "--undo",
    is_flag=True,
    help="Without a tool's name: take away what setup wrote for every tool except git, and put "
    "back what it replaced.",
)
@click.pass_context
def setup(context: click.Context, dry_run: bool, undo: bool) -> None:
    """Let tools ask keylease, and shells complete its commands.

    Without a tool's name it looks for the tools on this machine and names those that keep a
    password or token in plaintext. It shows what it would change for each tool, and asks. Each tool
    also has its own command to set it up and to undo that.
    """
    if context.invoked_subcommand is not None:
        if dry_run or undo:
            msg = f"{'--dry-run' if dry_run else '--undo'} is given before the tool's name"
            raise UsageError(msg, f"put it after {context.invoked_subcommand}")
        return
    from keylease.cli.setup import overview

    act = overview.undo if undo else overview.show
    act(context, TOOLS, dry_run=dry_run)
