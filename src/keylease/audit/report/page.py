"""The report as one HTML page without scripts or network access.

A `Report` in, text out. The most important facts come first: whether the log verifies, then the
refusals. Colour is never the only sign, each caption says what its table leaves out, and all times
are in UTC. The text of the page is in `templates`.
"""

from __future__ import annotations

import base64
import hashlib
from typing import TYPE_CHECKING, Final, NamedTuple

from keylease.audit.read.stats import most_first, sorted_days
from keylease.audit.report import timeline
from keylease.audit.report.report import ROUTINE
from keylease.audit.report.template import ENVIRONMENT

if TYPE_CHECKING:
    from keylease.audit.report.report import Period, Report, Verification

_DOUBTS: Final = frozenset({"tail-ahead", "pin-missing", "key-missing"})
"""Verdicts without evidence of a change: only something needed for the check is missing."""
_MOST_DAYS: Final = 400
_CSS: Final = ENVIRONMENT.get_template("style.css").render()
_DIGEST: Final = base64.b64encode(hashlib.sha256(_CSS.encode("ascii")).digest()).decode("ascii")
# CSP Level 3: nothing is loaded, no script runs, and only the style sheet with this digest applies.
# So markup that a name might inject would have no effect.
POLICY: Final = (
    f"default-src 'none'; style-src 'sha256-{_DIGEST}'; base-uri 'none'; form-action 'none'"
)


class Origin(NamedTuple):
    """Where a page comes from."""

    directory: str
    """The audit directory."""
    made: str
    """The time of the report, RFC 3339 UTC."""
    version: str
    """The version of keylease."""


def render(report: Report, verification: Verification, period: Period, origin: Origin) -> str:
    """Return the page."""
    verdict = verification.verdict
    days = list(sorted_days(report.stats.days))
    beyond = sum(count.lines for _, count in days[:-_MOST_DAYS]) + report.stats.days.others.lines
    created = report.stats.events.values.get("session.created")
    return ENVIRONMENT.get_template("page.html").render(
        report=report,
        verification=verification,
        kind="good" if verdict == "ok" else "doubt" if verdict in _DOUBTS else "bad",
        period=period,
        origin=origin,
        policy=POLICY,
        routine=ROUTINE,
        timeline=timeline,
        days=list(timeline.by_day(report.sessions)),
        by_day=[(day, c.released, c.refused, c.lines) for day, c in days[-_MOST_DAYS:]],
        days_left=beyond,
        started=created.lines if created else 0,
        ends=most_first(report.stats.ends),
        events=most_first(report.stats.events),
    )
