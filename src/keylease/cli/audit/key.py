"""`keylease audit key`: export the audit key, to verify the log on another machine."""

from __future__ import annotations

import os
import sys
from typing import Final

import click

from keylease.cli.audit.keyfile import NOTICE, write_key
from keylease.cli.base import Command, Group, OutputError, Program
from keylease.cli.keychain import has_state
from keylease.errors import StateMissingError, UsageError
from keylease.secrets.memory import secure_clear

COMMANDS: Final = {"export": "keylease.cli.audit.key"}
"""Every command by its name."""


@click.group(cls=Group, modules=COMMANDS)
def key() -> None:
    """Export the audit key, which verifies the log."""


@click.command(cls=Command)
@click.option("--terminal", is_flag=True, help="Print the key even if stdout is a terminal.")
@click.pass_obj
def export(program: Program, *, terminal: bool) -> None:
    """Print the audit key, to verify the log on another machine.

    With the key a person can verify the log, but also write lines that verify. Give it only to
    people who keep the log and have no reason to change it. It opens no session and no credential.
    The export is a line in the log; if that line cannot be written, nothing is printed.

    \b
        (umask 077; keylease audit key export > audit.key)

    A terminal is refused, because its content is kept, copied and recorded; --terminal allows it.
    Keys of earlier generations that are still in the keychain are printed, too.
    """  # noqa: D301 - click reads the backslash-b, and prints the lines after it as they are
    if sys.stdout is not None and sys.stdout.isatty() and not terminal:
        msg = "stdout is a terminal, which would show the audit key"
        raise UsageError(msg, "send it to a file or a program, or allow it with --terminal")
    keys = program.wiring().audit_service.export_keys() if has_state() else []
    if not keys:
        msg = "there is no audit key in the keychain"
        raise StateMissingError(msg, "the first login makes one")
    text = bytearray("".join(f"{line}\n" for line in NOTICE).encode("ascii"))
    try:
        for each in keys:
            write_key(each, text)
        _write(text)
    finally:
        secure_clear(text)
        for each in keys:
            each.wipe()


def _write(text: bytearray) -> None:
    """Write to stdout without Python's buffer, which is never wiped."""
    if sys.stdout is None:
        return
    try:
        sys.stdout.flush()
        written = 0
        with memoryview(text) as view:
            while written < len(text):
                written += os.write(sys.stdout.fileno(), view[written:])
    except BrokenPipeError:
        return
    except OSError as error:
        msg = f"cannot write the answer to stdout: {error.strerror}"
        raise OutputError(msg) from None
