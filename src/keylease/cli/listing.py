"""`keylease list`: the live sessions and nothing else, one a line.

Not `list.py`: a module is an attribute of its package, where it would take the built-in's place.
"""

from __future__ import annotations

from typing import Final

import click

from keylease.cli.base import Command, Program, json_option, say, say_json
from keylease.cli.report import survey
from keylease.cli.status import HEAD, row, to_json
from keylease.cli.table import lay_out

FORMAT: Final = 1
"""The version of the JSON. It goes up when a field goes away or changes its meaning."""


@click.command(cls=Command)
@json_option
@click.pass_obj
def list(program: Program, as_json: bool) -> None:  # noqa: A001 - the table of commands names it so
    """List the live sessions, oldest first.

    They are those of keylease status, without the keychain. Nothing is printed where there is none.
    No session is used by being listed, and no secret is shown.

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
