"""The options that name a session: its target and its user."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, cast

import click

from keylease.errors import LOGIN, KeyleaseError, UsageError
from keylease.protocols.address import Address, describe, login_command, name, parse_url
from keylease.protocols.peers import PROTOCOLS, load

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
"""The tools that have their own sessions. git uses those of the namespace web."""

username_option = click.option(
    "--username",
    metavar="USER",
    help="The user of the session, if the URL does not name one (https://USER@host).",
)
"""The option `--username` of every command with a URL."""
_TOOL_HELP: Final = (
    "The tool of the session, if it is not git. URL is then the tool's own name for it. "
)
tool_option = click.option(
    "--tool",
    metavar="NAME",
    type=click.Choice(TOOLS),
    help=f"{_TOOL_HELP}keylease login --help lists the tools.",
)
"""The option `--tool` of every command that shows or ends a session."""
listing_tool_option = click.option(
    "--tool",
    metavar="NAME",
    type=click.Choice(TOOLS),
    help=f"{_TOOL_HELP}One of {', '.join(TOOLS)}.",
)
"""The same option with all the names. One command lists them, so a new tool changes one page."""


def read(url: str, username: str | None = None, tool: str | None = None) -> Address:
    """Return the address of a URL, or of a tool's own name for its session.

    Raises:
        UsageError: the text is not a valid URL or name.
    """
    if tool is None:
        return parse_url(url, username)
    protocol = load(tool)
    if not hasattr(protocol, "target"):
        msg = f"{tool} uses the sessions of git"
        raise UsageError(msg, "give the URL without --tool")
    target = cast("Nameable", protocol).target(url)
    return Address(target, None if username is None else name(username))


@contextmanager
def exact_hint(
    wanted: Address | None, url: str | None = None, tool: str | None = None
) -> Iterator[None]:
    """Put the exact login command into the hint of a refusal.

    Args:
        wanted: The target and user of the session, if the command line names one.
        url: The text on the command line. Needed only for a tool's own session.
        tool: That tool.
    """
    try:
        yield
    except KeyleaseError as error:
        if wanted is not None:
            error.hint = error.hint.replace(LOGIN, login_command(wanted, url, tool))
        raise
