"""Measure the cost of overwriting a secret, next to a bare `ctypes.memset` and a Python loop.

It prints the median and the 99.9th percentile for each size. It fills each buffer before it starts
the clock. The benchmark only reports: a number alone is no reason to fail.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import platform
import statistics
import time
from typing import TYPE_CHECKING

from keylease.secrets.memory import allocate, protection, secure_clear

if TYPE_CHECKING:
    from collections.abc import Callable

SIZES = (32, 4 * 1024, 64 * 1024, 1024 * 1024)
LOOP_ROUNDS = 20
"""The loop is too slow for more rounds; its 99.9th percentile is therefore its slowest round."""


def memset(buffer: memoryview) -> None:
    """Overwrite with the same call as `secure_clear`, without its checks."""
    ctypes.memset(ctypes.addressof(ctypes.c_char.from_buffer(buffer)), 0, len(buffer))


def loop(buffer: memoryview) -> None:
    """Overwrite byte by byte."""
    for at in range(len(buffer)):
        buffer[at] = 0


def measure(clear: Callable[[memoryview], None], size: int, rounds: int) -> list[float]:
    """Return the microseconds of every round.

    Raises:
        RuntimeError: the buffer is not empty; a fast failure must not count as a fast result.
    """
    buffer, secret = allocate(size), os.urandom(size)
    times = []
    for _ in range(rounds):
        buffer[:] = secret
        start = time.perf_counter_ns()
        clear(buffer)
        times.append((time.perf_counter_ns() - start) / 1000)
        if any(buffer[:: max(1, size // 64)]):
            msg = f"{clear.__name__} left something"
            raise RuntimeError(msg)
    return times


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Measure what overwriting a secret costs.")
    parser.add_argument("--rounds", type=int, default=10_000, help="how often (%(default)s)")
    rounds = max(LOOP_ROUNDS, parser.parse_args().rounds)
    locked = "locked" if protection().locked else "not locked"
    print(
        f"{platform.platform(terse=True)}, {os.cpu_count()} cores, "
        f"Python {platform.python_version()}, memory {locked}, {rounds} rounds\n"
    )
    print(f"{'bytes':>9}  {'by':<14} {'median us':>11} {'99.9th percentile us':>21}")
    for size in SIZES:
        for clear in (secure_clear, memset, loop):
            times = measure(clear, size, LOOP_ROUNDS if clear is loop else rounds)
            slow = sorted(times)[min(len(times) - 1, round(len(times) * 0.999))]
            print(
                f"{size:>9}  {clear.__name__:<14} {statistics.median(times):>11.1f} {slow:>21.1f}"
            )


if __name__ == "__main__":
    main()
