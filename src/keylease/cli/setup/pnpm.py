"""`keylease setup pnpm`: write one line into ~/.npmrc for each registry.

pnpm reads `tokenHelper` only from the user's own file, and passes the helper no input. So the line
holds the registry twice, once for pnpm and once for the helper (pnpm's documentation of .npmrc).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

import click

from keylease import tools
from keylease.cli import location
from keylease.cli.base import warn
from keylease.cli.setup.base import Plan, carry_out, setup_command, undo_alone
from keylease.cli.setup.lines import load, program
from keylease.errors import UsageError
from keylease.protocols.pnpm import target

if TYPE_CHECKING:
    from collections.abc import Sequence

    from keylease.model import Target

TOOL: Final = tools.named("pnpm")
_OURS: Final = re.compile(r"//[^=]*:tokenHelper=((?:\S*/)?keylease-pnpm(?:\.exe)?) \S+")
# pnpm splits the value at blanks, and refuses the other characters, which are special in a shell.
_UNFIT: Final = r"[\s$%`\"'\\]"


@setup_command
@click.argument("registries", metavar="[REGISTRY]...", nargs=-1)
def pnpm(registries: tuple[str, ...], dry_run: bool, undo: bool) -> None:
    """Let pnpm ask keylease for the tokens of registries.

    It writes one line into your own .npmrc for each REGISTRY, which is a URL:

    \b
        //npm.example/:tokenHelper=/usr/bin/keylease-pnpm https://npm.example/

    Everything else in the file stays. pnpm cannot start a session: start it with keylease login
    --tool pnpm REGISTRY. npm and yarn have no such helper and ignore the line. --undo takes these
    lines away.
    """  # noqa: D301 - click reads the backslash-b, and prints the line after it as it is
    if undo:
        undo_alone(registries)
    elif not registries:
        msg = "no registry is given"
        raise UsageError(msg, "name one, such as: keylease setup pnpm https://npm.example/")
    named = [target(each) for each in registries]
    plan = Plan((load(_path()).exchanged(_OURS),)) if undo else _plan(named)
    carry_out("pnpm", plan, dry_run=dry_run, undo=undo)
    if not undo:
        _warn(named)


def _plan(registries: Sequence[Target]) -> Plan:
    path = program(TOOL.program, _UNFIT)
    file = load(_path())
    for each in registries:
        line = f"{_key(each)}:tokenHelper={path} {each.url}"
        old = file.found(re.compile(re.escape(f"{_key(each)}:tokenHelper=") + ".*"))
        if old != [line]:
            if old and not all(map(_OURS.fullmatch, old)):
                msg = f"{file.path} has another tokenHelper for {each.url}"
                raise UsageError(msg, "take that line out, then try again")
            file = file.changed(old, [line])
    return Plan((file.change(),))


def helpers() -> list[str]:
    """Return the programs of keylease that the configuration names, if any.

    Raises:
        SetupError: the configuration cannot be read.
    """
    return load(_path()).named(_OURS)


def _warn(registries: Sequence[Target]) -> None:
    file = load(_path())
    for each in registries:
        secrets = re.compile(re.escape(_key(each)) + r":(?:_authToken|_auth|_password)[ \t]*=.*")
        if file.found(secrets):
            hint = "take it out, revoke it, and log in: keylease login --tool pnpm " + each.url
            warn(f"{file.path} holds a token for {each.url} in plaintext", hint)


def _key(registry: Target) -> str:
    """Return the registry as a key of .npmrc names it: without a scheme, with a final slash."""
    return "//" + registry.url.partition("://")[2].rstrip("/") + "/"


def _path() -> str:
    return location.path(TOOL.configuration[0])
