"""The options that name a command's session: its target and its user."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, cast

import click

from keylease.errors import LOGIN, KeyleaseError, UsageError
from keylease.protocols import PROTOCOLS, load
from keylease.protocols.address import Address, describe, login_command, name, parse_url

if TYPE_CHECKING:
    from collections.abc import Iterator

    from keylease.protocols.base import Nameable

__all__ = [
    "Address",
    "describe",
    "exact_hint",
    "listing_tool_option",
    "name",
    "read",
    "tool_option",
    "username_option",
]

TOOLS: Final = tuple(tool for tool in PROTOCOLS if tool != "git")
"""The tools that have sessions of their own. git's are those of the web."""

username_option = click.option(
    "--username",
    metavar="USER",
    help="Whose session, where the URL names nobody (https://USER@host).",
)
"""The option `--username`, as every command with a URL has it."""
_TOOL_HELP: Final = "Whose session, where it is not git's: URL is then what that tool knows it by. "
tool_option = click.option(
    "--tool",
    metavar="NAME",
    type=click.Choice(TOOLS),
    help=f"{_TOOL_HELP}keylease login --help lists the tools.",
)
"""The option `--tool`, as every command has it that shows or ends a session."""
listing_tool_option = click.option(
    "--tool",
    metavar="NAME",
    type=click.Choice(TOOLS),
    help=f"{_TOOL_HELP}One of {', '.join(TOOLS)}.",
)
"""The same, with all the names. One command lists them, so a new tool changes one page."""


def read(url: str, username: str | None = None, tool: str | None = None) -> Address:
    """Return what a person names: a URL, or what a tool of its own knows its session by.

    Raises:
        UsageError: it makes no sense.
    """
    if tool is None:
        return parse_url(url, username)
    protocol = load(tool)
    if not hasattr(protocol, "target"):
        msg = f"the sessions of {tool} are those of git"
        raise UsageError(msg, "name the URL, and leave --tool out")
    target = cast("Nameable", protocol).target(url)
    return Address(target, None if username is None else name(username))


@contextmanager
def exact_hint(
    wanted: Address | None, url: str | None = None, tool: str | None = None
) -> Iterator[None]:
    """Let a refusal that says to log in name the very command to type.

    Args:
        wanted: What the session is for, if one is named.
        url: What was typed for it. It is needed for a tool's own session alone.
        tool: That tool.
    """
    try:
        yield
    except KeyleaseError as error:
        if wanted is not None:
            error.hint = error.hint.replace(LOGIN, login_command(wanted, url, tool))
        raise
