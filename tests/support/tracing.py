"""What strace needs to show file names of our programs.

Our programs are not dumpable, so an ordinary user's strace may not read their memory and shows
addresses instead of file names. `READABLE` allows it.
"""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
from typing import Final

from support.requirements import require
from support.waiting import WAIT_SECONDS

READABLE: Final = {"KEYLEASE_DUMPABLE": "1"}
"""What to put over the environment of a program of ours that is traced."""


@functools.cache
def _try() -> tuple[int, str]:
    words = ["strace", "-f", "-e", "trace=execve", "true"]
    tried = subprocess.run(
        words, capture_output=True, text=True, check=False, timeout=WAIT_SECONDS, env=os.environ
    )
    return tried.returncode, tried.stderr


def require_strace() -> None:
    """Skip the test if strace is missing, may not trace, or shows no file names."""
    require(shutil.which("strace"), "strace", "strace is not on PATH")
    code, said = _try()
    require(code == 0, "strace", "this sandbox forbids tracing")
    require('execve("' in said, "strace", "it shows addresses in the place of names here")
