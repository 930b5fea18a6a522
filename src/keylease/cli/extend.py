"""`keylease extend`: restart the idle timeout of a session without releasing its secret."""

from __future__ import annotations

import click

from keylease.cli import address
from keylease.cli.base import Command, Program, say
from keylease.cli.table import duration
from keylease.model import NANOSECONDS


@click.command(cls=Command)
@click.argument("url")
@address.username_option
@address.tool_option
@click.pass_obj
def extend(program: Program, url: str, username: str | None, tool: str | None) -> None:
    """Restart the idle timeout of the session for URL.

    It extends the newest session that would answer git, as a use by git does. The cap stays: it
    counts from the start of the session, however often you extend it.

    The exit code is 3 if there is no live session. An ended session cannot be extended.
    """
    wanted = address.read(url, username, tool)
    with address.exact_hint(wanted, url, tool):
        session, left = program.wiring().session.extend(*wanted)
    say(f"extended the session for {address.describe(session.target, session.username)}")
    say(
        f"it ends after {duration(left.ns // NANOSECONDS)} without use,"
        f" after {duration(left.cap_ns // NANOSECONDS)} at the latest"
    )
