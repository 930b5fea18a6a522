"""What every human command is made of: a lazy group, the options before it, and its own voice.

The answer goes to stdout by `say` and `say_json`, everything else to stderr by `warn` and
`complain`, and each of them escapes what a terminal might obey. Names come from peers and URLs, so
from anywhere.
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

# A person waits longer than git does, and may have to answer a window first: macOS shows one when a
# program comes for an item for the first time, and a desktop may only now start its keychain.
PERSON_SECONDS: Final = 20.0
# What `keylease.__main__` takes for the helper's where it stands alone.
_OPERATIONS: Final = frozenset({"get", "store", "erase", "capability"})
_WORD: Final = re.compile(r"[a-z][a-z-]{0,30}")
_USAGE_EXIT: Final = 2

json_option = click.option(
    "--json", "as_json", is_flag=True, help="Print JSON, described in docs/cli.md."
)
"""The option `--json`, as every command with an answer for programs has it."""


class Program(NamedTuple):
    """What was said before the command's name."""

    keychain: str | None = None

    def wiring(self, timeout: int | None = None) -> Wiring:
        """Put the layers together. It starts the clock for keychains and locks: ask people first.

        Args:
            timeout: The idle timeout of new sessions in seconds, if the command line has one.
        """
        from keylease.wiring import Wiring

        return Wiring(keychain=self.keychain, timeout=timeout, seconds=PERSON_SECONDS)


class Command(click.Command):
    """A command that does not repeat superfluous words: one of them may be a password."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Take the command line apart.

        Raises:
            UsageError: there is a word too many.
        """
        ctx.allow_extra_args = True
        rest = super().parse_args(ctx, args)
        if ctx.args and not ctx.resilient_parsing:
            msg = f"there are more words than expected, {len(ctx.args)} too many"
            raise UsageError(msg, see_help(ctx))
        return rest


class Group(click.Group):
    """Commands by a table of names: only the one that is called is imported.

    Args:
        modules: Each command's module by the command's name. The module has a function of the name.
        callback: What does the group's own options.
        attributes: As in `click.Group`.
    """

    def __init__(self, modules: Mapping[str, str], **attributes: object) -> None:
        super().__init__(**attributes)  # type: ignore[arg-type]  # click's own, passed on
        self._modules = modules

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in the table's order, which is the order of their use."""
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
        """Take the command line apart. Nothing at all is answered with the help."""
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
            # Alone it had gone to the helper; "there is no such command" would be untrue.
            msg = f"{name} is for tools, which ask on stdin: expected nothing after it"
            raise UsageError(msg, "see: git help credentials")
        if name not in self._modules and not ctx.resilient_parsing:
            # What is not a word may be a URL with a password in it, and is not repeated.
            called = f" {name}" if _WORD.fullmatch(name) else " of that name"
            msg = f"there is no command{called}: expected {', '.join(self._modules)}"
            raise UsageError(msg, see_help(ctx))
        return super().resolve_command(ctx, args)


class OutputError(KeyleaseError):
    """The answer cannot be written to stdout."""

    hint = "what was asked for is done; only its answer is lost"


def see_help(ctx: click.Context) -> str:
    """Return the hint that leads to the help of a command."""
    return f"see: {ctx.command_path} --help"


def say(line: str = "") -> bool:
    """Print one line of the answer, and return whether anybody reads on.

    Raises:
        OutputError: stdout does not take it. A reader that went away is no error.
    """
    try:
        _write(line, sys.stdout)
    except OSError as error:
        # What follows goes nowhere, and so does what Python writes when it exits: it would fail
        # again, with a traceback ("Note on SIGPIPE" in the documentation of `signal`).
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        # `keylease status | head` has read what it wanted.
        if not isinstance(error, BrokenPipeError):
            msg = f"the answer cannot be written to stdout: {error.strerror}"
            raise OutputError(msg) from error
        return False
    return True


def say_json(document: Mapping[str, object]) -> None:
    """Print the answer for a program; docs/cli.md has the fields.

    Raises:
        OutputError: as `say`.
    """
    # Escaped ASCII, DEL too: a lone surrogate stands for a byte that is not UTF-8, as in the log.
    for line in json.dumps(document, indent=1).replace("\x7f", "\\u007f").splitlines():
        say(line)


def warn(message: str, hint: str = "") -> None:
    """Tell a person what is done but not as well as it could be."""
    _tell("warning", message, hint)


def complain(error: KeyleaseError) -> int:
    """Tell a person why something is not done, and return the exit code for it."""
    _tell("error", str(error), error.hint)
    return error.exit_code


def _tell(kind: str, message: str, hint: str) -> None:
    try:
        _write(f"keylease: {kind}: {message}", sys.stderr)
        if hint:
            _write(f"keylease: hint: {hint}", sys.stderr)
    except OSError:
        # Nobody listens, and there is nowhere else to say it. The exit code still tells.
        return


def _write(line: str, stream: TextIO | None) -> None:
    if stream is None:  # Python's word for a descriptor that was closed before it started
        return
    encoding = stream.encoding or "utf-8"
    text = printable(line).encode(encoding, "backslashreplace").decode(encoding)
    click.echo(text, file=stream)
