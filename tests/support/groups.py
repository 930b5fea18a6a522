"""Programs that end together with their children.

The children of a killed process go on: they write into a directory that the test is about to
remove, and hold its pipes and locks. So each program here leads a process group, which is killed as
a whole.
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
    """Kill the program and its children, and return when all have ended.

    Args:
        process: A program started with `process_group=OF_ITS_OWN`, or the leader of a session.
    """
    with contextlib.suppress(ProcessLookupError):
        if sys.platform == "win32":
            process.kill()
        else:
            os.killpg(process.pid, signal.SIGKILL)
    # A pipe ends when the last process of the group has ended; the rest in it is not needed.
    process.communicate(timeout=WAIT_SECONDS)


def run_group(
    words: Sequence[str | Path],
    stdin: str | bytes | None = None,
    timeout_seconds: float = WAIT_SECONDS,
    **options: Any,
) -> subprocess.CompletedProcess[Any]:
    """Run a program as `subprocess.run` does, and capture its output.

    At the timeout, or another exception, the program and its children are killed.

    Args:
        words: The command line.
        stdin: The program's input; bytes unless `options` name an encoding.
        timeout_seconds: How long to wait.
        options: Further arguments of `subprocess.Popen`, such as `env` and `cwd`.
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
        except BaseException:  # Ctrl-C too: no child may write into a directory under removal
            end_group(process)
            raise
    return subprocess.CompletedProcess(words, process.returncode, out, err)
