"""What is wrong with git's configuration of helpers, for whoever wants sessions that end.

git tells every helper each password that worked, whichever of them knew it (`credential_approve` in
credential.c), and forgets the helpers named before an empty value (gitcredentials(7)). Nothing is
changed here, and a helper that is a shell command is not repeated: it may have a password in it.
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
    """One thing for which a session is not asked, or does not end where it should."""

    found: str
    remedy: str


def asking(config: GitConfig) -> str | None:
    """Return where git is configured to ask keylease, for any URL; `None` if nowhere."""
    origins = [value.origin for value in config.effective(_KEYS) if _OURS.fullmatch(value.value)]
    return origins[-1] if origins else None


def complaints(config: GitConfig) -> Iterator[Complaint]:
    """Yield what is wrong.

    Raises:
        GitError: git cannot be asked.
    """
    values = config.effective(_KEYS)
    for value in _others(values):
        where = "git" if value.key == KEY else f"for {_context(value)} git"
        yield Complaint(
            f"{where} also tells {_called(value)} each password that worked ({value.origin})",
            "a copy that it keeps does not end with the session; remove it from there",
        )
    for value in _hiding(values):
        where = "here git" if value.key == KEY else f"for {_context(value)} git"
        yield Complaint(
            f"{where} does not ask keylease: an empty helper makes it forget ({value.origin})",
            "remove the empty value, or add keylease as a helper after it",
        )
    yield from _programs(config, [each.value for each in values if _OURS.fullmatch(each.value)])


def _programs(config: GitConfig, named: Sequence[str]) -> Iterator[Complaint]:
    """Yield why git cannot run what it is told to ask, from here or from cron and the like."""
    again = "run again: keylease setup git"
    for path in sorted({_program(each) for each in named}):
        if os.path.isabs(path) and not (os.path.isfile(path) and os.access(path, os.X_OK)):
            yield Complaint(f"git is told to ask {path!a}, and there is no such program", again)
    short = [each for each in named if not os.path.isabs(each)]
    if named and not short:
        return
    if config.find_helper(PROGRAM) is None:
        here = short and stable_path(PROGRAM)
        remedy = again if here else "install keylease where PATH leads"
        yield Complaint(f"git finds no {PROGRAM} on PATH, so it cannot ask", remedy)
    elif short and not is_everywhere(PROGRAM):
        yield Complaint(
            f"git finds {PROGRAM} by PATH alone: from cron, a timer or a desktop it does not ask",
            again,
        )


def _program(value: str) -> str:
    """Return the program of a helper of ours, without the signs that a shell takes away."""
    found = re.match(r"(?:[^\s\\]|\\.)*", value)
    return re.sub(r"\\(.)", r"\1", found[0]) if found else value


def _others(values: Sequence[Value]) -> list[Value]:
    """Return the helpers beside keylease that git tells every password, for some URL at least."""
    left: list[Value] = []
    for value in values:
        if value.value == RESET:
            # A reset for all URLs is one for each; that of one URL leaves the others as they are.
            left = [each for each in left if value.key not in {KEY, each.key}]
        elif not _OURS.fullmatch(value.value):
            left.append(value)
    return left


def _hiding(values: Sequence[Value]) -> list[Value]:
    """Return the resets after which keylease is not named again: for these it is not asked."""
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
    """Return what to call a helper. A shell command is not repeated: it may have a password."""
    first = value.value.split(" ", 1)[0]
    return first if _PLAIN_WORD.fullmatch(first) else "a shell command"
