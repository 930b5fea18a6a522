"""`keylease setup bazel`: one line of ~/.bazelrc for each host.

Without a host in it the line would be for all of them, and each download of a build would start the
helper and stand in the audit log (Bazel's documentation of `--credential_helper`).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

import click

from keylease import tools
from keylease.cli import location
from keylease.cli.base import Command, Program
from keylease.cli.setup.base import Plan, carry_out, dry_run_option, undo_option
from keylease.cli.setup.lines import load, program
from keylease.errors import UsageError
from keylease.protocols.http import split

if TYPE_CHECKING:
    from collections.abc import Sequence

TOOL: Final = tools.named("bazel")
_HOST: Final = re.compile(r"(?:\*\.)?[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*")
_OURS: Final = re.compile(r'common "?--credential_helper=[^=\s]*=([^"]*keylease-bazel(?:\.exe)?)"?')
_UNFIT: Final = r"[\"'\\\x00-\x1f]"


@click.command(cls=Command)
@click.argument("hosts", metavar="[HOST]...", nargs=-1)
@dry_run_option
@undo_option
@click.pass_obj
def bazel(_: Program, hosts: tuple[str, ...], dry_run: bool, undo: bool) -> None:
    """Let Bazel ask keylease for the credentials of hosts.

    It writes one line into ~/.bazelrc for each HOST; *.example is for every host below example:

    \b
        common --credential_helper=cache.example=/usr/bin/keylease-bazel

    Everything else in the file stays. Bazel 7 or newer reads it. Bazel cannot start a session: that
    is done with keylease login URL, by git, or, for a token, with keylease login --tool bazel URL.
    --undo takes these lines away.
    """  # noqa: D301 - click reads the backslash-b, and prints the line after it as it is
    if undo == bool(hosts):
        msg = "--undo takes away every line" if undo else "no host is named"
        raise UsageError(msg, "give it alone" if undo else "name it as in: cache.example")
    named = [_name(each) for each in hosts]
    plan = Plan((load(_path()).exchanged(_OURS),)) if undo else _plan(named)
    carry_out("bazel", plan, dry_run=dry_run, undo=undo)


def _plan(hosts: Sequence[str]) -> Plan:
    path = program(TOOL.program, _UNFIT)
    file = load(_path())
    shown: tuple[str, ...] = ()
    for host in hosts:
        option = f"--credential_helper={host}={path}"
        line = f'common "{option}"' if " " in path else f"common {option}"
        start = re.compile(rf'common "?--credential_helper={re.escape(host)}=.*')
        old = [each for each in file.found(_OURS) if start.fullmatch(each)]
        if old != [line]:
            file, said = file.changed(old, [line])
            shown += said
    return Plan((file.change(shown),))


def helpers() -> list[str]:
    """Return the programs that the configuration names for it, of keylease's; none if it does not.

    Raises:
        SetupError: the configuration cannot be read.
    """
    return load(_path()).named(_OURS)


def _name(host: str) -> str:
    """Return a host as Bazel matches it: without a port, for Bazel looks at none."""
    name = split(host).host.partition(":")[0] if "://" in host else host
    if _HOST.fullmatch(name) is None:
        msg = "what is given is no host as Bazel matches it"
        raise UsageError(msg, "name it as in: cache.example, or: *.example")
    return name


def _path() -> str:
    return location.path(TOOL.configuration[0])
