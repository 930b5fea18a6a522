"""`keylease read`: write one value of a session to stdout, for tools that run a command for it."""

from __future__ import annotations

import click

from keylease.cli import address, handout
from keylease.cli.base import Command, Program
from keylease.errors import UsageError
from keylease.session.select import Asked


@click.command(cls=Command)
@click.argument("url")
@address.username_option
@address.tool_option
@click.option(
    "--field",
    metavar="FIELD",
    default=handout.PASSWORD,
    help="The value to write: password (the default), username, or the name of an extra field of "
    "the session.",
)
@click.option("--no-newline", is_flag=True, help="Write no line end after the value.")
@click.option("--show", is_flag=True, help="Write the value even if stdout is a terminal.")
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

    It is for tools that run a command to get a password:

    \b
        export RESTIC_PASSWORD_COMMAND='keylease read https://backup.example'
        rclone --password-command 'keylease read https://rclone.example' lsd x:

    The value is written unchanged, with one line end after it, which such tools remove. If stdout
    is a terminal, nothing is released unless you give --show.

    This is a use of the session, like git's, and one line in the audit log. Without a live session
    it writes nothing and the exit code is 3, so the tool stops and shows the message of keylease.
    """  # noqa: D301 - click reads the backslash-b, and prints the lines after it as they are
    if not handout.FIELD.fullmatch(field):
        msg = "--field does not have the name of a field"
        raise UsageError(msg, "expected password, username or the name of an extra field")
    wanted = address.read(url, username, tool)
    if not show:
        handout.refuse_terminal("nothing was released; to write it to the terminal, give --show")
    with address.exact_hint(wanted, url, tool):
        reply = program.wiring().session.release(Asked(*wanted))
    try:
        data = handout.value(reply.credential, field, "the release is in the audit log")
        with address.exact_hint(wanted, url, tool):
            handout.write(data, b"" if no_newline else b"\n", gate=reply.gate)
    finally:
        reply.wipe()
