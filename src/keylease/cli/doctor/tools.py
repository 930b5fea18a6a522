"""Whether each tool but git asks keylease, and finds the program by which it asks.

That a tool is here and asks nobody is no fault: whoever wants it to says so. One that was told to
ask, and cannot, is: some of them then keep the next password in plaintext, without a word.
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING, cast

from keylease.cli.doctor.base import Finding
from keylease.cli.setup import TOOLS
from keylease.cli.setup.base import SetupError, is_here
from keylease.cli.setup.gitconfig import find
from keylease.cli.setup.programs import is_everywhere
from keylease.errors import KeyleaseError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from keylease.cli.doctor.base import Subject
    from keylease.cli.setup.base import AskingTool


def check(_: Subject) -> Iterator[Finding]:
    """Read the configuration of each tool."""
    findings = [
        finding
        for name, path in TOOLS.items()
        if hasattr(module := import_module(path), "helpers")
        for finding in _judge(name, cast("AskingTool", module))
    ]
    yield from findings or [Finding("ok", "none of the other tools is here")]


def _judge(name: str, asker: AskingTool) -> Iterator[Finding]:
    command = asker.TOOL.setup
    try:
        helpers = asker.helpers()
    except KeyleaseError as error:
        own = error.hint != SetupError.hint
        yield Finding("warn", f"{name}: {error}", error.hint if own else "look into it yourself")
        return
    missing = sorted({each for each in helpers if not _is_there(each)})
    for each in missing:
        # A path may have been typed by anybody.
        said = f"{name} is told to ask keylease, and cannot: there is no program {each!a}"
        yield Finding("warn", said, f"install it, or run again: {command}")
    if helpers and not missing:
        yield Finding("ok", f"{name} is told to ask keylease")
        yield from _by_path_alone(name, helpers)
    elif not helpers and is_here(asker.TOOL):
        yield Finding("ok", f"{name} is here and does not ask keylease; to change that: {command}")


def _by_path_alone(name: str, helpers: Sequence[str]) -> Iterator[Finding]:
    """Yield each program that is named without its path, and is on no short PATH."""
    for each in sorted({each for each in helpers if not os.path.isabs(each)}):
        if not is_everywhere(each):
            said = f"{name} finds {each!a} by PATH alone, so not from cron, a timer or a desktop"
            place = os.path.dirname(find(each, os.get_exec_path()) or "")
            hint = f"put {place} on the PATH there, or link the program: sudo ln -s {place}/{each}"
            yield Finding("warn", said, f"{hint} /usr/bin/")


def _is_there(program: str) -> bool:
    if os.path.isabs(program):
        return os.path.isfile(program) and os.access(program, os.X_OK)
    return find(program, os.get_exec_path()) is not None
