"""`keylease login`: start a session with a password or token that the user gives."""

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
    help="Read the password from stdin instead of the terminal, without the line end after it.",
)
@click.option(
    "--field",
    "fields",
    metavar="NAME",
    multiple=True,
    help="Ask for another secret of the tool: session_token of aws.",
)
@click.option(
    "--field-file",
    "files",
    metavar="NAME FILE",
    nargs=2,
    multiple=True,
    help="Read another secret of the tool from FILE: session_token of aws, certificate and key of "
    "kubernetes. FILE is not changed.",
)
@click.option(
    "--expires",
    metavar="TIME",
    help="End the session at TIME (2026-11-22T16:00:00Z) at the latest, because the credential "
    "expires then.",
)
@click.option(
    "--timeout",
    metavar="SECONDS",
    type=int,
    help="End the session after SECONDS without use. The default is the configured time, and the "
    "policy of the machine is the maximum. The cap stays.",
)
@click.option(
    "--verify",
    is_flag=True,
    help="Ask the server first whether it accepts the password, as git would. Without this option "
    "the server is not contacted.",
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
    """Start a session for URL.

    keylease asks for the user name and the password on the terminal, unless you give them. The
    password is never shown and never taken from the command line. If you have a token, give it as
    the password. The new session replaces one for the same URL and user.

    URL is the address of a repository or of a server. Scheme, host and port must match what git
    asks for exactly: no port is added or removed, and capital letters are kept.

    A session without a path (https://git.example) answers every question of git about that host. A
    path (https://git.example/org/repo.git) matters only if credential.useHttpPath is set: git then
    names the path, and only a session with exactly that path answers. Otherwise git names only the
    host, and the newest session of that host answers, with any path.

    With --tool the session is only for that tool, and keylease asks for what the tool needs. URL is
    then the registry of docker, the index of cargo, any name for aws, the server of kubernetes.

    If the vault key was deleted from the keychain (see keylease status), login makes a new one.
    Only login and keylease init do this; tools cannot.

    With --verify, if the server refuses the password, no session starts and the exit code is 10.
    Any other answer, or none, is only a warning.
    """
    wanted = address.read(url, username, tool)
    if tool is None:
        _check_scheme(wanted)
    elif verify:
        msg = f"--verify asks a git server, and --tool {tool} has none"
        raise UsageError(msg, "leave out --verify")
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
        session = auth.login(wanted.target, kept, replace_other_users=tool is not None)
    finally:
        credential.wipe()
    say(f"started a session for {wanted}")
    say(
        f"it ends after {duration(session.idle_seconds)} without use,"
        f" after {duration(session.cap_seconds)} at the latest"
    )
    if session.weakened is not None:
        msg = f"keylease enforces the end of this session, not the kernel: {session.weakened}"
        warn(msg, "see: keylease doctor")
    if timeout is not None and timeout > session.idle_seconds:
        msg = f"--timeout {timeout} is longer than the maximum, {session.idle_seconds}"
        warn(msg, "find out where the maximum is set: keylease config show")


def _verify(wanted: Address, password: Secret) -> None:
    """Ask the server, and print the result.

    Raises:
        CredentialRefusedError: the server refuses the password.
        UsageError: the server cannot be asked.
    """
    from keylease.cli.verify import verify

    doubt = verify(wanted.target, wanted.username or "", password)
    if doubt is None:
        say(f"verified: {wanted.target.host} accepts the password")
    else:
        hint = "name the URL of a repository that is not public, or see docs/cli.md"
        warn(f"the password is not verified: {doubt}", hint)


def _check_scheme(wanted: Address) -> None:
    protocol = wanted.target.protocol
    if protocol != protocol.lower():
        # git keeps the capital letters and then has no transport of that name.
        msg = f"the scheme {protocol} has capital letters, which git does not support"
        raise UsageError(msg, f"write it as {protocol.lower()}")


def _read_end(program: Program, expires: str) -> int:
    end = read_time(expires)
    if end is None:
        msg = f"--expires {expires!a} is not a time in RFC 3339 and UTC"
        raise UsageError(msg, "write it like 2026-11-22T16:00:00Z")
    if end <= program.wiring().clock.now().wall_ns // NANOSECONDS:
        msg = f"--expires {expires} is in the past"
        raise UsageError(msg, "get a new credential from its issuer")
    return end
