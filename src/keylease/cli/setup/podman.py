"""`keylease setup podman`: one file for podman, skopeo and buildah, which is keylease's alone.

These programs read every file below `registries.conf.d` (containers-registries.conf.d(5)), and the
last word on `credential-helpers` counts. They do not read docker's `credsStore`.
"""

from __future__ import annotations

import os
from typing import Final

import click

from keylease import tools
from keylease.cli import location
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

TOOL: Final = tools.named("podman")
NAME: Final = "90-keylease.conf"
EXECUTABLE: Final = "docker-credential-keylease"
LINE: Final = 'credential-helpers = ["keylease"]'
TEXT: Final = f"""\
# Written by: keylease setup podman
# Take it away with: keylease setup podman --undo
{LINE}
"""


@click.command(cls=Command)
@dry_run_option
@undo_option
@click.pass_obj
def podman(_: Program, dry_run: bool, undo: bool) -> None:
    """Let podman, skopeo and buildah keep their logins in sessions.

    It writes one file of its own into the directory registries.conf.d of your configuration:

    \b
        credential-helpers = ["keylease"]

    From then on these programs neither write logins to auth.json nor read those that are there:
    log in to each registry again. Where an auth file is named, by --authfile or by the variable
    REGISTRY_AUTH_FILE, they go on keeping logins in that file.
    """  # noqa: D301 - click reads the backslash-b, and prints the line after it as it is
    carry_out("podman", undoing() if undo else plan(), dry_run=dry_run, undo=undo)
    if os.environ.get("REGISTRY_AUTH_FILE") and not undo:
        warn(
            "REGISTRY_AUTH_FILE is set, so podman keeps logins in that file, in plaintext",
            "unset it",
        )


def plan() -> Plan:
    """Return what has to be changed.

    Raises:
        SetupError: there is a file of that name that is not keylease's.
    """
    path, before = _path(), _ours()
    return Plan((Change(path, before, TEXT.encode(), (f"+ {LINE}",), 0o644),))


def helpers() -> list[str]:
    """Return the programs that the configuration names for it, of keylease's; none if it does not.

    Raises:
        SetupError: the configuration cannot be read.
    """
    return [EXECUTABLE] if _ours() is not None else []


def undoing() -> Plan:
    """Return what takes it back.

    Raises:
        SetupError: there is a file of that name that is not keylease's.
    """
    path, before = _path(), _ours()
    return Plan((Change(path, before, None, (f"- {LINE}",)),))


def _path() -> str:
    return location.path(TOOL.configuration[0])


def _ours() -> bytes | None:
    before = read(_path())
    if before is not None and LINE.encode() not in before:
        msg = f"{_path()} is there, and not from keylease"
        raise SetupError(msg, "move it away, then try again")
    return before
