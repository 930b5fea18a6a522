"""`keylease setup git`: two lines in git's configuration, and what else is there about helpers.

git tells every helper each password that worked, whichever of them knew it (`credential_approve` in
credential.c). So keylease has to be the only one: an empty value first makes git forget the helpers
named before (gitcredentials(7)). Nothing that is there is changed, so there is nothing to keep for
`--undo`, which takes away the two lines and nothing else.
"""

from __future__ import annotations

import re
import shlex
from difflib import ndiff
from typing import TYPE_CHECKING, Final

import click

from keylease.cli.base import Command, Program, say, warn
from keylease.cli.setup.base import Change, Plan
from keylease.cli.setup.gitadvice import KEY, RESET, complaints
from keylease.cli.setup.gitconfig import GitConfig
from keylease.errors import UsageError
from keylease.model import MAX_CAP_SECONDS, Limits

if TYPE_CHECKING:
    from collections.abc import Sequence

    from keylease.cli.setup.gitconfig import Scope, Value

PROGRAMS = ("git",)

# One regular expression for Python and for git. It is what this command writes, with any options.
_WRITTEN: Final = "^keylease( |$)"


@click.command(cls=Command)
@click.option("--undo", is_flag=True, help="Take the lines away again.")
@click.option(
    "--global",
    "scope",
    flag_value="global",
    default="global",
    help="In your own configuration, for every repository. It is meant if nothing is said.",
)
@click.option(
    "--local", "scope", flag_value="local", help="In the configuration of this repository only."
)
@click.option(
    "--timeout",
    metavar="SECONDS",
    type=int,
    help="Sessions that git starts by itself end after so long without use; as configured if not "
    "given.",
)
@click.pass_obj
def git(program: Program, undo: bool, scope: Scope, timeout: int | None) -> None:
    """Let git ask keylease, and nobody else, for passwords.

    It writes two lines into git's configuration by git config, and shows them:

    \b
        [credential]
            helper =
            helper = keylease

    The empty one makes git forget the helpers that are named before it. They stay where they are,
    and --undo brings them back by taking the two lines away. git gives every helper it asks a copy
    of each password that worked, so another one would keep what a session ends; those that git
    still asks are named in a warning. To do this again changes nothing, or only the timeout.
    """  # noqa: D301 - click reads the backslash-b, and prints the lines after it as they are
    if undo and timeout is not None:
        msg = "--undo takes the lines away, whatever their --timeout"
        raise UsageError(msg, "leave --timeout out")
    entry = _entry(program, timeout)
    config = GitConfig()
    before = config.values(scope, KEY)
    if undo:
        _take_away(config, scope)
    elif not _in_place(before, entry):
        _take_away(config, scope)
        config.add(scope, KEY, RESET)
        config.add(scope, KEY, entry)
    _show(before, config.values(scope, KEY), undo=undo)
    if not undo:
        for complaint in complaints(config):
            warn(*complaint)


def plan() -> Plan:
    """Return the lines that git lacks. git itself writes them.

    Raises:
        GitError: git does not tell what it has.
    """
    entry = "keylease"
    values = GitConfig().values("global", KEY)
    if any(re.search(_WRITTEN, value) for _, _, value in values):
        return Plan(())
    shown = (f"+ {KEY} =", f"+ {KEY} = {entry}")
    return Plan((Change("git's configuration", None, entry.encode(), shown),))


def _entry(program: Program, timeout: int | None) -> str:
    """Return the helper's value: a command line, for git gives it to a shell.

    Raises:
        UsageError: an option makes no sense. git would be silent about it at every command.
    """
    words = ["keylease"]
    if timeout is not None:
        limits = Limits(timeout, MAX_CAP_SECONDS).check()
        words += ["--timeout", str(limits.idle_seconds)]
    if program.keychain is not None:
        from keylease.clock import Deadline
        from keylease.keystores import open_keystore

        open_keystore(program.keychain, Deadline(0))
        words += ["--keychain", program.keychain]
    return shlex.join(words)


def _in_place(values: Sequence[Value], entry: str) -> bool:
    written = [value for _, _, value in values if re.search(_WRITTEN, value)]
    return written == [entry] and [value for _, _, value in values[-2:]] == [RESET, entry]


def _take_away(config: GitConfig, scope: Scope) -> None:
    """Remove what this command wrote: its values, and the reset before each of them."""
    values = config.values(scope, KEY)
    written, kept = _split(values)
    if not written:
        return
    config.remove(scope, KEY, _WRITTEN)
    resets = written.count(RESET)
    if RESET not in kept:
        config.remove(scope, KEY, "^$")
    elif resets:
        # There are other resets. git config cannot say which of several equal values it is to
        # remove, so what stays is written anew, in its order.
        config.remove(scope, KEY, "")
        for value in kept:
            config.add(scope, KEY, value)


def _split(values: Sequence[Value]) -> tuple[list[str], list[str]]:
    """Return what this command wrote, each line with the reset before it, and what is not ours."""
    written: list[str] = []
    kept: list[str] = []
    for _, _, value in values:
        if not re.search(_WRITTEN, value):
            kept.append(value)
        elif kept[-1:] == [RESET]:
            written += [kept.pop(), value]
        else:
            written.append(value)
    return written, kept


def _show(before: Sequence[Value], after: Sequence[Value], *, undo: bool) -> None:
    """Say what has changed, as a diff does. What is not ours is not shown: it may be private."""
    if [value.value for value in before] == [value.value for value in after]:
        say("nothing to undo: keylease was not set up there" if undo else "nothing to change")
        return
    (old, _), (new, _) = _split(before), _split(after)
    changes = [line for line in ndiff(old, new) if line[:1] in {"+", "-"}]
    if not changes:  # the same lines, but behind another helper now
        changes = [f"- {value}" for value in old] + [f"+ {value}" for value in new]
    origin = (*before, *after)[-1].origin
    say(f"changed in {origin.removeprefix('file:')}:")
    say("  [credential]")
    for line in changes:
        say(f"{line[0]}     helper = {line[2:]}".rstrip())
