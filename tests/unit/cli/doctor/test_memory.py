"""What doctor says about the memory of secrets. The search itself is in tests/integration."""

from __future__ import annotations

import sys

import pytest

from keylease.cli.doctor import memory
from keylease.cli.doctor.base import Subject
from keylease.secrets.hardening import Restrictions
from keylease.secrets.memory import Protection

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells")


SHUT = Restrictions(0, tracers_refused=True)


def told(monkeypatch, got, shut=SHUT):
    """Return the verdicts and words of the check where the system does that."""
    monkeypatch.setattr(memory, "protection", lambda: got)
    monkeypatch.setattr(memory, "restrictions", lambda: shut)
    return [(each.verdict, each.found, each.remedy) for each in memory.check(Subject(None))]


@pytest.fixture(autouse=True)
def _closed(monkeypatch):
    monkeypatch.delenv("KEYLEASE_DUMPABLE", raising=False)


def test_locked_memory_is_in_order(monkeypatch):
    """There is nothing to do."""
    said = told(monkeypatch, Protection())

    assert [("ok", "")] * 3 == [(verdict, remedy) for verdict, _, remedy in said]
    assert said[0][1].startswith("memory for secrets is locked")


def test_a_limit_that_is_used_up_is_a_warning_with_a_remedy(monkeypatch):
    """A low limit for locked memory is a warning with its meaning and a remedy."""
    got = Protection(locked=False, reason="Cannot allocate memory")
    (verdict, found, remedy), *_ = told(monkeypatch, got)

    assert "warn" == verdict
    assert "may be swapped: Cannot allocate memory" in found
    assert "ulimit -l" in remedy


def test_the_opt_out_is_a_warning(monkeypatch):
    """A forgotten variable that opens the memory is named."""
    monkeypatch.setenv("KEYLEASE_DUMPABLE", "1")

    verdicts = [verdict for verdict, _, _ in told(monkeypatch, Protection())]

    assert ["ok", "ok", "warn"] == verdicts


@LINUX
def test_advice_that_the_kernel_refused_is_a_warning(monkeypatch):
    """For an old kernel or a sandbox, doctor names the missing feature."""
    said = told(monkeypatch, Protection(undumped=False, wiped_on_fork=False))

    assert ["ok", "warn", "warn", "ok", "ok"] == [verdict for verdict, _, _ in said]
    assert "core dumps" in said[1][1]
    assert "forks" in said[2][1]


@pytest.mark.skipif(sys.platform == "win32", reason="there is no such limit")
@pytest.mark.parametrize(
    ("limit", "words"), [(None, "the limit is unknown"), (-1, "no limit"), (4096, "4096 bytes")]
)
def test_a_core_file_that_is_possible_is_a_warning(monkeypatch, limit, words):
    """If the system refused the limit, the warning says what to type."""
    _, (verdict, found, remedy), *_ = told(
        monkeypatch, Protection(), Restrictions(limit, tracers_refused=True)
    )

    assert ("warn", "run: ulimit -c 0") == (verdict, remedy)
    assert words in found


@LINUX
@pytest.mark.parametrize("answer", [False, None])
def test_a_process_that_stays_open_is_a_warning(monkeypatch, answer):
    """A refused protection is a warning, and so is one that cannot be queried."""
    *_, (verdict, found, remedy) = told(
        monkeypatch, Protection(), Restrictions(0, tracers_refused=answer)
    )

    assert "warn" == verdict
    assert "can read the helper's memory" in found
    assert "prctl(2)" in remedy
