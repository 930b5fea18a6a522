"""`keylease setup git`: two lines in git's configuration, and what else is there about helpers.

git tells every helper each password that worked, whichever of them knew it (`credential_approve` in
credential.c). So keylease has to be the only one: an empty value first makes git forget the helpers
named before (gitcredentials(7)).

The file is edited as text and replaced once, under git's own lock, so it is the old one or the new
one after a kill at any point. `git config` would write it once for each line, and lose comments.
What the new text means is read by git before it is written.
"""

from __future__ import annotations

import re
import shlex
from difflib import ndiff
from typing import TYPE_CHECKING, Final

import click

from keylease import tools
from keylease.cli.base import Command, Program, warn
from keylease.cli.setup.base import (
    Change,
    Plan,
    SetupError,
    carry_out,
    dry_run_option,
    read,
    undo_option,
)
from keylease.cli.setup.gitadvice import KEY, PROGRAM, complaints
from keylease.cli.setup.gitconfig import GitConfig
from keylease.cli.setup.gitfile import OURS, RESET, split, with_helper, without_helper
from keylease.cli.setup.programs import named
from keylease.errors import UsageError
from keylease.model import MAX_CAP_SECONDS, Limits

if TYPE_CHECKING:
    from keylease.cli.setup.gitconfig import Scope

TOOL: Final = tools.named("git")
_SHORT: Final = "keylease"
# git gives a value that begins with a slash to a shell as it is (gitcredentials(7)). In quotes it
# would not begin with one.
_UNSAFE: Final = re.compile(r"[^\w@%+=:,./-]", re.ASCII)


@click.command(cls=Command)
@dry_run_option
@undo_option
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
def git(program: Program, dry_run: bool, undo: bool, scope: Scope, timeout: int | None) -> None:
    """Let git ask keylease, and nobody else, for passwords.

    It writes two lines into git's configuration, in one step, and shows them:

    \b
        [credential]
            helper =
            helper = /home/ada/.local/bin/git-credential-keylease

    The helper is named by its path, so that git finds it from cron, from a timer and from a
    desktop, too; if it is in /usr/bin it is named keylease. The empty line makes git forget the
    helpers that are named before it. They stay where they are, and --undo brings them back by
    taking the two lines away. git gives every helper it asks a copy of each password that worked,
    so another one would keep what a session ends; those that git still asks are named in a warning.
    To do this again changes nothing, or only the timeout.
    """  # noqa: D301 - click reads the backslash-b, and prints the lines after it as they are
    if undo and timeout is not None:
        msg = "--undo takes the lines away, whatever their --timeout"
        raise UsageError(msg, "leave --timeout out")
    entry = _entry(program, timeout)
    planned = _planned(GitConfig(), scope, None if undo else entry)
    carry_out("git", planned, dry_run=dry_run, undo=undo)
    if not undo:
        for complaint in complaints(GitConfig()):
            warn(*complaint)


def plan() -> Plan:
    """Return the lines that git lacks.

    Raises:
        GitError: git does not tell what it has.
        SetupError: the file cannot be read or edited.
    """
    config = GitConfig()
    if any(OURS.fullmatch(value) for _, _, value in config.values("global", KEY)):
        return Plan(())
    return _planned(config, "global", _command())


def _planned(config: GitConfig, scope: Scope, entry: str | None) -> Plan:
    """Return the change that makes git ask this helper last, or with `None` not ask keylease."""
    # git says what is wrong with the file, or that this is no repository.
    config.values(scope, KEY)
    path = config.path(scope)
    before = read(path)
    text = (before or b"").decode("utf-8", "surrogateescape")
    bare = without_helper(text)
    entries, rest = config.entries(before or b""), config.entries(_bytes(bare))
    kept = _helpers(rest)
    new = [] if entry is None else [RESET, entry]
    if _helpers(entries) == [*kept, *new]:
        return Plan((Change(path, before, before, ()),))
    after = _bytes(with_helper(bare, entry) if entry is not None else bare)
    exact = _others(entries) == _others(rest) == _others(found := config.entries(after))
    if not exact or _helpers(found) != [*kept, *new] or any(map(OURS.fullmatch, kept)):
        msg = f"{path} writes credential.helper in a way that cannot be edited"
        raise SetupError(msg, "take keylease out of it by hand, then try again")
    shown = _shown(split(_helpers(entries))[0], new)
    return Plan((Change(path, before, after, shown, 0o644, locked=True),))


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _others(entries: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Return what is neither a helper of ours nor the reset before one."""
    return [
        (key, value)
        for key, value in entries
        if key != KEY or not (value == RESET or OURS.fullmatch(value))
    ]


def _helpers(entries: list[tuple[str, str]]) -> list[str]:
    return [value for key, value in entries if key == KEY]


def _shown(old: list[str], new: list[str]) -> tuple[str, ...]:
    """Return what a person sees: our lines, as a diff. What is not ours may be private."""
    changes = [line for line in ndiff(old, new) if line[:1] in {"+", "-"}]
    if not changes:  # the same lines, but behind another helper now
        changes = [*(f"- {value}" for value in old), *(f"+ {value}" for value in new)]
    return ("[credential]", *(f"{line[0]}     helper = {line[2:]}".rstrip() for line in changes))


def _entry(program: Program, timeout: int | None) -> str:
    """Return the helper's value: a command line, for git gives it to a shell.

    Raises:
        UsageError: an option makes no sense. git would be silent about it at every command.
    """
    words = [_command()]
    if timeout is not None:
        limits = Limits(timeout, MAX_CAP_SECONDS).check()
        words += ["--timeout", str(limits.idle_seconds)]
    if program.keychain is not None:
        from keylease.keystores import open_keystore
        from keylease.system.clock import Deadline

        open_keystore(program.keychain, Deadline(0))
        words += ["--keychain", shlex.quote(program.keychain)]
    return " ".join(words)


def _command() -> str:
    """Return what git is to call: by its path, or by the short name if that is found everywhere."""
    return _UNSAFE.sub(r"\\\g<0>", named(PROGRAM, _SHORT))
