"""The parts of every human command: a lazy group, the global options, and the output functions.

`say` and `say_json` write the answer to stdout; `warn` and `complain` write everything else to
stderr. Each escapes terminal control characters, because names come from peers and URLs.
"""

from __future__ import annotations

import json
import os
import re
import sys
from importlib import import_module
from typing import TYPE_CHECKING, Final, NamedTuple, TextIO, cast

import click

from keylease.errors import KeyleaseError, UsageError, printable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from keylease.wiring import Wiring

# A user waits longer than git does, and may have to answer a dialog first: macOS shows one when a
# program first reads an item, and a desktop may have to start its keychain.
PERSON_SECONDS: Final = 20.0
# Alone on the command line, these go to the helper (see `keylease.__main__`).
_OPERATIONS: Final = frozenset({"get", "store", "erase", "capability"})
_WORD: Final = re.compile(r"[a-z][a-z-]{0,30}")
_USAGE_EXIT: Final = 2

json_option = click.option(
    "--json", "as_json", is_flag=True, help="Print JSON, described in docs/cli.md."
)
"""The option `--json` of every command that can answer a program."""


class Program(NamedTuple):
    """The options before the command's name."""

    keychain: str | None = None

    def wiring(self, timeout: int | None = None) -> Wiring:
        """Put the layers together. The time for keychains and locks begins with each operation.

        Args:
            timeout: The idle timeout of new sessions in seconds, from the command line.
        """
        from keylease.wiring import Wiring

        return Wiring(keychain=self.keychain, timeout=timeout, seconds=PERSON_SECONDS)


class Command(click.Command):
    """A command that does not repeat unexpected arguments: one of them may be a password."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the command line.

        Raises:
            UsageError: there are too many arguments.
        """
        ctx.allow_extra_args = True
        rest = super().parse_args(ctx, args)
        if ctx.args and not ctx.resilient_parsing:
            count = len(ctx.args)
            msg = f"too many arguments: {count} more than expected"
            raise UsageError(msg, see_help(ctx))
        return rest


class Group(click.Group):
    """A group that imports only the command that is called.

    Args:
        modules: The module of each command. It has a function with the command's name.
        attributes: As in `click.Group`.
    """

    def __init__(self, modules: Mapping[str, str], **attributes: object) -> None:
        super().__init__(**attributes)  # type: ignore[arg-type]  # click's own, passed on
        self._modules = modules

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in the order of the table, which is the usual order of use."""
        del ctx
        return list(self._modules)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the command, or return `None` if there is none of that name."""
        del ctx
        module = self._modules.get(cmd_name)
        if module is None:
            return None
        return cast("click.Command", getattr(import_module(module), cmd_name))

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the command line. Print the help if it is empty."""
        if not args and not ctx.resilient_parsing:
            click.echo(ctx.get_help(), err=True)
            ctx.exit(_USAGE_EXIT)
        return super().parse_args(ctx, args)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the command that the first word names.

        Raises:
            UsageError: there is none of that name.
        """
        name = args[0]
        if ctx.parent is None and name in _OPERATIONS:
            # Without arguments it goes to the helper, so "no such command" would be wrong.
            msg = f"{name} is for tools, which ask on stdin: expected no arguments"
            raise UsageError(msg, "see: git help credentials")
        if name not in self._modules and not ctx.resilient_parsing:
            # Repeat only a plain word: anything else may be a URL with a password.
            called = f" {name}" if _WORD.fullmatch(name) else " of that name"
            msg = f"there is no command{called}: expected {', '.join(self._modules)}"
            raise UsageError(msg, see_help(ctx))
        return super().resolve_command(ctx, args)


class OutputError(KeyleaseError):
    """The answer cannot be written to stdout."""

    hint = "the command is done; only its output is lost"


def see_help(ctx: click.Context) -> str:
    """Return the hint that names the help of a command."""
    return f"see: {ctx.command_path} --help"


def say(line: str = "") -> bool:
    """Print one line of the answer, and return whether stdout still has a reader.

    Raises:
        OutputError: stdout cannot be written. A closed pipe is no error.
    """
    try:
        _write(line, sys.stdout)
    except OSError as error:
        # Discard all later output. Python flushes stdout at exit, and would fail again with a
        # traceback ("Note on SIGPIPE" in the documentation of `signal`).
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        # In `keylease status | head` the closed pipe is normal.
        if not isinstance(error, BrokenPipeError):
            msg = f"cannot write the answer to stdout: {error.strerror}"
            raise OutputError(msg) from error
        return False
    return True


def say_json(document: Mapping[str, object]) -> None:
    """Print the answer for a program. docs/cli.md lists the fields.

    Raises:
        OutputError: as `say`.
    """
    # Escape to ASCII, DEL too. As in the log, a lone surrogate stands for a byte that is not UTF-8.
    for line in json.dumps(document, indent=1).replace("\x7f", "\\u007f").splitlines():
        say(line)


def warn(message: str, hint: str = "") -> None:
    """Print a warning: the command goes on, but the user should know this."""
    _tell("warning", message, hint)


def complain(error: KeyleaseError) -> int:
    """Print an error and its hint, and return its exit code."""
    _tell("error", str(error), error.hint)
    return error.exit_code


def _tell(kind: str, message: str, hint: str) -> None:
    try:
        _write(f"keylease: {kind}: {message}", sys.stderr)
        if hint:
            _write(f"keylease: hint: {hint}", sys.stderr)
    except OSError:
        # stderr is closed. The exit code still reports the result.
        return


def _write(line: str, stream: TextIO | None) -> None:
    if stream is None:  # the descriptor was closed before Python started
        return
    encoding = stream.encoding or "utf-8"
    text = printable(line).encode(encoding, "backslashreplace").decode(encoding)
    click.echo(text, file=stream)
