"""A collection leaves nothing that is over, and says how much there was."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.rig import EXAMPLE, Rig, bring

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    """Return a service on an empty state directory."""
    return Rig(tmp_path / "keylease")


def others(rig: Rig, count: int) -> None:
    """Start sessions for other hosts."""
    for number in range(count):
        rig.session.store(bring(EXAMPLE._replace(host=f"h{number}.example")))


def test_cleaning_reaches_everything_in_the_end(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """However little time each round has, a collection ends when everything was looked at."""
    others(rig, 5)
    rig.clock.advance(901)
    rounds = iter(range(100))
    monkeypatch.setattr("keylease.collection.Deadline", lambda _: Rounds(next(rounds)))

    assert 5 == rig.session.collect().sessions
    assert 1 < next(rounds)
    assert [] == rig.sealed()


class Rounds:
    """A deadline that is over after two questions."""

    def __init__(self, _: int) -> None:
        self._left = 2

    def remaining(self) -> float:
        """Return how much is left."""
        self._left -= 1
        return max(0, self._left)
