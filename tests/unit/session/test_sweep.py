"""Expired sessions are removed during other operations, and no operation waits long for that."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest
from support.rig import EXAMPLE, Rig, begin_elsewhere, bring

from keylease.statefile import Directory
from keylease.system.clock import Deadline

if TYPE_CHECKING:
    from pathlib import Path


POSIX = pytest.mark.skipif(sys.platform == "win32", reason="modes are those of POSIX")


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    """Return a service on an empty state directory."""
    return Rig(tmp_path / "keylease")


def test_store_removes_what_is_over_elsewhere(rig: Rig) -> None:
    """A store for one host also removes expired sessions of other hosts."""
    begin_elsewhere(rig, 3)
    rig.clock.advance(901)

    rig.session.store(bring())

    assert 1 == len(rig.sealed())
    assert 1 == len(rig.touches())
    assert 3 == rig.events().count(("session.ended", "idle"))


def test_store_leaves_what_lives_elsewhere(rig: Rig) -> None:
    """A sweep does not count as a use: the other sessions end on time."""
    begin_elsewhere(rig, 3)
    rig.clock.advance(600)

    rig.session.store(bring())

    assert 4 == len(rig.sealed())
    rig.clock.advance(301)
    assert 1 == len(rig.session.sessions())


def test_store_keeps_the_record_that_an_echo_may_need(rig: Rig) -> None:
    """A sweep keeps the records with which another host's echo is recognised."""
    rig.session.store(bring())
    rig.session.get(EXAMPLE)
    rig.session.terminate(EXAMPLE)
    begin_elsewhere(rig, 1)
    rig.session.store(bring())
    assert [] == [each for each in rig.session.sessions() if each[0].target == EXAMPLE]

    rig.clock.advance(121)
    rig.session.store(bring(EXAMPLE._replace(host="other.example")))

    assert [] == [touch for touch in rig.touches() if not touch.with_suffix(".sealed").exists()]


def test_cleaning_stops_among_empty_buckets_too(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """Thousands of empty directories do not delay a `store`."""
    begin_elsewhere(rig, 1)
    rig.clock.advance(61)
    for number in range(300):
        (rig.path / "sessions" / f"{number:032x}").mkdir(mode=0o700)
    opened, original = [], Directory.child
    seen: list[str] = []

    class Looks(Deadline):
        def remaining(self) -> float:
            seen.append("")
            return 0.0 if len(seen) > 20 else 3600.0

    def child(self: Directory, name: str, *, create: bool = False) -> Directory:
        opened.append(name)
        return original(self, name, create=create)

    monkeypatch.setattr("keylease.session.sweep.Deadline", Looks)
    monkeypatch.setattr(Directory, "child", child)
    rig.session.store(bring())

    assert len(opened) < 80
    assert len(seen) > 20, "the control"


def test_cleaning_stops_within_one_bucket_too(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """Thousands of records that outlived their sessions do not delay a `store`."""
    rig.session.store(bring())
    (touch,) = rig.touches()
    for number in range(200):
        left = touch.with_name(f"{number:032x}.touch")
        left.write_bytes(b"left")
        left.chmod(0o600)
    rig.clock.advance(61)
    looks = iter(range(100))

    class Looks(Deadline):
        def remaining(self) -> float:
            return 0.0 if next(looks, None) is None else 3600.0

    monkeypatch.setattr("keylease.session.sweep.Deadline", Looks)
    begin_elsewhere(rig, 1)

    assert 100 < len(rig.touches()) < 202
    monkeypatch.undo()
    monkeypatch.setattr("keylease.session.sweep._SECONDS", 60)
    rig.clock.advance(61)
    begin_elsewhere(rig, 2)
    assert 3 == len(rig.touches()), "the next ones remove the rest"


def test_cleaning_stops_when_its_time_is_over(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a hundred thousand sessions a `store` still answers, after a look at some of them."""
    begin_elsewhere(rig, 5)
    rig.clock.advance(901)
    monkeypatch.setattr("keylease.session.sweep._SECONDS", 0)

    rig.session.store(bring())

    assert 6 == len(rig.sealed())


def test_cleaning_is_done_once_a_minute(rig: Rig) -> None:
    """Forty stores in a row cause one sweep, not forty."""
    rig.session.store(bring())
    (swept,) = rig.path.glob("sessions/swept")
    first = swept.read_bytes()
    for seconds, again in ((59, False), (1, True)):
        rig.clock.advance(seconds)
        rig.session.store(bring(EXAMPLE._replace(host=f"{seconds}.example")))

        assert again == (first != swept.read_bytes())


@pytest.mark.parametrize("content", [b"", b"garbage", bytes(24), b"\xff" * 24])
def test_damaged_note_of_the_last_cleaning_stops_none(rig: Rig, content: bytes) -> None:
    """Sweeps continue after a reboot and with a damaged note of the last one."""
    begin_elsewhere(rig, 1)
    (swept,) = rig.path.glob("sessions/swept")
    swept.write_bytes(content)
    rig.clock.advance(901)

    rig.session.store(bring())

    assert 1 == len(rig.sealed())


@POSIX
def test_one_bad_bucket_holds_up_no_store(rig: Rig) -> None:
    """An unsafe file of another host does not fail a store."""
    begin_elsewhere(rig, 3)
    rig.clock.advance(901)
    rig.sealed()[1].chmod(0o644)

    rig.session.store(bring())

    assert 2 == len(rig.sealed())


def test_get_looks_at_no_other_host(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """A get costs the same with one session and with a hundred thousand."""
    begin_elsewhere(rig, 3)
    rig.session.store(bring())
    rig.clock.advance(1)
    opened = []
    child = Directory.child

    def spy(self: Directory, name: str, *, create: bool = False) -> Directory:
        opened.append(name)
        return child(self, name, create=create)

    monkeypatch.setattr(Directory, "child", spy)
    rig.session.get(EXAMPLE)
    got = set(opened)
    rig.session.sessions()

    buckets = {path.parent.name for path in rig.sealed()}
    assert 1 == len(buckets & got)
    assert 4 == len(buckets & set(opened)), "the control: a survey opens them all"
