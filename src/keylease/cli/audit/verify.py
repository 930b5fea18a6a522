"""`keylease audit verify`: check the integrity of the audit log."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Final

import click

from keylease.audit.line import format_time
from keylease.audit.read import verify as judge
from keylease.audit.read.times import parse_time
from keylease.cli.audit.keyfile import read_keys
from keylease.cli.base import Command, Program, json_option, say, say_json
from keylease.cli.keychain import has_state
from keylease.errors import StateMissingError, UsageError, printable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import BinaryIO

    from keylease.audit.read.verdict import Observation, Verdict
    from keylease.secrets.secret import Secret

FORMAT: Final = 1
"""The version of the JSON. It increases when a field is removed or changes its meaning."""
_DAY: Final = len("2026-11-22")
_LONGEST_LINE: Final = 1 << 16
_SAID: Final = {
    "ok": "the log is complete and unchanged",
    "tail-ahead": "the log has one line more than its records of the end, as after a crash",
    "pin-missing": "all lines verify, but nothing confirms that the last line is the last",
    "key-missing": "not everything could be checked, because an audit key is missing",
    "truncated": "lines were removed from the end",
    "gap": "lines are missing",
    "edited": "the log was changed",
}


@click.command(cls=Command)
@click.option("--since", metavar="TIME", help="Skip the days before this time.")
@click.option(
    "--directory",
    metavar="DIR",
    type=click.Path(exists=True, file_okay=False),
    help="Verify a copy of an audit directory instead of your own.",
)
@click.option(
    "--key-file",
    "key_files",
    metavar="FILE",
    multiple=True,
    type=click.File("rb"),
    help="An exported audit key, or - for stdin; you can give it several times.",
)
@click.option(
    "--witness",
    metavar="FILE",
    type=click.File("rb"),
    help="Compare with the checkpoints of a system log, or - for stdin.",
)
@json_option
@click.pass_obj
def verify(  # noqa: PLR0913 - click passes each option as an argument
    program: Program,
    *,
    since: str | None,
    directory: str | None,
    key_files: tuple[BinaryIO, ...],
    witness: BinaryIO | None,
    as_json: bool,
) -> int:
    """Check the integrity of the audit log.

    The first word of the output is the verdict, which is also the exit code: ok 0, tail-ahead 20,
    pin-missing 21, key-missing 22, truncated 23, gap 24, edited 25. If several apply, the worst
    counts. docs/audit.md explains each.

    The keys come from the keychain. To verify a copy on another machine, use --directory and an
    exported key. The pin is missing there, so the best verdict is pin-missing, unless --witness has
    checkpoints up to the end:

    \b
        journalctl -t keylease | keylease audit verify --witness -
    """  # noqa: D301 - click reads the backslash-b, and prints the lines after it as they are
    if directory is None and not has_state():
        msg = "there is no audit log yet"
        raise StateMissingError(msg, "the first login begins it")
    if sum(file is not None and file.name == "<stdin>" for file in (witness, *key_files)) > 1:
        msg = "two options read stdin, which can be read only once"
        raise UsageError(msg, "put one of them into a file")
    day = None if since is None else _day(since, program)
    heard = () if witness is None else _lines(witness)
    with ExitStack() as stack:
        keys = [stack.enter_context(key) for file in key_files for key in read_keys(file)]
        if directory is None:
            verdict = program.wiring().audit_service.verify(
                since=day, witness=heard, more_keys=keys
            )
        else:
            verdict = _judge_copy(directory, keys, day, heard)
    if as_json:
        say_json(_document(verdict))
    else:
        for line in _described(verdict):
            say(line)
    return verdict.exit_code


def _judge_copy(
    directory: str, keys: list[Secret], day: str | None, heard: Iterable[str]
) -> Verdict:
    """Return the verdict on a copy.

    Raises:
        StateMissingError: the directory has no audit log.
    """
    seen = judge.extent(directory)
    if not seen.files and seen.head is None:
        msg = "there is no audit log in the directory: no day file and no head"
        raise StateMissingError(msg, "give the directory with the day files, YYYY-MM-DD.jsonl")
    why = "give one with --key-file"
    return judge.verify(directory, keys, None, since=day, witness=heard, seen=seen, why=why)


def _day(since: str, program: Program) -> str:
    return format_time(parse_time(since, program.wiring().clock.now().wall_ns))[:_DAY]


def _lines(file: BinaryIO) -> Iterator[str]:
    while line := file.readline(_LONGEST_LINE):
        yield line.decode("utf-8", "replace")


def _described(verdict: Verdict) -> list[str]:
    numbers = f"{verdict.lines or 'no'} line{'s' if verdict.lines > 1 else ''}"
    if verdict.first is not None:
        many = "" if verdict.days == 1 else "s"
        numbers = f"lines {verdict.first} to {verdict.last}, on {verdict.days} day{many}"
    said = [f"{verdict.result}: {_SAID[verdict.result]}", f"  checked {numbers}"]
    if verdict.since is not None:
        said.append(f"  skipped the days before {verdict.since}")
    bad = verdict.bad
    if bad is not None:
        said.append(f"  first bad line: {_place(bad).removesuffix(': ')}")
    said += [
        f"  {_place(each)}{printable(each.message)} ({each.result})" for each in verdict.findings
    ]
    if verdict.total > len(verdict.findings):
        said.append(f"  and {verdict.total - len(verdict.findings)} more")
    if verdict.without_mac:
        said.append(f"  without a MAC of their own: {verdict.without_mac}")
    if verdict.torn:
        said.append(f"  half-written lines at the end of a file: {verdict.torn}")
    said += [f"  {event} lines: {count}" for event, count in verdict.told.items() if count]
    return said


def _place(finding: Observation) -> str:
    if finding.number is None:
        return ""
    number = "" if finding.seq is None else f" (seq {finding.seq})"
    return f"audit/{finding.file} line {finding.number}{number}: "


def _document(verdict: Verdict) -> dict[str, object]:
    bad = verdict.bad
    return {
        "format": FORMAT,
        "verdict": verdict.result,
        "exit_code": verdict.exit_code,
        "first_bad_line": None if bad is None else bad._asdict(),
        "findings": [each._asdict() for each in verdict.findings],
        "findings_count": verdict.total,
        "lines": verdict.lines,
        "days": verdict.days,
        "first_seq": verdict.first,
        "last_seq": verdict.last,
        "without_mac": verdict.without_mac,
        "torn": verdict.torn,
        "told": dict(verdict.told),
        "since": verdict.since,
    }
