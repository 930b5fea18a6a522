"""`keylease setup git`: write two lines into git's configuration, and warn of other helpers.

git gives each password that worked to every helper, not only to the one that knew it
(`credential_approve` in credential.c). So keylease has to be the only helper: an empty value makes
git forget the helpers named before it (gitcredentials(7)).

The file is edited as text and replaced once, under git's own lock, so a kill at any point leaves
the old file or the new one. `git config` would write it once for each line, and lose comments. git
reads the new text, and setup checks the result, before the file is written.
"""

from __future__ import annotations

import re
import shlex
from difflib import ndiff
from typing import TYPE_CHECKING, Final

import click

from keylease import tools
from keylease.cli.base import Program, warn
from keylease.cli.setup.base import Change, Plan, SetupError, carry_out, read, setup_command
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
# git passes a value that begins with a slash to a shell unchanged (gitcredentials(7)). A quoted
# value would not begin with one, so each special character is escaped.
_UNSAFE: Final = re.compile(r"[^\w@%+=:,./-]", re.ASCII)


@setup_command
@click.option(
    "--global",
    "scope",
    flag_value="global",
    default="global",
    help="In your own configuration, for every repository. This is the default.",
)
@click.option(
    "--local", "scope", flag_value="local", help="In the configuration of this repository only."
)
@click.option(
    "--timeout",
    metavar="SECONDS",
    type=int,
    help="End sessions that git starts by itself after this time without use. Default: as "
    "configured.",
)
@click.pass_obj
def git(program: Program, dry_run: bool, undo: bool, scope: Scope, timeout: int | None) -> None:
    """Let git ask keylease, and no other helper, for passwords.

    It writes two lines into git's configuration, in one step, and shows them:

    \b
        [credential]
            helper =
            helper = /home/ada/.local/bin/git-credential-keylease

    The helper is named by its path, so that git finds it from cron, from a timer and from a
    desktop, too; if it is in /usr/bin it is named keylease. The empty line makes git forget the
    helpers that are named before it. They stay in the file, and --undo brings them back by taking
    the two lines away. git gives every helper a copy of each password that worked, so another
    helper would keep it after the session. A warning names the helpers that git still asks. A
    second setup changes nothing, or only the timeout.
    """  # noqa: D301 - click reads the backslash-b, and prints the lines after it as they are
    if undo and timeout is not None:
        msg = "--timeout has no meaning with --undo, which takes the lines away"
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
        GitError: git does not show its configuration.
        SetupError: the file cannot be read or edited.
    """
    config = GitConfig()
    if any(OURS.fullmatch(value) for _, _, value in config.values("global", KEY)):
        return Plan(())
    return _planned(config, "global", _command())


def _planned(config: GitConfig, scope: Scope, entry: str | None) -> Plan:
    """Return the change that makes git ask only this helper, or with `None` not ask keylease."""
    # git raises the error if the file is invalid, or if this is not a repository.
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
    """Return the entries that are neither a helper of ours nor a reset."""
    return [
        (key, value)
        for key, value in entries
        if key != KEY or not (value == RESET or OURS.fullmatch(value))
    ]


def _helpers(entries: list[tuple[str, str]]) -> list[str]:
    return [value for key, value in entries if key == KEY]


def _shown(old: list[str], new: list[str]) -> tuple[str, ...]:
    """Return our lines as a diff. Other lines are not shown: they may be private."""
    changes = [line for line in ndiff(old, new) if line[:1] in {"+", "-"}]
    if not changes:  # the same lines, but behind another helper now
        changes = [*(f"- {value}" for value in old), *(f"+ {value}" for value in new)]
    return ("[credential]", *(f"{line[0]}     helper = {line[2:]}".rstrip() for line in changes))


def _entry(program: Program, timeout: int | None) -> str:
    """Return the helper's value: a command line, because git passes it to a shell.

    Raises:
        UsageError: an option is invalid. The helper would fail at every command, and git is silent.
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
    """Return the command for git: a path, or the short name if every PATH leads to the program."""
    return _UNSAFE.sub(r"\\\g<0>", named(PROGRAM, _SHORT))
