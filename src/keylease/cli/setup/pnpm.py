"""`keylease setup pnpm`: one line of ~/.npmrc for each registry.

pnpm takes a `tokenHelper` from the user's own file alone, and tells it nothing: the registry stands
in the line twice, for pnpm and for the helper (pnpm's documentation of .npmrc).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

import click

from keylease import tools
from keylease.cli import location
from keylease.cli.base import Command, Program, warn
from keylease.cli.setup.base import Plan, carry_out, dry_run_option, undo_option
from keylease.cli.setup.lines import load, program
from keylease.errors import UsageError
from keylease.protocols.pnpm import target

if TYPE_CHECKING:
    from collections.abc import Sequence

    from keylease.model import Target

TOOL: Final = tools.named("pnpm")
_OURS: Final = re.compile(r"//[^=]*:tokenHelper=((?:\S*/)?keylease-pnpm(?:\.exe)?) \S+")
# pnpm splits the value at blanks, and refuses these, because a shell would mean something by them.
_UNFIT: Final = r"[\s$%`\"'\\]"


@click.command(cls=Command)
@click.argument("registries", metavar="[REGISTRY]...", nargs=-1)
@dry_run_option
@undo_option
@click.pass_obj
def pnpm(_: Program, registries: tuple[str, ...], dry_run: bool, undo: bool) -> None:
    """Let pnpm ask keylease for the tokens of registries.

    It writes one line into your own .npmrc for each REGISTRY, which is a URL:

    \b
        //npm.example/:tokenHelper=/usr/bin/keylease-pnpm https://npm.example/

    Everything else in the file stays. pnpm cannot start a session: that is done with keylease login
    --tool pnpm REGISTRY. npm and yarn have no such helper and ignore the line. --undo takes these
    lines away.
    """  # noqa: D301 - click reads the backslash-b, and prints the line after it as it is
    if undo == bool(registries):
        msg = "--undo takes away every line" if undo else "no registry is named"
        raise UsageError(msg, "give it alone" if undo else "name it by its URL")
    named = [target(each) for each in registries]
    plan = Plan((load(_path()).exchanged(_OURS),)) if undo else _plan(named)
    carry_out("pnpm", plan, dry_run=dry_run, undo=undo)
    if not undo:
        _warn(named)


def _plan(registries: Sequence[Target]) -> Plan:
    path = program(TOOL.program, _UNFIT)
    file = load(_path())
    shown: tuple[str, ...] = ()
    for each in registries:
        line = f"{_key(each)}:tokenHelper={path} {each.url}"
        old = file.found(re.compile(re.escape(f"{_key(each)}:tokenHelper=") + ".*"))
        if old != [line]:
            if old and not all(map(_OURS.fullmatch, old)):
                msg = f"{file.path} has another tokenHelper for {each.url}"
                raise UsageError(msg, "take that line out, then try again")
            file, said = file.changed(old, [line])
            shown += said
    return Plan((file.change(shown),))


def helpers() -> list[str]:
    """Return the programs that the configuration names for it, of keylease's; none if it does not.

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
    """Return the registry as the keys of .npmrc have it: without a scheme, with a slash."""
    return "//" + registry.url.partition("://")[2].rstrip("/") + "/"


def _path() -> str:
    return location.path(TOOL.configuration[0])
