"""Find faults in git's configuration of helpers: those that hide keylease or keep passwords.

git gives each password that worked to every helper, not only to the one that knew it
(`credential_approve` in credential.c). It forgets the helpers named before an empty value
(gitcredentials(7)). This module changes nothing. It does not repeat a helper that is a shell
command, because that may hold a password.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Final, NamedTuple

from keylease.cli.setup.gitfile import OURS as _OURS
from keylease.cli.setup.gitfile import RESET
from keylease.cli.setup.programs import is_everywhere, stable_path

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from keylease.cli.setup.gitconfig import GitConfig, Value

PROGRAM: Final = "git-credential-keylease"
KEY: Final = "credential.helper"
_KEYS: Final = r"^credential(\..*)?\.helper$"
_SECTION, _VARIABLE = "credential", "helper"
_PLAIN_WORD: Final = re.compile(r"!?[\w./~\\:-]+")


class Complaint(NamedTuple):
    """One fault: git does not ask keylease, or another helper keeps the password."""

    found: str
    remedy: str


def asking(config: GitConfig) -> str | None:
    """Return where git is configured to ask keylease, for any URL; `None` if nowhere."""
    origins = [value.origin for value in config.effective(_KEYS) if _OURS.fullmatch(value.value)]
    return origins[-1] if origins else None


def complaints(config: GitConfig) -> Iterator[Complaint]:
    """Yield each fault.

    Raises:
        GitError: git does not show its configuration.
    """
    values = config.effective(_KEYS)
    for value in _others(values):
        where = "git" if value.key == KEY else f"for {_context(value)} git"
        yield Complaint(
            f"{where} also gives {_called(value)} each password that worked ({value.origin})",
            "its copy does not end with the session; remove that helper from git's configuration",
        )
    for value in _hiding(values):
        where = "here git" if value.key == KEY else f"for {_context(value)} git"
        yield Complaint(
            f"{where} does not ask keylease: an empty helper resets the list ({value.origin})",
            "remove the empty value, or add keylease as a helper after it",
        )
    yield from _programs(config, [each.value for each in values if _OURS.fullmatch(each.value)])


def _programs(config: GitConfig, named: Sequence[str]) -> Iterator[Complaint]:
    """Yield why git cannot run the helper, from here or from cron and the like."""
    again = "run again: keylease setup git"
    for path in sorted({_program(each) for each in named}):
        if os.path.isabs(path) and not (os.path.isfile(path) and os.access(path, os.X_OK)):
            yield Complaint(f"git is configured to ask {path!a}, but it does not exist", again)
    short = [each for each in named if not os.path.isabs(each)]
    if named and not short:
        return
    if config.find_helper(PROGRAM) is None:
        here = short and stable_path(PROGRAM)
        remedy = again if here else "install keylease in a directory of PATH"
        yield Complaint(f"git finds no {PROGRAM} on PATH, so it cannot ask keylease", remedy)
    elif short and not is_everywhere(PROGRAM):
        yield Complaint(
            f"git finds {PROGRAM} only on PATH, so not from cron, a timer or a desktop",
            again,
        )


def _program(value: str) -> str:
    """Return the program of a helper of ours, without the backslashes that escape characters."""
    found = re.match(r"(?:[^\s\\]|\\.)*", value)
    return re.sub(r"\\(.)", r"\1", found[0]) if found else value


def _others(values: Sequence[Value]) -> list[Value]:
    """Return the helpers besides keylease that git gives passwords to, for at least one URL."""
    left: list[Value] = []
    for value in values:
        if value.value == RESET:
            # A reset for all URLs counts for each; a reset for one URL leaves the others alone.
            left = [each for each in left if value.key not in {KEY, each.key}]
        elif not _OURS.fullmatch(value.value):
            left.append(value)
    return left


def _hiding(values: Sequence[Value]) -> list[Value]:
    """Return the resets after which keylease is not named again, so that git does not ask it."""
    hiding: dict[str, Value] = {}
    for value in values:
        if _OURS.fullmatch(value.value):
            hiding = {} if value.key == KEY else hiding
            hiding.pop(value.key, None)
        elif value.value == RESET:
            hiding[value.key] = value
    return list(hiding.values())


def _context(value: Value) -> str:
    return value.key.removeprefix(f"{_SECTION}.").removesuffix(f".{_VARIABLE}")


def _called(value: Value) -> str:
    """Return a name for a helper. A shell command is not repeated: it may hold a password."""
    first = value.value.split(" ", 1)[0]
    return first if _PLAIN_WORD.fullmatch(first) else "a shell command"
