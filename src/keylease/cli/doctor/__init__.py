"""`keylease doctor`: check this machine, and say what to do about each fault.

It only reads: it changes no file, no key and no line of the audit log. It asks no questions, and
gives up on a keychain that hangs after a few seconds. It never shows the content of a file.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Final, cast

import click

from keylease.cli.base import Command, Program, json_option, say, say_json
from keylease.cli.doctor.base import VERDICTS, Finding, Subject
from keylease.errors import KeyleaseError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from keylease.cli.doctor.base import Check, Verdict

CHECKS: Final = {
    "state": "keylease.cli.doctor.state",
    "keychain": "keylease.cli.doctor.keychain",
    "vault": "keylease.cli.doctor.vault",
    "audit": "keylease.cli.doctor.audit",
    "configuration": "keylease.cli.doctor.configuration",
    "clock": "keylease.cli.doctor.clock",
    "shares": "keylease.cli.doctor.shares",
    "memory": "keylease.cli.doctor.memory",
    "git": "keylease.cli.doctor.git",
    "tools": "keylease.cli.doctor.tools",
    "plaintext": "keylease.cli.doctor.plaintext",
}
"""The module of each check by its name, in the order of the output. Each has a `check`."""

FORMAT: Final = 1
"""The version of the JSON. It rises when a field is removed or changes its meaning."""

_FAILED_EXIT: Final = 1


@click.command(cls=Command)
@json_option
@click.option(
    "--memory",
    is_flag=True,
    help="Also run the helper with a made-up credential, and search its memory for copies of it. "
    "It takes seconds, and works on Linux only.",
)
@click.pass_obj
@click.pass_context
def doctor(ctx: click.Context, program: Program, as_json: bool, memory: bool) -> None:
    """Check what keylease needs on this machine, and say what to do.

    Each line begins with ok, with warn (it works, but not as well as it could) or with fail
    (sessions do not work, or are not safe). Files in which other tools keep passwords in plaintext
    are named; their content is never shown.

    The command changes nothing and asks no questions. The exit code is 1 if a check failed, else 0.
    With --memory the helper runs in a temporary state directory and puts two keys into the
    keychain; both are removed at the end.
    """
    subject = Subject(program.keychain)
    found = [(name, finding) for name in CHECKS for finding in _run(name, subject)]
    if memory:
        found += [("memory", finding) for finding in _run("memory", subject, "search")]
    worst = max((finding.verdict for _, finding in found), key=VERDICTS.index)
    if as_json:
        say_json(_document(found, worst))
    else:
        for line in _lines(found):
            say(line)
    ctx.exit(_FAILED_EXIT if worst == "fail" else 0)


def _run(name: str, subject: Subject, function: str = "check") -> Iterator[Finding]:
    check = cast("Check", getattr(import_module(CHECKS[name]), function))
    try:
        yield from check(subject)
    except KeyleaseError as error:
        yield Finding("fail", str(error), error.hint)


def _lines(found: list[tuple[str, Finding]]) -> Iterator[str]:
    width = max(map(len, CHECKS))
    for name, (verdict, what, remedy) in found:
        yield f"{verdict:<4}  {name:<{width}}  {what}"
        if remedy:
            yield f"{'':<4}  {'':<{width}}  remedy: {remedy}"


def _document(found: list[tuple[str, Finding]], worst: Verdict) -> dict[str, object]:
    checks = [
        {"check": name, "verdict": verdict, "found": what, "remedy": remedy or None}
        for name, (verdict, what, remedy) in found
    ]
    return {"format": FORMAT, "verdict": worst, "checks": checks}
