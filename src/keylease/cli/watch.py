"""`keylease status --watch`: the live sessions as bars that grow shorter.

The countdown is arithmetic: it reads the clock each second and subtracts. Sessions are looked at
again only when something has happened (a file of the state changed, a session reached its end) and
now and then besides, for a key that was deleted in the keychain changes no file. A look uses no
session, so watching keeps none alive.

The terminal is not taken over: no alternate screen, no hidden cursor, no changed mode. So there is
nothing to put back, however the program ends.
"""

from __future__ import annotations

import os
import sys
import time
from typing import TYPE_CHECKING, Final, NoReturn

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from keylease.cli.address import describe
from keylease.cli.base import OutputError, see_help
from keylease.cli.table import duration
from keylease.errors import UsageError, printable
from keylease.model import NANOSECONDS
from keylease.system.clock import BootClock
from keylease.system.paths import state_directory

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    import click
    from rich.console import RenderableType

    from keylease.cli.report import Survey
    from keylease.model import Moment
    from keylease.system.clock import Clock

LOOK_SECONDS: Final = 30
"""After so long the sessions are looked at although nothing seems to have happened."""
_TICK_SECONDS: Final = 1.0
# What is left of the whole, and the colour of that. The length of the bar says the same.
_STYLES: Final = ((0.1, "red"), (0.25, "yellow"), (1.0, "green"))
_LONGEST_NAME: Final = 1024


def open_terminal(ctx: click.Context) -> Console:
    """Return the terminal that stdout is.

    Raises:
        UsageError: it is none, or one on which nothing can be written over.
    """
    console = Console(file=sys.stdout, highlight=False, markup=False, emoji=False)
    if sys.stdout is None or not sys.stdout.isatty() or console.is_dumb_terminal:
        msg = "--watch needs a terminal that can be written over, and stdout is not one"
        raise UsageError(msg, f"leave --watch out, or ask for --json; {see_help(ctx)}")
    return console


def watch(  # noqa: PLR0913 - what it sees and waits by is passed in
    console: Console,
    look: Callable[[], Survey],
    below: Callable[[Survey], Iterable[str]],
    *,
    one: bool,
    clock: Clock | None = None,
    pause: Callable[[], None] = lambda: time.sleep(_TICK_SECONDS),
) -> NoReturn:
    """Show the sessions until somebody interrupts, or the one session that is watched has ended.

    Args:
        console: The terminal.
        look: Looks at the sessions.
        below: Says what stands below them.
        one: Whether one session is watched, and its end is the end.
        clock: Tells the time.
        pause: Waits for the next line of the countdown.

    Raises:
        SessionNotFoundError: the one session has ended.
        KeyleaseError: the state cannot be read at all, or the terminal is gone.
    """
    clock = clock or BootClock()
    try:
        with Live(console=console, auto_refresh=False, redirect_stdout=False) as live:
            console.show_cursor()
            for report, passed_ns in _reports(look, clock, pause):
                if one and report.error is not None:
                    raise report.error
                live.update(_picture(report, passed_ns, below(report)), refresh=True)
    except OSError as error:
        msg = f"the terminal cannot be written to: {error.strerror}"
        raise OutputError(msg, "it is gone") from error
    raise AssertionError  # pragma: no cover - there is always one more second


def _reports(
    look: Callable[[], Survey], clock: Clock, pause: Callable[[], None]
) -> Iterator[tuple[Survey, int]]:
    """Yield, second by second, the newest report and the nanoseconds since it was made."""
    while True:
        # The files first: what changes them during the look is seen at the next turn.
        stamp, since = _stamp(state_directory()), clock.now()
        report, passed_ns = look(), 0
        while True:
            yield report, passed_ns
            pause()
            passed_ns = _passed(since, clock.now())
            if _is_due(report, passed_ns) or stamp != _stamp(state_directory()):
                break


def _passed(since: Moment, now: Moment) -> int:
    """Return the nanoseconds that have passed, by whichever clock is ahead, as the rules do."""
    return max(now.boot_ns - since.boot_ns, now.wall_ns - since.wall_ns)


def _is_due(report: Survey, passed_ns: int) -> bool:
    ended = any(line.left.ns <= passed_ns for line in report.lines)
    return ended or passed_ns >= LOOK_SECONDS * NANOSECONDS


def _stamp(state: str) -> dict[str, int]:
    """Return when each file of the vault and of the sessions was written last. None is opened."""
    sessions = os.path.join(state, "sessions")
    found: dict[str, int] = {}
    for directory in (state, sessions, *_directories(sessions)):
        try:
            with os.scandir(directory) as entries:
                # Locks are touched by every look, and the audit log is nothing that is shown.
                found |= {
                    each.path: each.stat(follow_symlinks=False).st_mtime_ns
                    for each in entries
                    if each.name.endswith((".json", ".sealed", ".touch"))
                }
        except OSError:
            # It is not there, or just went. What is wrong with it is said by the next look.
            continue
    return found


def _directories(path: str) -> list[str]:
    try:
        with os.scandir(path) as entries:
            return [each.path for each in entries if each.is_dir(follow_symlinks=False)]
    except OSError:
        return []


def _picture(report: Survey, passed_ns: int, below: Iterable[str]) -> RenderableType:
    """Return what stands on the terminal in this second."""
    parts: list[RenderableType] = []
    for line in report.lines:
        session, left = line
        name = printable(describe(session.target, session.username))
        parts += [
            Text(name[:_LONGEST_NAME], overflow="fold"),
            _bars(
                ("idle", left.ns - passed_ns, session.idle_seconds),
                ("cap", left.cap_ns - passed_ns, session.cap_seconds),
            ),
            Text(),
        ]
    if report.error is not None:
        parts.append(Text(printable(f"keylease: error: {report.error}")))
    parts += [Text(printable(each), overflow="fold") for each in below]
    return Group(*parts)


def _bars(*rows: tuple[str, int, int]) -> Table:
    """Return one bar a row, of what is left of a number of seconds, and the same in words."""
    table = Table.grid(padding=(0, 1), expand=True)
    table.add_column(width=6, justify="right")
    table.add_column(ratio=1)
    table.add_column(no_wrap=True)
    for word, left_ns, seconds in rows:
        left = max(0, left_ns // NANOSECONDS)
        style = next(style for share, style in _STYLES if left <= share * seconds or share >= 1)
        bar = ProgressBar(total=seconds, completed=left, complete_style=style, finished_style=style)
        table.add_row(word, bar, f"{duration(left)} of {duration(seconds)}")
    return table
