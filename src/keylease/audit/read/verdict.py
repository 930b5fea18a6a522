"""The verdict on the log, and its exit code."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

Result = Literal["ok", "tail-ahead", "pin-missing", "key-missing", "truncated", "gap", "edited"]
"""The possible verdicts. docs/audit.md explains each."""

EXIT_CODES: Final[Mapping[Result, int]] = {
    "ok": 0,
    "tail-ahead": 20,
    "pin-missing": 21,
    "key-missing": 22,
    "truncated": 23,
    "gap": 24,
    "edited": 25,
}
"""The exit code of each. If several apply, the highest counts: the worst wins."""

MOST_FINDINGS: Final = 20
"""Maximum number of findings that are listed. All are counted."""


class Observation(NamedTuple):
    """One error in the log, and its place."""

    result: Result
    message: str
    file: str | None = None
    """The file in the audit directory."""
    number: int | None = None
    """The line in that file, from 1."""
    seq: int | None = None
    """The number in the line, not verified."""


class Verdict(NamedTuple):
    """The result of verifying the log, with the reasons."""

    result: Result
    findings: tuple[Observation, ...]
    """At most `MOST_FINDINGS`: first those of single lines, in the order of the chain."""
    total: int
    """Number of all findings."""
    lines: int
    days: int
    first: int | None
    """The number of the first line that was checked."""
    last: int | None
    without_mac: int
    """Lines without their own MAC. The MAC of a later line must cover each, or it is not ok."""
    torn: int
    """Files that end with a half-written line, as after a crash."""
    told: Mapping[str, int]
    """Number of lines that report missing lines, by their event."""
    since: str | None
    """Days before this one were skipped."""

    @property
    def exit_code(self) -> int:
        """The exit code of `keylease audit verify`."""
        return EXIT_CODES[self.result]

    @property
    def bad(self) -> Observation | None:
        """The first bad line, if it is known."""
        found = [each for each in self.findings if each.number is not None]
        worst = next((each for each in found if each.result == self.result), None)
        # A moved line first leaves a gap in its file. A gap in another file may only be a result.
        return next((each for each in found if worst is None or each.file == worst.file), None)
