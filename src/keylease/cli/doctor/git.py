"""Check that git asks keylease, finds it, and gives passwords to no other helper."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from keylease.cli.doctor.base import Finding
from keylease.cli.setup.gitadvice import asking, complaints
from keylease.cli.setup.gitconfig import GitConfig, find

if TYPE_CHECKING:
    from collections.abc import Iterator

    from keylease.cli.doctor.base import Subject


def check(_: Subject) -> Iterator[Finding]:
    """Ask git for its configuration, as git sees it from the current directory.

    Raises:
        GitError: git does not answer.
    """
    if find("git", os.get_exec_path()) is None:
        yield Finding("ok", "git is not on PATH, so there is nothing to set up")
        return
    config = GitConfig()
    origin = asking(config)
    if origin is None:
        yield Finding("warn", "git is not configured to ask keylease", "run: keylease setup git")
    else:
        yield Finding("ok", f"git is configured to ask keylease ({origin})")
    for complaint in complaints(config):
        yield Finding("warn", *complaint)
