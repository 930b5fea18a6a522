"""What doctor says about the memory of secrets. The search itself is in tests/integration."""

from __future__ import annotations

import pytest

from keylease.cli.doctor import memory
from keylease.cli.doctor.base import Subject
from keylease.memory import Protection


def told(monkeypatch, got):
    """Return the verdicts and words of the check where the system does that."""
    monkeypatch.setattr(memory, "protection", lambda: got)
    return [(each.verdict, each.found, each.remedy) for each in memory.check(Subject(None))]


@pytest.fixture(autouse=True)
def _closed(monkeypatch):
    monkeypatch.delenv("KEYLEASE_DUMPABLE", raising=False)


def test_locked_memory_is_in_order(monkeypatch):
    """There is nothing to do."""
    [(verdict, found, remedy)] = told(monkeypatch, Protection())

    assert ("ok", "") == (verdict, remedy)
    assert found.startswith("memory for secrets is locked")


def test_a_limit_that_is_used_up_is_a_warning_with_a_remedy(monkeypatch):
    """Who has little to lock reads what it means and what to do."""
    got = Protection(locked=False, reason="Cannot allocate memory")
    [(verdict, found, remedy)] = told(monkeypatch, got)

    assert "warn" == verdict
    assert "may be swapped: Cannot allocate memory" in found
    assert "ulimit -l" in remedy


def test_the_opt_out_is_a_warning(monkeypatch):
    """A variable that somebody set once and forgot is named."""
    monkeypatch.setenv("KEYLEASE_DUMPABLE", "1")

    verdicts = [verdict for verdict, _, _ in told(monkeypatch, Protection())]

    assert ["ok", "warn"] == verdicts
