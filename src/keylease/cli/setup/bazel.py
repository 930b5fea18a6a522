"""`keylease setup bazel`: write one line into ~/.bazelrc for each host.

A line without a host would count for all hosts. Then each download of a build would start the
helper and add to the audit log (Bazel's documentation of `--credential_helper`).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

import click

from keylease import tools
from keylease.cli import location
from keylease.cli.setup.base import Plan, carry_out, setup_command, undo_alone
from keylease.cli.setup.lines import load, program
from keylease.errors import UsageError
from keylease.protocols.http import split

if TYPE_CHECKING:
    from collections.abc import Sequence

TOOL: Final = tools.named("bazel")
_HOST: Final = re.compile(r"(?:\*\.)?[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*")
_OURS: Final = re.compile(r'common "?--credential_helper=[^=\s]*=([^"]*keylease-bazel(?:\.exe)?)"?')
_UNFIT: Final = r"[\"'\\\x00-\x1f]"


@setup_command
@click.argument("hosts", metavar="[HOST]...", nargs=-1)
def bazel(hosts: tuple[str, ...], dry_run: bool, undo: bool) -> None:
    """Let Bazel ask keylease for the credentials of hosts.

    It writes one line into ~/.bazelrc for each HOST; *.example means every host below example:

    \b
        common --credential_helper=cache.example=/usr/bin/keylease-bazel

    Everything else in the file stays. Bazel 7 or newer reads it. Bazel cannot start a session:
    start it with keylease login URL, with git, or, for a token, with keylease login --tool bazel
    URL. --undo takes these lines away.
    """  # noqa: D301 - click reads the backslash-b, and prints the line after it as it is
    if undo:
        undo_alone(hosts)
    elif not hosts:
        msg = "no host is given"
        raise UsageError(msg, "name one, such as: keylease setup bazel cache.example")
    named = [_name(each) for each in hosts]
    plan = Plan((load(_path()).exchanged(_OURS),)) if undo else _plan(named)
    carry_out("bazel", plan, dry_run=dry_run, undo=undo)


def _plan(hosts: Sequence[str]) -> Plan:
    path = program(TOOL.program, _UNFIT)
    file = load(_path())
    for host in hosts:
        option = f"--credential_helper={host}={path}"
        line = f'common "{option}"' if " " in path else f"common {option}"
        start = re.compile(rf'common "?--credential_helper={re.escape(host)}=.*')
        old = [each for each in file.found(_OURS) if start.fullmatch(each)]
        if old != [line]:
            file = file.changed(old, [line])
    return Plan((file.change(),))


def helpers() -> list[str]:
    """Return the programs of keylease that the configuration names, if any.

    Raises:
        SetupError: the configuration cannot be read.
    """
    return load(_path()).named(_OURS)


def _name(host: str) -> str:
    """Return a host as Bazel matches it: without a port, because Bazel ignores the port."""
    name = split(host).host.partition(":")[0] if "://" in host else host
    if _HOST.fullmatch(name) is None:
        msg = "the argument is not a host that Bazel can match"
        raise UsageError(msg, "name it like cache.example or *.example")
    return name


def _path() -> str:
    return location.path(TOOL.configuration[0])
