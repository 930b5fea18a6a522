"""`keylease login`: start a session with a password that a person has."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import click

from keylease import terminal
from keylease.cli import address
from keylease.cli.base import Command, Program, say, warn
from keylease.cli.table import duration
from keylease.errors import UsageError
from keylease.model import MAX_CAP_SECONDS, Credential, Limits
from keylease.protocols import git

if TYPE_CHECKING:
    from keylease.cli.address import Address
    from keylease.secret import Secret

LONGEST_PASSWORD: Final = git.MAX_LINE - len("password=\n")
"""Bytes; git reads an answer line by line, and a line is no longer than that."""


@click.command(cls=Command)
@click.argument("url")
@address.username_option
@click.option(
    "--password-stdin",
    is_flag=True,
    help="Read the password from stdin instead of the terminal. One line end after it is not part "
    "of it.",
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
    password_stdin: bool,
    timeout: int | None,
    verify: bool,
) -> None:
    """Start a session for URL.

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

    After the vault key was deleted from the keychain (see keylease status), login makes a new one.
    Besides it only keylease init does, and no tool can.

    With --verify the exit code is 10 if the server refuses the password, and no session is started.
    Any other answer, or none, is only a warning.
    """
    wanted = _checked(address.read(url, username))
    if timeout is not None:
        Limits(timeout, MAX_CAP_SECONDS).check()
    if verify:
        from keylease.cli.verify import check

        check(wanted.target)
    wanted, password = _ask(wanted, password_stdin=password_stdin)
    with password:
        if verify:
            _verify(wanted, password)
        session = program.wiring(timeout).auth.login(
            wanted.target, Credential(wanted.username, password)
        )
    say(f"started a session for {wanted}")
    say(
        f"it ends after {duration(session.idle_seconds)} without use,"
        f" after {duration(session.cap_seconds)} at the latest"
    )
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


def _checked(wanted: Address) -> Address:
    protocol = wanted.target.protocol
    if protocol != protocol.lower():
        # git would ask for it as it is written, but finds no transport of that name.
        msg = f"the scheme {protocol} has capital letters, which git does not know"
        raise UsageError(msg, f"write it as {protocol.lower()}")
    return wanted


def _ask(wanted: Address, *, password_stdin: bool) -> tuple[Address, Secret]:
    """Return the address with its user name, and the password.

    Raises:
        UsageError: there is nobody to ask, or what was given cannot be one.
    """
    if wanted.username is None:
        typed = terminal.ask(f"Username for {wanted}: ")
        wanted = wanted._replace(username=address.name(str(typed, "utf-8", "surrogateescape")))
    if password_stdin:
        password = terminal.read_secret(LONGEST_PASSWORD)
    else:
        password = terminal.ask_secret(f"Password for {wanted}: ")
    if not password:
        msg = "the password is empty"
        raise UsageError(msg, "nothing was changed; try again")
    if not git.BREAKING.isdisjoint(password.reveal()):
        password.wipe()
        msg = "the password has a line break or NUL inside, which no tool can be told"
        raise UsageError(msg, "give the password alone, with one line end after it at most")
    return wanted, password
