"""Find lines: by time, event, target, user, session, outcome and reason.

Only the days of the range are read, a block at a time, and only a line that passes the checks on
its bytes is parsed. The links of all lines are checked, because a search must not show a forged
line without a warning.
"""

from __future__ import annotations

import json
import re
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Final, NamedTuple

from keylease.audit.line import LineError, Record, format_time, parse
from keylease.audit.read import reader
from keylease.audit.read.links import Links, Ties, by_id
from keylease.model import Target

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from keylease.audit.read.reader import Line
    from keylease.secrets.secret import Secret

_MICROSECOND: Final = 1000
_SEPARATORS: Final = re.compile(r"[:/*? ]")


class Filter(NamedTuple):
    """What a line must match. A field that is not given matches every line."""

    since_ns: int | None = None
    until_ns: int | None = None
    """The end of the range, exclusive."""
    events: tuple[str, ...] = ()
    target: str | None = None
    """A host or a URL; `*` matches anything. A URL without a path matches every path. The family
    of tools and a blank may precede the URL, as in the output of `stats`."""
    username: str | None = None
    session: str | None = None
    """The id, or its beginning."""
    outcome: str | None = None
    reason: str | None = None

    def matches(self, record: Record) -> bool:
        """Return whether a record matches, apart from its time."""
        return (
            (not self.events or record.event in self.events)
            and self.username in {None, record.username}
            and self.outcome in {None, record.outcome}
            and self.reason in {None, record.reason}
            and (self.session is None or (record.session or "").startswith(self.session))
            and (self.target is None or _is_for(record, self.target))
        )


class Trust(NamedTuple):
    """The result of the checks on all lines that were read, matching or not."""

    lines: int
    misfit: str | None
    """The first error, if there is one: lines were forged, changed or removed."""
    unvouched: str | None
    """Why an available key does not verify all the lines, if so."""


class Match(NamedTuple):
    """A line that matches."""

    record: Record
    line: Line


class Search:
    """One search. Single-use iterator; call `trust()` afterwards for the result of the checks.

    Args:
        directory: The audit directory.
        wanted: What the lines must match.
        keys: The available audit keys.
        reverse: Newest first.
        limit: Maximum number of matches.
    """

    def __init__(
        self,
        directory: str,
        wanted: Filter,
        keys: Iterable[Secret] = (),
        *,
        reverse: bool = False,
        limit: int | None = None,
    ) -> None:
        self._wanted = wanted
        self._limit = limit
        self._links = Links(by_id(keys))
        self._lines = 0
        self._directory = directory
        self._finished: set[str] = set()
        """The files that were read to their end."""
        self._since = None if wanted.since_ns is None else _rounded(wanted.since_ns)
        self._until = None if wanted.until_ns is None else _rounded(wanted.until_ns)
        self._needles = _needles(wanted)
        self._read = reader.lines(
            directory, since_ns=wanted.since_ns, until_ns=wanted.until_ns, reverse=reverse
        )

    def __iter__(self) -> Iterator[Record]:
        """Yield the matching records.

        Raises:
            StateError: a file cannot be read.
        """
        return (found.record for found in self.lines())

    def lines(self) -> Iterator[Match]:
        """Yield the matches, each with its line in the log.

        Raises:
            StateError: a file cannot be read.
        """
        left = self._limit
        file = ""
        for line in self._read if left != 0 else ():
            if line.file != file:
                self._finished.add(file)
                file = line.file
            self._lines += 1
            ties = self._links.add(line)
            found = None if ties is None or not self._passes(ties, line) else self._parsed(line)
            if found is not None:
                yield found
                left = None if left is None else left - 1
                if left == 0:
                    return
        self._finished.add(file)

    def trust(self) -> Trust:
        """Return the result of the checks on the lines that were read so far."""
        return Trust(self._lines, self._links.close(self._is_elsewhere), self._links.unvouched)

    def _is_elsewhere(self, seq: int) -> bool:
        """Return whether a file that was not read to its end has lines around that number.

        A wall clock that was set back has left its lines in the file of another day.
        """
        for name, size in reader.sizes(self._directory).items():
            if name not in self._finished:
                first, last = reader.span(self._directory, name, size)
                if first <= seq <= last:
                    return True
        return False

    def _passes(self, ties: Ties, line: Line) -> bool:
        return (
            (self._since is None or ties.time >= self._since)
            and (self._until is None or ties.time < self._until)
            and (not self._wanted.events or ties.event in self._wanted.events)
            and all(needle in line.data for needle in self._needles)
        )

    def _parsed(self, line: Line) -> Match | None:
        try:
            record = parse(line.data)
        except LineError:
            self._links.complain(f"keylease did not write a line of audit/{line.file}")
            return None
        return Match(record, line) if self._wanted.matches(record) else None


def last(directory: str, count: int) -> tuple[list[Match], dict[str, int]]:
    """Return the last lines, oldest first, and the position after them in each day file.

    Raises:
        StateError: a file cannot be read.
    """
    places = reader.sizes(directory)
    found: list[Match] = []
    for name, size in sorted(places.items(), reverse=True):
        for line in reader.backward(directory, name, size):
            if not line.whole:
                # The line may be half-written; follow it from its start.
                places[name] = line.start
                continue
            if len(found) == count:
                break
            try:
                found.append(Match(parse(line.data), line))
            except LineError:
                continue
        if len(found) == count:
            break
    # After a clock was set back, the newest line is not in the newest file, so sort by number.
    return sorted(found, key=lambda each: each.record.seq), places


def _rounded(wall_ns: int) -> str:
    # The log has microseconds, so round up to the next one.
    return format_time(-(-wall_ns // _MICROSECOND) * _MICROSECOND)


def _needles(wanted: Filter) -> tuple[bytes, ...]:
    """Return bytes that every matching line contains, so that most others need no parsing."""
    exact = {"outcome": wanted.outcome, "reason": wanted.reason, "username": wanted.username}
    needles = [
        f'"{name}":{json.dumps(value)}' for name, value in exact.items() if value is not None
    ]
    if wanted.session:
        needles.append(f'"session":{json.dumps(wanted.session)[:-1]}')
    if wanted.target is not None:
        needles.append(json.dumps(_literal(wanted.target))[1:-1])
    return tuple(each.replace("\x7f", "\\u007f").encode("ascii") for each in needles)


def _literal(pattern: str) -> str:
    """Return the longest part of a pattern that occurs literally in one field of a line.

    A URL consists of several fields, split at colons and slashes. A blank may follow the family of
    tools. Brackets are a choice of characters.
    """
    return max(_SEPARATORS.split(pattern), key=len) if "[" not in pattern else ""


def _is_for(record: Record, pattern: str) -> bool:
    if record.target is None:
        return False
    target = Target(**record.target)
    if "://" in pattern or " " in pattern:
        names = (target.url, f"{target.namespace} {target.url}")
        below = pattern.rstrip("/") + "/"
        return any(fnmatchcase(name, pattern) or name.startswith(below) for name in names)
    host, _, port = target.host.rpartition(":")
    return fnmatchcase(target.host, pattern) or (port.isdigit() and fnmatchcase(host, pattern))
