"""The clients on this machine, and what they leave in a home."""

from __future__ import annotations

import shutil
import sysconfig
import time
from typing import TYPE_CHECKING

from support.requirements import require

if TYPE_CHECKING:
    from collections.abc import Callable

    from support.throwaway import Throwaway

ENDS_SOON = {"KEYLEASE_IDLE_TIMEOUT": "2", "KEYLEASE_CAP": "2"}
"""What makes new sessions end while a test waits for it."""
_SECONDS = 60


def find_client(name: str) -> str:
    """Return the path of a client, or skip the test, or fail it where the client is required.

    Clients from Python packages are beside the running Python, which is not on PATH here.
    """
    found = shutil.which(name) or shutil.which(name, path=sysconfig.get_path("scripts"))
    require(found, name, "it is not on PATH")
    return found or ""


def set_up(home: Throwaway, *words: str) -> None:
    """Run `keylease setup` for a tool, or fail the test."""
    done = home.run("keylease", "setup", *words)
    assert done.returncode == 0, done.stderr


def holders(home: Throwaway, *needles: str) -> list[str]:
    """Return the files of a home that contain one of the texts."""
    files = (path for path in home.home.parent.rglob("*") if path.is_file())
    contents = ((path.name, path.read_bytes()) for path in files)
    return sorted(name for name, text in contents if any(n.encode() in text for n in needles))


def wait_until(over: Callable[[], bool]) -> None:
    """Return when `over` is true.

    Raises:
        TimeoutError: it stays false.
    """
    deadline = time.monotonic() + _SECONDS
    while not over():
        if time.monotonic() > deadline:
            msg = "the condition did not become true in time"
            raise TimeoutError(msg)
