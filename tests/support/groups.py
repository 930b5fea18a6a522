"""Programs that end together with all that they have started.

A killed process leaves its children running. They go on to write into a directory that the test is
about to remove, and hold its pipes and locks. A program that is started here leads a process group,
and the group is ended as a whole.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any, Final

from support.waiting import WAIT_SECONDS

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

OF_ITS_OWN: Final = None if sys.platform == "win32" else 0
"""The `process_group` of a `Popen` that `end_group` is to end."""


def end_group(process: subprocess.Popen[Any]) -> None:
    """Kill the program and what it started, and return when all of it has ended.

    Args:
        process: It was started with `process_group=OF_ITS_OWN`, or leads a session of its own.
    """
    with contextlib.suppress(ProcessLookupError):
        if sys.platform == "win32":
            process.kill()
        else:
            os.killpg(process.pid, signal.SIGKILL)
    # A pipe ends when the last of them has ended. What is still in it is of no use.
    process.communicate(timeout=WAIT_SECONDS)


def run_group(
    words: Sequence[str | Path],
    stdin: str | bytes | None = None,
    timeout_seconds: float = WAIT_SECONDS,
    **options: Any,
) -> subprocess.CompletedProcess[Any]:
    """Run a program as `subprocess.run` does, with its output captured.

    If the wait for it is given up, it and all that it started are ended.

    Args:
        words: The command line.
        stdin: What it reads; bytes unless `options` name an encoding.
        timeout_seconds: How long to wait.
        options: More of `subprocess.Popen`, such as `env` and `cwd`.
    """
    with subprocess.Popen(
        words,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        process_group=OF_ITS_OWN,
        **options,
    ) as process:
        try:
            out, err = process.communicate(stdin, timeout=timeout_seconds)
        except BaseException:  # Ctrl-C too: nothing may go on to write into a directory that goes
            end_group(process)
            raise
    return subprocess.CompletedProcess(words, process.returncode, out, err)
