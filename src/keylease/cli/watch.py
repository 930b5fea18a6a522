"""`keylease status --watch`: show the live sessions as bars that count down.

The countdown reads the clock each second and subtracts. Sessions are read again only when a file of
the state changes or a session reaches its end, and every `LOOK_SECONDS`, because deleting a key in
the keychain changes no file. Reading does not count as a use, so watching keeps no session alive.

The terminal keeps its mode, screen and cursor, so nothing needs restoring when the program ends.
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
"""Maximum interval between two reads of the sessions."""
_TICK_SECONDS: Final = 1.0
# Share that is left, and the colour for it. The length of the bar shows the same.
_STYLES: Final = ((0.1, "red"), (0.25, "yellow"), (1.0, "green"))
_LONGEST_NAME: Final = 1024


def open_terminal(ctx: click.Context) -> Console:
    """Return stdout as a terminal.

    Raises:
        UsageError: it is not a terminal, or one that cannot overwrite lines.
    """
    console = Console(file=sys.stdout, highlight=False, markup=False, emoji=False)
    if sys.stdout is None or not sys.stdout.isatty() or console.is_dumb_terminal:
        msg = "--watch needs a terminal that can overwrite lines, and stdout is not one"
        raise UsageError(msg, f"leave out --watch, or use --json; {see_help(ctx)}")
    return console


def watch(  # noqa: PLR0913 - tests replace the clock and the pause
    console: Console,
    look: Callable[[], Survey],
    below: Callable[[Survey], Iterable[str]],
    *,
    one: bool,
    clock: Clock | None = None,
    pause: Callable[[], None] = lambda: time.sleep(_TICK_SECONDS),
) -> NoReturn:
    """Show the sessions until Ctrl-C, or until the one watched session has ended.

    Args:
        console: The terminal.
        look: Reads the sessions.
        below: Returns the lines below them.
        one: Whether to end with the first error, because only one session is watched.
        clock: Tells the time.
        pause: Waits for the next step of the countdown.

    Raises:
        SessionNotFoundError: the one session has ended.
        KeyleaseError: the state cannot be read, or the terminal is closed.
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
        msg = f"cannot write to the terminal: {error.strerror}"
        raise OutputError(msg, "open a terminal, then try again") from error
    raise AssertionError  # pragma: no cover - `_reports` never ends


def _reports(
    look: Callable[[], Survey], clock: Clock, pause: Callable[[], None]
) -> Iterator[tuple[Survey, int]]:
    """Yield, second by second, the newest report and the nanoseconds since it was made."""
    while True:
        # Stat the files first, so a change during the read is noticed in the next round.
        stamp, since = _stamp(state_directory()), clock.now()
        report, passed_ns = look(), 0
        while True:
            yield report, passed_ns
            pause()
            passed_ns = _passed(since, clock.now())
            if _is_due(report, passed_ns) or stamp != _stamp(state_directory()):
                break


def _passed(since: Moment, now: Moment) -> int:
    """Return the nanoseconds that have passed on the clock that is ahead, as the rules do."""
    return max(now.boot_ns - since.boot_ns, now.wall_ns - since.wall_ns)


def _is_due(report: Survey, passed_ns: int) -> bool:
    ended = any(line.left.ns <= passed_ns for line in report.lines)
    return ended or passed_ns >= LOOK_SECONDS * NANOSECONDS


def _stamp(state: str) -> dict[str, int]:
    """Return the modification time of each file of the vault and the sessions."""
    sessions = os.path.join(state, "sessions")
    found: dict[str, int] = {}
    for directory in (state, sessions, *_directories(sessions)):
        try:
            with os.scandir(directory) as entries:
                # Reading the sessions touches the locks, and the audit log is not shown.
                found |= {
                    each.path: each.stat(follow_symlinks=False).st_mtime_ns
                    for each in entries
                    if each.name.endswith((".json", ".sealed", ".touch"))
                }
        except OSError:
            # The directory does not exist or cannot be read. Reading the sessions reports it.
            continue
    return found


def _directories(path: str) -> list[str]:
    try:
        with os.scandir(path) as entries:
            return [each.path for each in entries if each.is_dir(follow_symlinks=False)]
    except OSError:
        return []


def _picture(report: Survey, passed_ns: int, below: Iterable[str]) -> RenderableType:
    """Return what the terminal shows in this second."""
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
    """Return one row for each limit: a bar of the time left, and the same in words."""
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
