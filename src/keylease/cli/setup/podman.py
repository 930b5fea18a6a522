"""`keylease setup podman`: write one file of keylease's own for podman, skopeo and buildah.

These programs read every file below `registries.conf.d` (containers-registries.conf.d(5)). The last
`credential-helpers` counts. They do not read docker's `credsStore`.
"""

from __future__ import annotations

import os
from typing import Final

from keylease import tools
from keylease.cli import location
from keylease.cli.base import warn
from keylease.cli.setup.base import Change, Plan, SetupError, carry_out, read, setup_command

TOOL: Final = tools.named("podman")
NAME: Final = "90-keylease.conf"
EXECUTABLE: Final = "docker-credential-keylease"
LINE: Final = 'credential-helpers = ["keylease"]'
TEXT: Final = f"""\
# Written by: keylease setup podman
# Take it away with: keylease setup podman --undo
{LINE}
"""


@setup_command
def podman(dry_run: bool, undo: bool) -> None:
    """Let podman, skopeo and buildah keep their logins in sessions.

    It writes one file of its own into the directory registries.conf.d of your configuration:

    \b
        credential-helpers = ["keylease"]

    From then on these programs neither write logins to auth.json nor read them from there: log in
    to each registry again. If --authfile or the variable REGISTRY_AUTH_FILE names a file, they
    still keep logins in that file.
    """  # noqa: D301 - click reads the backslash-b, and prints the line after it as it is
    carry_out("podman", _undoing() if undo else plan(), dry_run=dry_run, undo=undo)
    if os.environ.get("REGISTRY_AUTH_FILE") and not undo:
        warn(
            "REGISTRY_AUTH_FILE is set, so podman keeps logins in that file, in plaintext",
            "unset it",
        )


def plan() -> Plan:
    """Return the changes that setup has to make.

    Raises:
        SetupError: another program wrote the file.
    """
    path, before = _path(), _ours()
    return Plan((Change(path, before, TEXT.encode(), (f"+ {LINE}",), 0o644),))


def helpers() -> list[str]:
    """Return the programs of keylease that the configuration names, if any.

    Raises:
        SetupError: the configuration cannot be read.
    """
    return [EXECUTABLE] if _ours() is not None else []


def _undoing() -> Plan:
    path, before = _path(), _ours()
    return Plan((Change(path, before, None, (f"- {LINE}",)),))


def _path() -> str:
    return location.path(TOOL.configuration[0])


def _ours() -> bytes | None:
    before = read(_path())
    if before is not None and LINE.encode() not in before:
        msg = f"{_path()} exists and was not written by keylease"
        raise SetupError(msg, "move it away, then try again")
    return before
