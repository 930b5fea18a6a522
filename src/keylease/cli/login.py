"""`keylease login`: start a session with a password that a person has."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from keylease.cli import address
from keylease.cli.base import Command, Program, say, warn
from keylease.cli.credentials import Given, ask
from keylease.cli.table import duration, read_time
from keylease.errors import UsageError
from keylease.model import MAX_CAP_SECONDS, NANOSECONDS, Limits

if TYPE_CHECKING:
    from keylease.cli.address import Address
    from keylease.secrets.secret import Secret


@click.command(cls=Command)
@click.argument("url")
@address.username_option
@address.listing_tool_option
@click.option(
    "--password-stdin",
    is_flag=True,
    help="Read the password from stdin instead of the terminal. One line end after it is not part "
    "of it.",
)
@click.option(
    "--field",
    "fields",
    metavar="NAME",
    multiple=True,
    help="Ask for another secret of the tool, too: session_token of aws.",
)
@click.option(
    "--field-file",
    "files",
    metavar="NAME FILE",
    nargs=2,
    multiple=True,
    help="Read another secret of the tool from FILE: session_token of aws, certificate and key of "
    "kubernetes. FILE stays as it is.",
)
@click.option(
    "--expires",
    metavar="TIME",
    help="End the session at TIME (2026-11-22T16:00:00Z) at the latest, because the credential "
    "itself ends then.",
)
@click.option(
    "--timeout",
    metavar="SECONDS",
    type=int,
    help="End the session after so long without use; as configured if not given, and never later "
    "than the policy of the machine allows. The cap stays.",
)
@click.option(
    "--verify",
    is_flag=True,
    help="Ask the server first whether it takes the password, as git would. Without it nobody is "
    "asked.",
)
@click.pass_obj
def login(  # noqa: PLR0913, PLR0917 - click passes each option as an argument
    program: Program,
    url: str,
    username: str | None,
    tool: str | None,
    password_stdin: bool,
    fields: tuple[str, ...],
    files: tuple[tuple[str, str], ...],
    expires: str | None,
    timeout: int | None,
    verify: bool,
) -> None:
    """Start a session for URL, or for what a tool knows its session by.

    The user name and the password are asked for on the terminal, unless they are given; the
    password is never shown and never taken from the command line. A token goes where the password
    goes. If there is a session for the same URL and user already, the new one takes its place.

    The URL is that of a repository, or just of a server. Scheme, host and port count exactly as git
    will ask for them: no port is added or left out, and capital letters are not made small.

    Without a path (https://git.example) the session is for whatever git asks of that host. A path
    (https://git.example/org/repo.git) does not narrow that: git names only the host unless
    credential.useHttpPath is set, and is then answered from the newest session of that host,
    whatever its path. Where it is set, git names the path too, and only a session of exactly that
    path answers.

    With --tool the session is that tool's alone, and what is asked is what the tool needs. URL is
    then the registry of docker, the index of cargo, any name for aws, the server of kubernetes.

    After the vault key was deleted from the keychain (see keylease status), login makes a new one.
    Besides it only keylease init does, and no tool can.

    With --verify the exit code is 10 if the server refuses the password, and no session is started.
    Any other answer, or none, is only a warning.
    """
    wanted = address.read(url, username, tool)
    if tool is None:
        _check_scheme(wanted)
    elif verify:
        msg = f"--verify asks a git server, and {tool} has none"
        raise UsageError(msg, "leave it out")
    until = None if expires is None else _read_end(program, expires)
    if timeout is not None:
        Limits(timeout, MAX_CAP_SECONDS).check()
    if verify:
        from keylease.cli.verify import check

        check(wanted.target)
    wanted, credential = ask(wanted, Given(tool, password_stdin, fields, files))
    try:
        if verify:
            _verify(wanted, credential.secret)
        auth = program.wiring(timeout).auth
        kept = credential._replace(expires=until)
        session = auth.login(wanted.target, kept, sole=tool is not None)
    finally:
        credential.wipe()
    say(f"started a session for {wanted}")
    say(
        f"it ends after {duration(session.idle_seconds)} without use,"
        f" after {duration(session.cap_seconds)} at the latest"
    )
    if session.weakened is not None:
        warn(f"its end is a check of keylease (policy): {session.weakened}", "see: keylease doctor")
    if timeout is not None and timeout > session.idle_seconds:
        msg = f"--timeout {timeout} is longer than what is allowed, {session.idle_seconds}"
        warn(msg, "see where that comes from: keylease config show")


def _verify(wanted: Address, password: Secret) -> None:
    """Ask the server, and say what it said.

    Raises:
        CredentialRefusedError: it does not take the password.
        UsageError: it cannot be asked.
    """
    from keylease.cli.verify import verify

    doubt = verify(wanted.target, wanted.username or "", password)
    if doubt is None:
        say(f"verified: {wanted.target.host} takes the password")
    else:
        hint = "name the URL of a repository that is not public, or see docs/cli.md"
        warn(f"the password is not verified: {doubt}", hint)


def _check_scheme(wanted: Address) -> None:
    protocol = wanted.target.protocol
    if protocol != protocol.lower():
        # git would ask for it as it is written, but finds no transport of that name.
        msg = f"the scheme {protocol} has capital letters, which git does not know"
        raise UsageError(msg, f"write it as {protocol.lower()}")


def _read_end(program: Program, expires: str) -> int:
    end = read_time(expires)
    if end is None:
        msg = f"--expires {expires!a} is no time"
        raise UsageError(msg, "write it in UTC, as RFC 3339 has it: 2026-11-22T16:00:00Z")
    if end <= program.wiring().clock.now().wall_ns // NANOSECONDS:
        msg = f"--expires {expires} has passed already"
        raise UsageError(msg, "get a new credential from whoever issued it")
    return end
