"""Shared parts of the commands that read the whole log: the time range and unreadable lines."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final, NamedTuple

import click

from keylease.audit.line import format_time
from keylease.audit.read.feed import Lines, Position, Records
from keylease.audit.read.times import parse_time
from keylease.cli.base import warn
from keylease.wiring import audit_directory

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

_SINCE: Final = click.option(
    "--since", metavar="TIME", help="Not before: 2d, 1h30m, yesterday, a date or time."
)
_UNTIL: Final = click.option("--until", metavar="TIME", help="Before this.")


class Range(NamedTuple):
    """A range of time, in nanoseconds since the epoch."""

    since_ns: int | None
    until_ns: int | None

    @property
    def texts(self) -> tuple[str | None, str | None]:
        """Both ends in the log's format of times."""
        since, until = (None if each is None else format_time(each) for each in self)
        return since, until


def range_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add `--since` and `--until`."""
    return _SINCE(_UNTIL(command))


def read_range(since: str | None, until: str | None) -> Range:
    """Return the range that the options name.

    Raises:
        UsageError: an option is not a time.
    """
    now_ns = time.time_ns()
    return Range(*(None if each is None else parse_time(each, now_ns) for each in (since, until)))


def lines(asked: Range, after: Position | None = None) -> Lines:
    """Return the lines of the user's own audit log in the range."""
    return Lines(audit_directory(), after, *asked)


def records(asked: Range) -> Records:
    """Return the same as records."""
    return Records(lines(asked).there())


def tell_unreadable(found: Records) -> None:
    """Warn if lines were left out because keylease did not write them."""
    if found.unreadable:
        warn(
            f"left out {found.unreadable} lines that keylease did not write",
            "see: keylease audit verify",
        )
