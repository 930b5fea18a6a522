"""`keylease setup`: what other programs have to be told. One module for each tool of the table."""

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
"""Every tool by its name."""


class _Setup(Group):
    """Without a tool's name there is something to say, and not only the help."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Take the command line apart, though there may be nothing on it."""
        return click.Group.parse_args(self, ctx, args)


@click.group(cls=_Setup, modules=TOOLS, invoke_without_command=True)
@click.option(
    "--dry-run",
    is_flag=True,
    help="Without a tool's name: show what would be changed, ask nobody, and change nothing.",
)
@click.option(
    "--undo",
    is_flag=True,
    help="Without a tool's name: take away what setup wrote for each tool but git, and put back "
    "what it replaced.",
)
@click.pass_context
def setup(context: click.Context, dry_run: bool, undo: bool) -> None:
    """Let tools ask keylease, and shells complete its commands.

    Without a tool's name it looks for the tools on this machine, says which of them keep a password
    or token in plaintext, shows what it would change for each, and asks. Each can be set up, and
    undone, by its own command as well.
    """
    if context.invoked_subcommand is not None:
        if dry_run or undo:
            msg = f"{'--dry-run' if dry_run else '--undo'} stands before the tool's name"
            raise UsageError(msg, f"put it after {context.invoked_subcommand}")
        return
    from keylease.cli.setup import overview

    act = overview.undo if undo else overview.show
    act(context, TOOLS, dry_run=dry_run)
