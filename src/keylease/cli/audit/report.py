"""`keylease audit report`: write the audit log as one HTML page."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

import click

from keylease import __version__
from keylease.audit.line import format_time
from keylease.audit.report.page import Origin, render
from keylease.audit.report.report import Period, Verification, compile_report
from keylease.cli.audit.reading import range_options, read_range, records, tell_unreadable
from keylease.cli.base import Command, Program, say
from keylease.cli.keychain import has_state
from keylease.cli.newfile import write_new
from keylease.errors import StateMissingError
from keylease.wiring import audit_directory

if TYPE_CHECKING:
    from keylease.audit.read.verdict import Observation, Result, Verdict

_MEANINGS: Final[dict[Result, str]] = {
    "ok": "Every line follows the one before it, all are verified with the audit key, and the "
    "records of the end agree on the last line.",
    "tail-ahead": "All lines verify, and the log is one line longer than the records of its end "
    "say. A crash between the two writes causes this.",
    "pin-missing": "All lines verify, but nothing outside the log confirms its end: if lines were "
    "removed from the end, this check would not notice it.",
    "key-missing": "No error was found, but not everything could be checked: an audit key is not "
    "available, or lines at the end were written without one.",
    "truncated": "Lines were removed from the end of the log. This page is not complete.",
    "gap": "Lines are missing from the middle of the log. This page is not complete.",
    "edited": "The log was changed without the audit key. Do not rely on this page.",
}
_MOST_FINDINGS: Final = 5


@click.command(cls=Command)
@click.option("--html", "path", metavar="FILE", required=True, help="Where to write the page.")
@range_options
@click.option("--force", is_flag=True, help="Replace FILE if it exists.")
@click.pass_obj
def report(program: Program, path: str, since: str | None, until: str | None, force: bool) -> None:
    """Write the audit log as one page of HTML, to read, print or share.

    The page shows first whether the log verifies, then the refusals, every session with its end,
    the releases by target and hour, and the programs that asked. It is one file without scripts or
    network access. Only you can read the file. It has the names of hosts, users and programs, and
    no secret.

    The whole log is verified, also with --since and --until. Errors are shown on the page and here.
    The exit code is 0 once the page is written.
    """
    if not has_state():
        msg = "there is no audit log yet"
        raise StateMissingError(msg, "the first login begins it")
    asked = read_range(since, until)
    verdict = program.wiring().audit_service.verify()
    found = records(asked)
    made = compile_report(found)
    origin = Origin(audit_directory(), format_time(time.time_ns()), __version__)
    text = render(made, explain(verdict), Period(*asked.texts), origin)
    write_new(path, [text.encode("utf-8")], force=force)
    say(f"wrote {path}: {made.stats.all.lines} lines, verification {verdict.result}")
    tell_unreadable(found)


def explain(verdict: Verdict) -> Verification:
    """Return the verdict in words, for the top of the page."""
    details = [("lines", f"{verdict.lines:,}"), ("days", f"{verdict.days:,}")]
    if verdict.bad is not None:
        details.append(("first bad line", _place(verdict.bad)))
    details += [(each.result, each.message) for each in verdict.findings[:_MOST_FINDINGS]]
    if verdict.total > _MOST_FINDINGS:
        details.append(("more findings", f"{verdict.total - _MOST_FINDINGS:,}"))
    if verdict.without_mac:
        details.append(("without a MAC of their own", f"{verdict.without_mac:,}"))
    details += [(event, f"{count:,}") for event, count in verdict.told.items() if count]
    return Verification(verdict.result, _MEANINGS[verdict.result], tuple(details))


def _place(finding: Observation) -> str:
    seq = "" if finding.seq is None else f", seq {finding.seq}"
    return f"{finding.file}, line {finding.number}{seq}"
