"""The clocks count suspend and identify the boot, and deadlines bound a wait."""

import sys
import time
from pathlib import Path

import pytest

from keylease.errors import StateError
from keylease.model import NANOSECONDS, Moment
from keylease.system import clock
from keylease.system.clock import BootClock, Deadline

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="CLOCK_BOOTTIME and boot_id are Linux's")


def test_both_clocks_run_forward():
    """A later reading of the same boot is never smaller."""
    source = BootClock()
    first, second = source.now(), source.now()

    assert first.boot == second.boot
    assert first.boot_ns <= second.boot_ns
    assert first.boot_ns > 0


def test_the_wall_clock_is_the_machines():
    """An audit line has the time that `date` shows."""
    before = time.time_ns()
    reading = BootClock().now().wall_ns

    assert before <= reading <= time.time_ns()


def test_a_boot_is_32_hexadecimal_digits_on_every_platform():
    """A boot id has 32 hexadecimal digits, which fit the sealed file's 16 bytes."""
    boot = BootClock().now().boot

    assert 16 == len(bytes.fromhex(boot))
    assert boot.lower() == boot
    assert BootClock().now().boot == boot


@LINUX
def test_the_clock_counts_suspend(monkeypatch):
    """An hour of suspend counts, although CLOCK_MONOTONIC stops in it."""
    hour = 3600 * NANOSECONDS
    readings = {time.CLOCK_MONOTONIC: hour, time.CLOCK_BOOTTIME: 2 * hour}
    monkeypatch.setattr(time, "clock_gettime_ns", readings.__getitem__)

    assert 2 * hour == BootClock().now().boot_ns


@LINUX
def test_the_boot_is_the_kernels():
    """Every program of this boot reads the same id from the kernel."""
    boot_id = Path("/proc/sys/kernel/random/boot_id").read_text("ascii")

    assert boot_id.strip().replace("-", "") == BootClock().now().boot


@LINUX
def test_a_boot_that_cannot_be_told_is_refused(monkeypatch):
    """Without /proc there is no boot id, so no session is used."""

    def refuse(*_args, **_more):
        raise FileNotFoundError(2, "No such file or directory")

    monkeypatch.setattr(clock, "open", refuse, raising=False)

    with pytest.raises(StateError, match="cannot identify this boot") as caught:
        BootClock()
    assert "mount /proc, then try again" == caught.value.hint


def test_a_reading_does_not_change():
    """A reading never changes, so it can decide a whole request."""
    with pytest.raises(AttributeError):
        Moment(1, 2, "00").wall_ns = 3


def test_a_deadline_runs_down_to_zero_and_stays_there(monkeypatch):
    """The remaining time of a deadline reaches zero and is never negative."""
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    deadline = Deadline(2)
    left = []
    for now in (100.0, 101.5, 102.0, 200.0):  # noqa: B007 - the clock above reads it
        left.append(deadline.remaining())  # noqa: PERF401 - the clock moves between the readings

    assert [2.0, 0.5, 0.0, 0.0] == left
