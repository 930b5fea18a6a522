"""Count what the log tells: how much happened, on which day, for which target.

Records in, numbers out: no files, no clock. Memory does not grow with the log: names come from
peers, so there can be any number of them, and beyond a bound they are counted together.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Generic, TypeVar

from keylease.model import Target

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Iterator

    from keylease.audit.line import Record

MOST_NAMES: Final = 5_000
"""How many different names of a kind are told apart. What comes later is counted as others."""

RELEASED: Final = "session.released"

KeyT = TypeVar("KeyT", bound="Hashable")
ValueT = TypeVar("ValueT")


class Count:
    """How many lines there are of something, and how many of them tell what matters most."""

    __slots__ = ("lines", "refused", "released")

    def __init__(self, lines: int = 0, released: int = 0, refused: int = 0) -> None:
        self.lines = lines
        self.released = released
        self.refused = refused

    def add(self, record: Record) -> None:
        """Count one line."""
        self.lines += 1
        self.released += record.event == RELEASED
        self.refused += record.outcome == "refused"

    def to_json(self) -> dict[str, int]:
        """Return the numbers by their names."""
        return {"lines": self.lines, "released": self.released, "refused": self.refused}


class Tally(Generic[KeyT, ValueT]):
    """One value for each of the first keys, and one for all others together.

    Args:
        make: Makes a value for a new key.
        most: How many keys are told apart.
    """

    def __init__(self, make: Callable[[], ValueT], most: int = MOST_NAMES) -> None:
        self._make = make
        self._most = most
        self.values: dict[KeyT, ValueT] = {}
        self.others = make()

    def __getitem__(self, key: KeyT) -> ValueT:
        """Return the value that counts the key."""
        found = self.values.get(key)
        if found is None:
            if len(self.values) >= self._most:
                return self.others
            found = self.values[key] = self._make()
        return found


class Stats:
    """What was counted. `add` each line, then read."""

    def __init__(self) -> None:
        self.all = Count()
        self.first: str | None = None
        """When the earliest line was written, RFC 3339 UTC."""
        self.last: str | None = None
        self.days: Tally[str, Count] = Tally(Count)
        self.targets: Tally[str, Count] = Tally(Count)
        """By the target's name. A line that is about no target is in none."""
        self.events: Tally[str, Count] = Tally(Count)
        self.refusals: Tally[str, Count] = Tally(Count)
        """By the reason."""
        self.ends: Tally[str, Count] = Tally(Count)
        """By the reason."""

    def add(self, record: Record) -> None:
        """Count one line."""
        time = record.time
        # The same form and length everywhere, so text compares as the times do. A clock that was
        # set back leaves an earlier time behind a later one.
        if self.first is None or time < self.first:
            self.first = time
        if self.last is None or time > self.last:
            self.last = time
        self.all.add(record)
        self.days[time[:10]].add(record)
        self.events[record.event].add(record)
        target = name_of(record)
        if target is not None:
            self.targets[target].add(record)
        reason = record.reason or "none"
        if record.outcome == "refused":
            self.refusals[reason].add(record)
        if record.event == "session.ended":
            self.ends[reason].add(record)

    def to_json(self) -> dict[str, object]:
        """Return everything as `keylease audit stats --json` prints it."""
        return {
            "first": self.first,
            "last": self.last,
            "total": self.all.to_json(),
            "days": [{"day": key, **count.to_json()} for key, count in sorted_days(self.days)],
            "targets": [
                {"target": key, **count.to_json()} for key, count in most_first(self.targets)
            ],
            "other_targets": self.targets.others.to_json(),
            "events": [{"event": key, **count.to_json()} for key, count in most_first(self.events)],
            "refusals": {key: count.lines for key, count in most_first(self.refusals)},
            "ends": {key: count.lines for key, count in most_first(self.ends)},
        }


def count(records: Iterable[Record]) -> Stats:
    """Count every record."""
    stats = Stats()
    for record in records:
        stats.add(record)
    return stats


def name_of(record: Record) -> str | None:
    """Return the target as people write it, with its family of tools if that is not the web's."""
    if record.target is None:
        return None
    target = Target(**record.target)
    # NOTE: a line that somebody edited has the fields of a target, and anything in them.
    return target.url if target.namespace == "web" else f"{target.namespace} {target.url}"


def most_first(tally: Tally[str, Count]) -> list[tuple[str, Count]]:
    """Return names and numbers, the greatest number first, and names in order where it is equal."""
    return sorted(tally.values.items(), key=lambda each: (-each[1].lines, each[0]))


def sorted_days(tally: Tally[str, Count]) -> Iterator[tuple[str, Count]]:
    """Yield days and numbers in the order of the calendar."""
    yield from sorted(tally.values.items())
