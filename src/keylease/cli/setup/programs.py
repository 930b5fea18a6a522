"""Find our programs, and name them as a configuration needs it.

cron, systemd and a desktop start tools with a short PATH. It always has /usr/bin and /bin, and
never ~/.local/bin. So a program in another directory is named by its whole path.
"""

from __future__ import annotations

import os
import sys
import sysconfig
from typing import Final

from keylease.cli.setup.gitconfig import find

BARE: Final = ("/usr/bin", "/bin")
"""The directories of every PATH: cron's (crontab(5)), systemd's and a desktop's."""
# `pipx run` and `uv tool run` keep a program in such a directory for some days only.
_CACHES: Final = frozenset({".cache", "Caches"})


def stable_path(name: str) -> str | None:
    """Return a lasting path of one of our programs; `None` if there is none.

    The program is searched on PATH, then beside this program. A link is not followed: the link of
    pipx stays in place, but its destination may move.
    """
    directories = [*os.get_exec_path(), sysconfig.get_path("scripts")]
    lasting = [each for each in directories if not _CACHES & set(each.split(os.sep))]
    found = find(name, lasting)
    if found is not None and sys.platform == "win32":
        # A backslash is an escape in most configurations, and Windows accepts a slash, too.
        found = found.replace(os.sep, "/")
    return found


def named(name: str, short: str | None = None) -> str:
    """Return how to name one of our programs: by its path, or by `short` if that is enough.

    Args:
        name: The program's name.
        short: The tool's name for a program on PATH; `name` if it is not given.
    """
    found = stable_path(name)
    return (short or name) if found is None or is_everywhere(name) else found


def is_everywhere(name: str) -> bool:
    """Return whether even the shortest PATH leads to the program."""
    return sys.platform == "win32" or find(name, BARE) is not None
