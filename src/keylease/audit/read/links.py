"""Check the links between lines: number, digest and MAC, without parsing the rest.

For commands that read a part of the log. Every link between two lines that were read is checked,
and the MAC of the last line of each run, which covers all lines before it. If a check fails,
`verify` says more.
"""

from __future__ import annotations

import hmac
import re
from itertools import pairwise
from typing import TYPE_CHECKING, Final, NamedTuple

from keylease.audit.line import BEGINNING, END, LONGEST_LINE, digest, key_id, mac_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from keylease.audit.read.reader import Line
    from keylease.secrets.secret import Secret

_TIES: Final = re.compile(f'{BEGINNING}"boottime_ns":[0-9]+,"event":"([a-z.]+)",.*{END}')
_MOST_RUNS: Final = 10_000


class Ties(NamedTuple):
    """The fields that link one line to the others."""

    seq: int
    time: str
    event: str
    key: str | None
    prev: str
    mac: str | None


def ties(line: bytes) -> Ties | None:
    """Return the fields that link a line to the others, or `None` if it is not a line."""
    try:
        text = line.decode("ascii")
    except UnicodeDecodeError:
        return None
    found = _TIES.fullmatch(text)
    if found is None:
        return None
    seq, time, event, key, prev, mac = found.groups()
    return Ties(int(seq), time, event, key, prev, mac)


def by_id(keys: Iterable[Secret]) -> dict[str, Secret]:
    """Return the audit keys by their ids."""
    return {key_id(key): key for key in keys}


def fits(found: Ties, line: bytes, key: Secret) -> bool:
    """Return whether the line has the right MAC."""
    return found.mac is not None and hmac.compare_digest(found.mac, mac_of(key, line))


class _Run:
    """Lines that follow one another without a gap."""

    __slots__ = ("by", "digest", "first", "last", "prev", "vouched")

    def __init__(self, found: Ties, line: bytes) -> None:
        self.first = self.last = found.seq
        self.prev = found.prev
        self.digest = digest(line)
        self.vouched = 0
        """The last line that has a MAC; 0 if there is none yet."""
        self.by: tuple[Ties, bytes] | None = None
        self.note(found, line)

    def note(self, found: Ties, line: bytes) -> None:
        if found.mac is not None and found.seq > self.vouched:
            self.vouched, self.by = found.seq, (found, line)


class Links:
    """Check that lines fit together, in either reading direction.

    Args:
        keys: The available audit keys by their ids.
    """

    def __init__(self, keys: Mapping[str, Secret]) -> None:
        self._keys = keys
        self._runs: list[_Run] = []
        self.misfit: str | None = None
        """The first error, if there is one."""

    def add(self, line: Line) -> Ties | None:
        """Check one line, and return its linking fields; `None` if it is not a line."""
        found = ties(line.data)
        if found is None:
            if line.whole or len(line.data) > LONGEST_LINE:
                self.complain(f"keylease did not write a line of audit/{line.file}")
            return None
        if found.time[:10] != line.file[:10]:
            self.complain(f"line {found.seq} is not in the file of its day")
        run = self._runs[-1] if self._runs else None
        if run is not None and found.seq == run.last + 1:
            self._check(found.prev == run.digest, found.seq)
            run.last, run.digest = found.seq, digest(line.data)
            run.note(found, line.data)
        elif run is not None and found.seq == run.first - 1:
            self._check(run.prev == digest(line.data), run.first)
            run.first, run.prev = found.seq, found.prev
            run.note(found, line.data)
        elif len(self._runs) < _MOST_RUNS:
            self._runs.append(_Run(found, line.data))
        else:
            self.complain(f"too many lines do not follow one another, such as line {found.seq}")
        return found

    def close(self, is_elsewhere: Callable[[int], bool] = lambda _: False) -> str | None:
        """Return the first error in the lines that were read, or `None`.

        Args:
            is_elsewhere: Returns whether a file that was not read has a line of that number.
        """
        runs = sorted(self._runs, key=lambda run: run.first)
        for before, run in pairwise(runs):
            if run.first == before.last + 1:
                self._check(run.prev == before.digest, run.first)
            elif run.first <= before.last:
                self.complain(f"there is more than one line {run.first}")
            elif not is_elsewhere(before.last + 1):
                self.complain(f"lines {before.last + 1} to {run.first - 1} were not found there")
        for run in runs:
            if run.by is not None and (key := self._keys.get(run.by[0].key or "")) is not None:
                fine = fits(run.by[0], run.by[1], key)
                if not fine:
                    self.complain(f"line {run.vouched} does not have the MAC of the audit key")
        return self.misfit

    @property
    def unvouched(self) -> str | None:
        """Why an available key does not verify all the lines, or `None`."""
        for run in self._runs:
            if run.by is None:
                return f"line {run.last} and those before it were written without the audit key"
            if (run.by[0].key or "") not in self._keys:
                return f"line {run.vouched} has its MAC from an audit key that is not at hand"
            if run.vouched < run.last:
                return f"line {run.last} was written without the audit key"
        return None

    def _check(self, holds: bool, seq: int) -> None:  # noqa: FBT001 - reads as a sentence
        if not holds:
            self.complain(f"line {seq} does not follow the one before it")

    def complain(self, what: str) -> None:
        """Record an error; the first one is kept."""
        self.misfit = self.misfit or what
