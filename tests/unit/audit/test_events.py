"""The fixed lists: what is not in them is a mistake in the program, never a line."""

import pytest

from keylease.audit.events import EVENTS, OUTCOMES, REASONS, Entry


@pytest.mark.parametrize("event", sorted(EVENTS))
def test_every_event_can_be_written(event):
    """An event of the list is an event."""
    Entry(event).check()


@pytest.mark.parametrize("outcome", sorted(OUTCOMES))
@pytest.mark.parametrize("reason", [None, *sorted(REASONS)])
def test_every_outcome_and_reason_can_be_written(outcome, reason):
    """So is an outcome, and a reason."""
    Entry("session.refused", outcome, reason).check()


@pytest.mark.parametrize(
    "wrong",
    [
        Entry("session.stolen"),
        Entry(""),
        Entry(None),
        Entry("SESSION.CREATED"),
        Entry("session.created\n"),
        Entry("login", "failed"),
        Entry("login", None),
        Entry("login", "refused", "because"),
        Entry("login", "refused", ""),
    ],
)
def test_anything_else_is_refused(wrong):
    """Nobody has to wonder what a word in the log may mean."""
    with pytest.raises(ValueError, match="not in the audit log's lists"):
        wrong.check()
