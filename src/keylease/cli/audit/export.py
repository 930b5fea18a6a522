"""`keylease audit export`: the log for other systems, once or as it grows."""

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
"""How many lines go out before the cursor moves."""


@click.command(cls=Command)
@click.option(
    "--format",
    "form",
    type=click.Choice(list(FORMS)),
    default="jsonl",
    show_default=True,
    help="The lines as they stand, a table, or documents of the Elastic Common Schema.",
)
@reading.range_options
@click.option(
    "--after", metavar="SEQ", type=click.IntRange(min=0), help="Only lines after this one."
)
@click.option(
    "--cursor",
    metavar="FILE",
    help="Go on after the line that FILE names, and keep it up to date. It is made if need be.",
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
    """Print the log for another system to take, oldest line first.

    As jsonl a line is printed as it stands, byte for byte, and can be verified wherever it comes
    to. csv has the event's own fields in one column. ecs leaves out what has no value, and has the
    digest of each line as event.hash. Nothing is verified here, and no key is asked for.

    With --cursor a consumer that is started again goes on where it was: FILE names the last line
    that stdout took, and is written after it. If the machine stops in between, some lines come
    twice, and none is left out. If that line is no more in the log, or is another one, the exit
    code is 6.

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
            f"the next line after {place.seq if place else 0} is not in the log any more: "
            f"{lines.missing} are missing",
            "old days were removed before they were exported, or see: keylease audit verify",
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
            msg = f"{one} does not go with {other}"
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
    """Write lines to stdout, and after each batch where that is in the log."""
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
    """Write to stdout; it is with the reader, or in the pipe, on return."""
    try:
        sys.stdout.buffer.write(b"".join(parts))
        sys.stdout.buffer.flush()
    except OSError as error:
        # What Python writes when it exits would fail again, with a traceback ("Note on SIGPIPE" in
        # the documentation of `signal`).
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if isinstance(error, BrokenPipeError):
            raise click.exceptions.Exit(0) from None  # it has read what it wanted
        msg = f"the lines cannot be written to stdout: {error.strerror}"
        raise OutputError(msg, "the cursor stays at the last line that was") from error


def _read(cursor: str | None) -> Position | None:
    """Return where the cursor file says that its consumer is; `None` at the first time."""
    if cursor is None:
        return None
    try:
        with open(cursor, "rb") as file:
            return read_position(file.read(POSITION_BYTES))
    except FileNotFoundError:
        return None
    except OSError as error:
        msg = f"the cursor file cannot be read: {error.strerror}"
        raise StateError(msg, "make it readable, or name another one") from error


def _save(cursor: str | None, last: Line | None) -> None:
    place = None if last is None else position_of(last)
    if cursor is not None and place is not None:
        write_new(cursor, [place.pack()], force=True)


if sys.platform == "win32":

    def _is_nobody_listening() -> bool:
        """Return whether stdout is a pipe without a reader; this platform tells at a write only."""
        return False

else:

    def _is_nobody_listening() -> bool:
        """Return whether stdout is a pipe without a reader.

        Else who follows a quiet log for a shipper that was killed would stay for ever.
        """
        try:
            waiting = select.poll()
            # poll(2): POLLERR is set for the write end of a pipe when the read end was closed.
            waiting.register(sys.stdout.fileno(), 0)
            return any(event & (select.POLLERR | select.POLLNVAL) for _, event in waiting.poll(0))
        except (OSError, ValueError):
            return False  # not a descriptor of the system's, so nobody can close it
