"""A collection removes everything that is over, and says how much that was."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.rig import Rig, begin_elsewhere

from keylease.errors import KeychainUnavailableError
from keylease.store.store import SessionStore

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from keylease.store.buckets import Tidied
    from keylease.store.format import Touch


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    """Return a service on an empty state directory."""
    return Rig(tmp_path / "keylease")


def test_cleaning_reaches_everything_in_the_end(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """A collection ends once it has looked at everything, however little time each round has."""
    begin_elsewhere(rig, 5)
    rig.clock.advance(901)
    rounds = iter(range(100))
    monkeypatch.setattr("keylease.session.collect.Deadline", lambda _: Rounds(next(rounds)))

    assert 5 == rig.session.collect().sessions
    assert 1 < next(rounds)
    assert [] == rig.sealed()


class Rounds:
    """A deadline that expires after two questions."""

    def __init__(self, _: int) -> None:
        self._left = 2

    def remaining(self) -> float:
        """Return the time that is left."""
        self._left -= 1
        return max(0, self._left)


def test_keys_that_killed_rotations_left_are_counted(rig: Rig) -> None:
    """A collection deletes the keys that killed rotations left, and counts them."""
    begin_elsewhere(rig, 1)
    now = rig.clock.now()
    for _ in range(3):
        rig.vault.rotate(now)

    assert 3 == rig.again().session.collect().keys
    assert 0 == rig.again().session.collect().keys


def test_locked_keychain_is_told_after_the_rest(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """A keychain that locks during a collection is reported, and the removed files stay removed."""
    begin_elsewhere(rig, 2)
    rig.clock.advance(901)
    fresh = rig.again()
    tidy = SessionStore.tidy

    def locked(store: SessionStore, keep: Callable[[Touch], bool]) -> Tidied:
        rig.keystore.lock()
        return tidy(store, keep)

    monkeypatch.setattr(SessionStore, "tidy", locked)

    with pytest.raises(KeychainUnavailableError):
        fresh.session.collect()

    assert [] == rig.sealed()
