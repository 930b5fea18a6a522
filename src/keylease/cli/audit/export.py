"""`keylease audit export`: print the log for other systems, once or as it grows."""

from __future__ import annotations

import os
import select
import sys
import time
from typing import TYPE_CHECKING, Final

import click

from keylease.audit.export.forms import FORMS, csv_head
from keylease.audit.line import LineError
from keylease.audit.read.feed import POSITION_BYTES, Position, position_of, read_position
from keylease.cli.audit import reading
from keylease.cli.base import Command, OutputError, see_help, warn
from keylease.cli.newfile import write_new
from keylease.errors import StateError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from keylease.audit.read.reader import Line

_TICK_SECONDS: Final = 1.0
_BATCH: Final = 512
"""Lines to write before the cursor moves."""


@click.command(cls=Command)
@click.option(
    "--format",
    "form",
    type=click.Choice(list(FORMS)),
    default="jsonl",
    show_default=True,
    help="The lines unchanged, a table, or documents of the Elastic Common Schema.",
)
@reading.range_options
@click.option(
    "--after", metavar="SEQ", type=click.IntRange(min=0), help="Only lines after this one."
)
@click.option(
    "--cursor",
    metavar="FILE",
    help="Start after the line that FILE names, and update FILE. It is created if needed.",
)
@click.option("--follow", "-f", is_flag=True, help="Wait for new lines until interrupted.")
@click.option("--output", metavar="FILE", help="Write to FILE, readable by you alone.")
@click.option("--force", is_flag=True, help="Let --output replace a file.")
@click.pass_context
def export(  # noqa: PLR0913, PLR0917 - click passes each option as an argument
    ctx: click.Context,
    form: str,
    since: str | None,
    until: str | None,
    after: int | None,
    cursor: str | None,
    follow: bool,
    output: str | None,
    force: bool,
) -> None:
    """Print the log for another system, oldest line first.

    jsonl prints each line unchanged, so it can be verified on any machine. csv has the event's own
    fields in one column. ecs leaves out empty fields, and has the digest of each line as
    event.hash. This command verifies nothing and needs no key.

    With --cursor an export continues after a restart. FILE names the last line that stdout took; it
    is updated after the output. If the machine stops in between, some lines are printed twice, but
    none is lost. If the log no longer has that line, the exit code is 6.

    docs/admin.md has configurations of log shippers that run this command.
    """
    _check(ctx, after=after, cursor=cursor, follow=follow, output=output, until=until)
    place = Position(after) if after is not None else _read(cursor)
    lines = reading.lines(reading.read_range(since, until), place)
    head = [csv_head()] if form == "csv" and (place is None or place.seq == 0) else []
    if output is not None:
        write_new(output, _parts(head, lines.there(), form), force=force)
    else:
        _put(head)
        _pass_on(lines.there(), form, cursor)
    if lines.missing:
        warn(
            f"the log no longer has the next line after {place.seq if place else 0}: "
            f"{lines.missing} are missing",
            "either old days were removed before the export, or see: keylease audit verify",
        )
    if follow:
        _follow(lines.follow(), form, cursor)


def _check(  # noqa: PLR0913 - the options that exclude each other
    ctx: click.Context,
    *,
    after: int | None,
    cursor: str | None,
    follow: bool,
    output: str | None,
    until: str | None,
) -> None:
    """Refuse options that contradict each other."""
    pairs = (
        ("--after", "--cursor", after is not None and cursor is not None),
        ("--output", "--follow", output is not None and follow),
        ("--output", "--cursor", output is not None and cursor is not None),
        ("--until", "--follow", until is not None and follow),
    )
    for one, other, both in pairs:
        if both:
            msg = f"{one} and {other} exclude each other"
            raise UsageError(msg, see_help(ctx))


def _parts(head: list[bytes], lines: Iterable[Line], form: str) -> Iterator[bytes]:
    yield from head
    for line in lines:
        yield _formed(line, form)


def _formed(line: Line, form: str) -> bytes:
    try:
        return FORMS[form](line)
    except LineError as error:
        warn(f"audit/{line.file}, from byte {line.start} on: {error}; it was left out")
        return b""


def _pass_on(lines: Iterable[Line], form: str, cursor: str | None) -> None:
    """Write lines to stdout, and update the cursor after each batch."""
    batch: list[bytes] = []
    last: Line | None = None
    for line in lines:
        batch.append(_formed(line, form))
        last = line if line.seq is not None else last
        if len(batch) >= _BATCH:
            _put(batch)
            _save(cursor, last)
            batch = []
    if batch:
        _put(batch)
        _save(cursor, last)


def _follow(look: Callable[[], Iterator[Line]], form: str, cursor: str | None) -> None:
    while not _is_nobody_listening():
        _pass_on(look(), form, cursor)
        time.sleep(_TICK_SECONDS)


def _put(parts: list[bytes]) -> None:
    """Write to stdout. On return the data is in the pipe or with the reader."""
    try:
        sys.stdout.buffer.write(b"".join(parts))
        sys.stdout.buffer.flush()
    except OSError as error:
        # Python flushes stdout at exit, and would fail again with a traceback ("Note on SIGPIPE" in
        # the documentation of `signal`).
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if isinstance(error, BrokenPipeError):
            raise click.exceptions.Exit(0) from None  # the reader has closed the pipe
        msg = f"cannot write the lines to stdout: {error.strerror}"
        raise OutputError(msg, "the cursor stays at the last line that was written") from error


def _read(cursor: str | None) -> Position | None:
    """Return the position in the cursor file; `None` if there is no file yet."""
    if cursor is None:
        return None
    try:
        with open(cursor, "rb") as file:
            return read_position(file.read(POSITION_BYTES))
    except FileNotFoundError:
        return None
    except OSError as error:
        msg = f"cannot read the cursor file: {error.strerror}"
        raise StateError(msg, "make it readable, or name another one") from error


def _save(cursor: str | None, last: Line | None) -> None:
    place = None if last is None else position_of(last)
    if cursor is not None and place is not None:
        write_new(cursor, [place.pack()], force=True)


if sys.platform == "win32":

    def _is_nobody_listening() -> bool:
        """Return `False`: Windows reports a closed pipe only at a write."""
        return False

else:

    def _is_nobody_listening() -> bool:
        """Return whether stdout is a pipe without a reader.

        Without this check, following a quiet log for a killed log shipper would never end.
        """
        try:
            waiting = select.poll()
            # poll(2): POLLERR is set for the write end of a pipe when the read end was closed.
            waiting.register(sys.stdout.fileno(), 0)
            return any(event & (select.POLLERR | select.POLLNVAL) for _, event in waiting.poll(0))
        except (OSError, ValueError):
            return False  # stdout has no descriptor, so it is no pipe
