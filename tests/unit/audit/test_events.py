"""Only events, outcomes and reasons of the fixed lists can become lines."""

import pytest
from support.rig import EXAMPLE

from keylease.audit.events import ENDS, EVENTS, FIELDS, OUTCOMES, REASONS, Entry

EXTRA = {
    "lost": 3,
    "configuration": "0123456789abcdef",
    "files": ["/etc/keylease/policy.toml"],
    "removed": {"files": ["2026-01-01.jsonl"], "through": 7, "digest": "ab" * 32},
}


def extra_of(event):
    """Return the fields that an event may have."""
    return {name: EXTRA[name] for name in FIELDS[event].extra}


@pytest.mark.parametrize("event", sorted(EVENTS))
def test_every_event_can_be_written(event):
    """Every listed event can be written with each of its outcomes and reasons."""
    for outcome, reasons in FIELDS[event].outcomes.items():
        assert outcome in OUTCOMES
        assert reasons - {None} <= REASONS
        for reason in reasons:
            Entry(event, outcome, reason, extra=extra_of(event)).check()


def test_every_event_outcome_and_reason_has_its_place():
    """Every listed word can occur in a line."""
    assert EVENTS == FIELDS.keys()
    assert OUTCOMES == {outcome for shape in FIELDS.values() for outcome in shape.outcomes}
    assert REASONS | {None} == {
        reason
        for shape in FIELDS.values()
        for reasons in shape.outcomes.values()
        for reason in reasons
    }


@pytest.mark.parametrize("reason", sorted(ENDS))
def test_a_session_ends_for_any_reason_of_the_list(reason):
    """Every reason for an end can be recorded with the session's names."""
    Entry("session.ended", "ok", reason, "ab" * 16, EXAMPLE, "alice").check()


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
        Entry("login", "ok", "idle"),
        Entry("session.released", "refused", "not_found"),
        Entry("session.refused", "refused"),
        Entry("session.refused", "ok", "not_found"),
        Entry("session.ended"),
        Entry("session.ended", "ok", "not_found"),
        Entry("vault.created", username="alice"),
        Entry("key.rotated", session="ab" * 16),
        Entry("vault.revoked", target=EXAMPLE),
        Entry("login", extra={"lost": 1}),
        Entry("login", extra={"password": "x"}),
        Entry("audit.gap"),
        Entry("audit.gap", extra={"lost": -1}),
        Entry("audit.gap", extra={"lost": True}),
        Entry("audit.gap", extra={"lost": "1"}),
        Entry("audit.gap", extra={"lost": 1, "found": 1}),
        Entry("config.changed", extra={"configuration": 5, "files": []}),
        Entry("config.changed", extra={"configuration": "ab", "files": "/etc"}),
        Entry("config.changed", extra={"configuration": "ab", "files": [5]}),
        Entry("config.changed", extra={"files": [], "configuration": "ab"}),
        Entry("audit.rotated", extra={"removed": {}}),
        Entry("audit.rotated", extra={"removed": {**EXTRA["removed"], "more": 1}}),
        Entry("audit.rotated", extra={"removed": {**EXTRA["removed"], "through": "7"}}),
        Entry("audit.rotated", extra={"removed": {**EXTRA["removed"], "digest": None}}),
    ],
    ids=str,
)
def test_anything_else_is_refused(wrong):
    """An unlisted word is refused, so the log has no unexplained words."""
    with pytest.raises(ValueError, match="not in the audit log's lists"):
        wrong.check()
