"""The human commands, from `keylease login` to `keylease gc`.

Each has its own module, imported when the command runs. A command raises an error, and only this
module turns it into a message and an exit code (docs/cli.md).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import click

from keylease import __version__, keystores
from keylease.cli.base import Group, Program, complain, see_help
from keylease.errors import KeyleaseError, UsageError
from keylease.faults import as_refusal

if TYPE_CHECKING:
    from collections.abc import Sequence

COMMANDS: Final = {
    "login": "keylease.cli.login",
    "status": "keylease.cli.status",
    "list": "keylease.cli.listing",
    "extend": "keylease.cli.extend",
    "logout": "keylease.cli.logout",
    "exec": "keylease.cli.exec",
    "read": "keylease.cli.read",
    "askpass": "keylease.cli.askpass",
    "audit": "keylease.cli.audit",
    "doctor": "keylease.cli.doctor",
    "setup": "keylease.cli.setup",
    "config": "keylease.cli.config",
    "init": "keylease.cli.init",
    "key": "keylease.cli.key",
    "revoke": "keylease.cli.revoke",
    "gc": "keylease.cli.gc",
}
"""Every command by its name, in the order of their use."""

_INTERRUPTED_EXIT: Final = 130


@click.group(cls=Group, modules=COMMANDS)
@click.option(
    "--keychain",
    metavar="NAME",
    help="The keychain for the key of a new vault: secret-service, kernel, macos, windows or "
    "library:MODULE.CLASS. If the vault exists in another keychain, keylease refuses. The "
    "environment variable KEYLEASE_KEYCHAIN does the same.",
)
@click.version_option(__version__, message="%(prog)s %(version)s")
@click.pass_context
def keylease(ctx: click.Context, keychain: str | None) -> None:
    """Hold credentials in short sessions.

    git and other tools ask keylease for a password or token, and keylease answers from a session. A
    session ends 15 minutes after its last use, and 8 hours after its start at the latest, unless
    you configure other times. It is sealed on the disk with a key in the system's keychain.
    Deleting that key ends every session.

    The first time:

    \b
        keylease setup git
        keylease login https://git.example
    """  # noqa: D301 - click reads the backslash-b, and prints the lines after it as they are
    if keychain:
        # Check the name here, because not every command opens a keychain.
        keystores.check_name(keychain)
    ctx.obj = Program(keychain)


def main(argv: Sequence[str]) -> int:
    """Run one command and return its exit code; never exit.

    Args:
        argv: The command line without the program's name.
    """
    try:
        code = keylease.main(list(argv), "keylease", standalone_mode=False)
    except KeyleaseError as error:
        return complain(error)
    except click.ClickException as error:
        return complain(_translate(error))
    except (click.Abort, KeyboardInterrupt):
        return _INTERRUPTED_EXIT
    except SystemExit as error:
        # click exits this way if the reader of the help closes the pipe.
        code = error.code
    except BaseException as error:  # noqa: BLE001 - users get one line, not a traceback
        return complain(as_refusal(error))
    return code if isinstance(code, int) else 0


def _translate(error: click.ClickException) -> KeyleaseError:
    """Return click's error in our form: one line, lower case, no full stop, and a hint."""
    message = " ".join(error.format_message().split()).removesuffix(".")
    message = message[:1].lower() + message[1:]
    if isinstance(error, click.UsageError):
        return UsageError(message, see_help(error.ctx) if error.ctx else "see: keylease --help")
    return KeyleaseError(message)
