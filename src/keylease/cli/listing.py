"""`keylease list`: the live sessions and nothing else, one a line.

The module is not named `list`, because it would shadow the built-in in its package.
"""

from __future__ import annotations

from typing import Final

import click

from keylease.cli.base import Command, Program, json_option, say, say_json
from keylease.cli.report import survey
from keylease.cli.status import HEAD, row, to_json
from keylease.cli.table import lay_out

FORMAT: Final = 1
"""The version of the JSON. It increases when a field is removed or changes its meaning."""


@click.command(cls=Command)
@json_option
@click.pass_obj
def list(program: Program, as_json: bool) -> None:  # noqa: A001 - the table of commands names it so
    """List the live sessions, oldest first.

    The table is that of keylease status, without the keychain. Without a live session it prints
    nothing. This command shows no secret and does not count as a use.

    The exit code is 0 with or without sessions, 4 if the keychain is locked or cannot be reached,
    and 5 if the vault key was deleted or revoked.
    """
    report = survey(program, None)
    if as_json:
        say_json({"format": FORMAT, "sessions": [to_json(line) for line in report.lines]})
    elif report.lines:
        for line in lay_out(HEAD, [row(line) for line in report.lines]):
            say(line)
    if report.error is not None:
        raise report.error
