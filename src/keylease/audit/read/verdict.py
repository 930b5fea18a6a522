"""What can be said of the log as a whole, and the exit code for it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

Result = Literal["ok", "tail-ahead", "pin-missing", "key-missing", "truncated", "gap", "edited"]
"""What the log is found to be. docs/audit.md says what each one means."""

EXIT_CODES: Final[Mapping[Result, int]] = {
    "ok": 0,
    "tail-ahead": 20,
    "pin-missing": 21,
    "key-missing": 22,
    "truncated": 23,
    "gap": 24,
    "edited": 25,
}
"""The exit code of each. Of several the highest counts: the worst wins."""

MOST_FINDINGS: Final = 20
"""How many findings are told one by one. All are counted."""


class Observation(NamedTuple):
    """One thing that keeps the log from being ok, and where."""

    result: Result
    message: str
    file: str | None = None
    """The file in the audit directory."""
    number: int | None = None
    """The line in that file, from 1."""
    seq: int | None = None
    """The number that the line says it has."""


class Verdict(NamedTuple):
    """What the log is found to be, and why."""

    result: Result
    findings: tuple[Observation, ...]
    """At most `MOST_FINDINGS`: first what single lines show, in the order of the chain."""
    total: int
    """How many findings there are."""
    lines: int
    days: int
    first: int | None
    """The number of the first line that was looked at."""
    last: int | None
    without_mac: int
    """Lines without a MAC of their own. A later line vouches for each, or the log is not ok."""
    torn: int
    """Files that end with the beginning of a line, as a crash leaves it."""
    told: Mapping[str, int]
    """How many lines tell of lines that are not there, by their event."""
    since: str | None
    """The day before which nothing was looked at."""

    @property
    def exit_code(self) -> int:
        """What `keylease audit verify` exits with."""
        return EXIT_CODES[self.result]

    @property
    def bad(self) -> Observation | None:
        """The first line that is not as it should be, if one can be named."""
        found = [each for each in self.findings if each.number is not None]
        worst = next((each for each in found if each.result == self.result), None)
        # A line that was moved leaves a hole first. In another file a hole may only follow from it.
        return next((each for each in found if worst is None or each.file == worst.file), None)
