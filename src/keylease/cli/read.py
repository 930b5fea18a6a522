"""`keylease read`: one value of a session on stdout, for tools that run a command to get it."""

from __future__ import annotations

import click

from keylease.cli import address, handout
from keylease.cli.base import Command, Program
from keylease.errors import UsageError


@click.command(cls=Command)
@click.argument("url")
@address.username_option
@address.tool_option
@click.option(
    "--field",
    metavar="FIELD",
    default=handout.PASSWORD,
    help="What to write: password if nothing is said, username, or the name of an extra field of "
    "the session.",
)
@click.option("--no-newline", is_flag=True, help="Write no line end after the value.")
@click.option("--show", is_flag=True, help="Write it even if stdout is a terminal.")
@click.pass_obj
def read(  # noqa: PLR0913, PLR0917 - click passes each option as an argument
    program: Program,
    url: str,
    username: str | None,
    tool: str | None,
    field: str,
    no_newline: bool,
    show: bool,
) -> None:
    """Write the password of the session for URL to stdout.

    It is for tools that take the output of a command for a password:

    \b
        export RESTIC_PASSWORD_COMMAND='keylease read https://backup.example'
        rclone --password-command 'keylease read https://rclone.example' lsd x:

    The value is written byte by byte, with one line end after it, which such tools take away again.
    To a terminal nothing is written and nothing released, unless --show is given.

    It counts as a use of the session, like git's, and is one line in the audit log. Without a live
    session nothing is written, and the exit code is 3: the tool stops and shows what keylease says.
    """  # noqa: D301 - click reads the backslash-b, and prints the lines after it as they are
    if not handout.FIELD.fullmatch(field):
        msg = "--field has something that names no field"
        raise UsageError(msg, "expected password, username or the name of a field")
    wanted = address.read(url, username, tool)
    if not show:
        handout.refuse_terminal("nothing was released; give --show if that is what you want")
    with address.exact_hint(wanted, url, tool):
        reply = program.wiring().session.release(*wanted)
    try:
        data = handout.value(reply.credential, field, "the release is in the audit log")
        with address.exact_hint(wanted, url, tool):
            handout.write(data, b"" if no_newline else b"\n", gate=reply.gate)
    finally:
        reply.wipe()
