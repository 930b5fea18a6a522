"""Count the lines of the log by day, target, event and reason.

Records in, numbers out: no files, no clock. Memory is bounded: names come from peers, so there can
be any number of them, and beyond a limit they are counted together.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Generic, TypeVar

from keylease.model import Target

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Iterator

    from keylease.audit.line import Record

MOST_NAMES: Final = 5_000
"""Maximum number of names of a kind that are counted separately. The rest count as others."""

RELEASED: Final = "session.released"

KeyT = TypeVar("KeyT", bound="Hashable")
ValueT = TypeVar("ValueT")


class Count:
    """The number of lines, and how many of them are releases and refusals."""

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
        most: Maximum number of separate keys.
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
    """The counts. Call `add` for each line, then read them."""

    def __init__(self) -> None:
        self.all = Count()
        self.first: str | None = None
        """The earliest time of a line, RFC 3339 UTC."""
        self.last: str | None = None
        self.days: Tally[str, Count] = Tally(Count)
        self.targets: Tally[str, Count] = Tally(Count)
        """By the target's name. Lines without a target are not counted here."""
        self.events: Tally[str, Count] = Tally(Count)
        self.refusals: Tally[str, Count] = Tally(Count)
        """By the reason."""
        self.ends: Tally[str, Count] = Tally(Count)
        """By the reason."""

    def add(self, record: Record) -> None:
        """Count one line."""
        time = record.time
        # All times have the same form and length, so compare them as text. After a clock was set
        # back, an earlier time follows a later one.
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
    """Return the target's URL, with its namespace in front unless that is `web`."""
    if record.target is None:
        return None
    target = Target(**record.target)
    # NOTE: in an edited line the fields of a target can have any value.
    return target.url if target.namespace == "web" else f"{target.namespace} {target.url}"


def most_first(tally: Tally[str, Count]) -> list[tuple[str, Count]]:
    """Return names and numbers, the greatest number first, equal numbers by name."""
    return sorted(tally.values.items(), key=lambda each: (-each[1].lines, each[0]))


def sorted_days(tally: Tally[str, Count]) -> Iterator[tuple[str, Count]]:
    """Yield days and numbers in the order of the calendar."""
    yield from sorted(tally.values.items())
