"""Where our programs are, as a configuration names them.

cron, systemd and a desktop start tools with a short PATH: /usr/bin and /bin are in all of them,
~/.local/bin in none. So a program that is elsewhere is named by its whole path.
"""

from __future__ import annotations

import os
import sys
import sysconfig
from typing import Final

from keylease.cli.setup.gitconfig import find

BARE: Final = ("/usr/bin", "/bin")
"""What is on every PATH: cron's (crontab(5)), systemd's and that of a desktop."""
# `pipx run` and `uv tool run` keep a program there for some days.
_CACHES: Final = frozenset({".cache", "Caches"})


def stable_path(name: str) -> str | None:
    """Return the path of one of our programs, `None` if there is none that lasts.

    It is the one that PATH leads to, or else the one beside this program. A link is not followed:
    the link of pipx stays where it is, and what it leads to may not.
    """
    directories = [*os.get_exec_path(), sysconfig.get_path("scripts")]
    lasting = [each for each in directories if not _CACHES & set(each.split(os.sep))]
    found = find(name, lasting)
    if found is not None and sys.platform == "win32":
        # A backslash is an escape in most configurations, and Windows takes either.
        found = found.replace(os.sep, "/")
    return found


def named(name: str, short: str | None = None) -> str:
    """Return what to write for one of our programs: its path, or `short` where that is enough.

    Args:
        name: What the program is called.
        short: How the tool calls a program that is on PATH; `name` if it is not given.
    """
    found = stable_path(name)
    return (short or name) if found is None or is_everywhere(name) else found


def is_everywhere(name: str) -> bool:
    """Return whether the program is found with the shortest PATH, too."""
    return sys.platform == "win32" or find(name, BARE) is not None
