"""`keylease logout`: end sessions before their time."""

from __future__ import annotations

import click

from keylease.cli import address
from keylease.cli.base import Command, Program, say, see_help
from keylease.cli.table import counted
from keylease.errors import KeychainUnavailableError, SessionNotFoundError, UsageError


@click.command(cls=Command)
@click.argument("url", required=False)
@address.username_option
@address.tool_option
@click.option("--all", "everything", is_flag=True, help="End every session.")
@click.pass_obj
@click.pass_context
def logout(  # noqa: PLR0913, PLR0917 - click passes each option as an argument
    ctx: click.Context,
    program: Program,
    url: str | None,
    username: str | None,
    tool: str | None,
    everything: bool,
) -> None:
    """End the sessions for URL, or all of them.

    Without a path, the URL stands for every session of that host; without a user name, for every
    user's. The sealed files are removed from the disk. A tool keeps a password that it already
    received: change it at the server if that matters.

    --all needs no keychain and works while it is locked. You can also end every session from
    outside: delete the vault key from the keychain.

    If a tool is being answered at this moment, the command waits up to two seconds for that answer
    and says if it did not finish. After the command no tool receives the secret.

    The exit code is 3 if there was no session to end, and 6 if an answer did not finish.
    """
    named = (url, username, tool) != (None, None, None)
    if everything == named or (named and url is None):
        msg = "expected either a URL or --all"
        raise UsageError(msg, see_help(ctx))
    if url is None:
        _end_all(program)
    else:
        _end(program, address.read(url, username, tool))


def _end(program: Program, wanted: address.Address) -> None:
    try:
        ended = program.wiring().auth.logout(*wanted)
    except SessionNotFoundError:
        # There is no vault yet. The usual hint to log in does not fit a logout.
        ended = []
    except KeychainUnavailableError as error:
        hint = f"{error.hint}; or end every session with: keylease logout --all"
        raise type(error)(str(error), hint) from error
    for session in ended:
        say(f"ended the session for {address.describe(session.target, session.username)}")
    if not ended:
        msg = f"there is no session for {wanted}"
        raise SessionNotFoundError(msg, "list sessions: keylease status")


def _end_all(program: Program) -> None:
    ended = program.wiring().auth.logout_all()
    if not ended:
        msg = "there is no session"
        raise SessionNotFoundError(msg, "nothing to do")
    say(f"ended {counted(len(ended), 'session')}")
