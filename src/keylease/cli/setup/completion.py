"""`keylease setup completion`: let the shell complete commands and options.

The script is click's own. It asks the program at each Tab, so it stays right after an update. It is
written to a directory that the shell searches anyway; no start-up file is edited.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final, NamedTuple

import click
from click.shell_completion import ShellComplete, get_completion_class

from keylease.cli import replacement
from keylease.cli.base import Command, OutputError, Program, say
from keylease.errors import KeyleaseError

if TYPE_CHECKING:
    from collections.abc import Mapping

PROGRAM: Final = "keylease"
VARIABLE: Final = "_KEYLEASE_COMPLETE"
"""The variable that the script sets when it asks; click expects this name."""


class Shell(NamedTuple):
    """Where a shell finds its user's completions."""

    variable: str
    """The environment variable that names another base directory."""
    base: str
    """The base directory if it is not set."""
    name: str
    """The file below it."""
    then: str
    """What the user has to do or know afterwards."""


SHELLS: Final[Mapping[str, Shell]] = {
    # The README of bash-completion, "Where should I put it?": it is loaded at the first Tab.
    "bash": Shell(
        "XDG_DATA_HOME",
        "~/.local/share",
        "bash-completion/completions/keylease",
        "it works in new shells, where the package bash-completion is installed",
    ),
    # zshcompsys(1): files named _* in fpath whose first line has #compdef. fpath holds no directory
    # of the user's by default; most programs use ~/.zfunc.
    "zsh": Shell(
        "ZDOTDIR",
        "~",
        ".zfunc/_keylease",
        "add this to .zshrc once: fpath+=(${ZDOTDIR:-~}/.zfunc); autoload -Uz compinit; compinit",
    ),
    # fish(1), "Where to put completions".
    "fish": Shell(
        "XDG_CONFIG_HOME", "~/.config", "fish/completions/keylease.fish", "it works in new shells"
    ),
}


@click.command(cls=Command)
@click.argument("shell", metavar="SHELL", type=click.Choice(list(SHELLS)))
@click.option("--print", "printed", is_flag=True, help="Print the script and write no file.")
@click.pass_obj
def completion(_: Program, shell: str, printed: bool) -> None:
    """Let bash, zsh or fish complete keylease's commands.

    It writes one file into the shell's directory of completions and prints its path. It does not
    replace a file that keylease did not write. To undo it, delete the file.
    """
    script = source(shell)
    if printed:
        for line in script.splitlines():
            say(line)
        return
    place = SHELLS[shell]
    base = os.environ.get(place.variable) or os.path.expanduser(place.base)
    path = os.path.join(base, place.name)
    say(f"wrote {path}" if _write(path, script) else f"nothing to change: {path}")
    say(place.then)


def source(shell: str) -> str:
    """Return the script for the shell."""
    # click has a class for each of SHELLS; `or` is for the type checker.
    kind = get_completion_class(shell) or ShellComplete
    complete = kind(click.Command(PROGRAM), {}, PROGRAM, VARIABLE)
    # NOTE: not `complete.source()`, because for bash that first runs bash to check its version.
    return ShellComplete.source(complete).strip() + "\n"


def _write(path: str, script: str) -> bool:
    """Write the file whole; return whether anything has changed.

    Raises:
        KeyleaseError: another program wrote the file, or it cannot be written.
    """
    try:
        before = _read(path)
        if before is not None and VARIABLE.encode() not in before:
            msg = f"{path} exists and was not written by keylease"
            raise KeyleaseError(msg, "move it away, or use --print")
        if before == script.encode():
            replacement.sweep(os.path.realpath(path))
            return False
        replacement.replace(path, before, script.encode(), mode=0o666)
    except OSError as error:
        msg = f"{path} cannot be written: {error.strerror}"
        raise OutputError(msg, "use --print, and put it where the shell looks") from error
    return True


def _read(path: str) -> bytes | None:
    try:
        with open(path, "rb") as file:
            return file.read()
    except FileNotFoundError:
        return None
