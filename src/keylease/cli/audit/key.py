"""`keylease audit key`: hand the audit key to who verifies the log elsewhere."""

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
    """Hand out the audit key, with which the log is verified."""


@click.command(cls=Command)
@click.option("--terminal", is_flag=True, help="Print it although stdout is a terminal.")
@click.pass_obj
def export(program: Program, *, terminal: bool) -> None:
    """Print the audit key, to verify the log on another machine.

    Whoever has it can verify the log, and can write lines that verify: give it to who keeps the
    log, and to nobody who might want to change it. It opens no session and no credential. The log
    has a line about it first; if that cannot be written, nothing is printed.

    \b
        (umask 077; keylease audit key export > audit.key)

    On a terminal it is refused, for what is there is scrolled back, copied and recorded; ask again
    with --terminal. Keys of earlier generations that are still in the keychain are printed, too.
    """  # noqa: D301 - click reads the backslash-b, and prints the lines after it as they are
    if sys.stdout is not None and sys.stdout.isatty() and not terminal:
        msg = "the audit key is not printed on a terminal"
        raise UsageError(msg, "send it to a file or a program, or ask again with --terminal")
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
    """Write to stdout without Python's buffer, which nobody wipes."""
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
        msg = f"the answer cannot be written to stdout: {error.strerror}"
        raise OutputError(msg) from None
