"""Check that each tool but git asks keylease, and finds the program by which it asks.

A tool that is installed but not set up is no fault: the user decides. A tool that is set up and
cannot run the program is one: some tools then keep the next password in plaintext, and say nothing.
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
    yield from findings or [Finding("ok", "no other tool is installed")]


def _judge(name: str, asker: AskingTool) -> Iterator[Finding]:
    command = asker.TOOL.setup
    try:
        helpers = asker.helpers()
    except KeyleaseError as error:
        own = error.hint != SetupError.hint
        yield Finding("warn", f"{name}: {error}", error.hint if own else "check the file yourself")
        return
    missing = sorted({each for each in helpers if not _is_there(each)})
    for each in missing:
        # `!a`, because a path from a configuration can hold control characters.
        found = f"{name} is configured to ask keylease, but there is no program {each!a}"
        yield Finding("warn", found, f"install it, or run again: {command}")
    if helpers and not missing:
        yield Finding("ok", f"{name} is configured to ask keylease")
        yield from _by_path_alone(name, helpers)
    elif not helpers and is_here(asker.TOOL):
        yield Finding("ok", f"{name} is installed and does not ask keylease; run: {command}")


def _by_path_alone(name: str, helpers: Sequence[str]) -> Iterator[Finding]:
    """Yield each program that is named without its path and is missing from a short PATH."""
    for each in sorted({each for each in helpers if not os.path.isabs(each)}):
        if not is_everywhere(each):
            found = f"{name} finds {each!a} only on PATH, so not from cron, a timer or a desktop"
            place = os.path.dirname(find(each, os.get_exec_path()) or "")
            hint = f"put {place} on the PATH there, or link the program: sudo ln -s {place}/{each}"
            yield Finding("warn", found, f"{hint} /usr/bin/")


def _is_there(program: str) -> bool:
    if os.path.isabs(program):
        return os.path.isfile(program) and os.access(program, os.X_OK)
    return find(program, os.get_exec_path()) is not None
