"""git's configuration, as git itself reads it.

This module parses no file of git's. git resolves the includes and decides which value counts
(git-config(1)).
"""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

from keylease.errors import KeyleaseError

if TYPE_CHECKING:
    from collections.abc import Iterable

Scope = Literal["global", "local"]

SECONDS: Final = 10.0
"""How long git may take to answer. A home on an unreachable server never answers."""
# git-config(1): it exits with 1 if the key is not found.
_ABSENT: Final = (1,)


class Value(NamedTuple):
    """One value of one key, and where git read it."""

    origin: str
    """`file:/home/ada/.gitconfig`, `command line:`"""
    key: str
    """Section and variable are in lower case; the part between them is as it was written."""
    value: str


class GitError(KeyleaseError):
    """git is missing or fails."""

    hint = "nothing more was changed"


class GitConfig:
    """git's configuration as it is seen from the current directory.

    Raises:
        GitError: there is no git.
    """

    def __init__(self) -> None:
        git = find("git", os.get_exec_path())
        if git is None:
            msg = "git is not on PATH"
            raise GitError(msg, "install git, then try again")
        self._git = git

    def values(self, scope: Scope, key: str) -> list[Value]:
        """Return the key's values in that scope, in their order."""
        fields = self._run("config", f"--{scope}", "--null", "--show-origin", "--get-all", key)
        pairs = zip(fields[::2], fields[1::2], strict=True)
        return [Value(origin, key, value) for origin, value in pairs]

    def effective(self, pattern: str) -> list[Value]:
        """Return every value of every scope whose key matches, in the order that git reads them."""
        fields = self._run("config", "--null", "--show-origin", "--get-regexp", pattern)
        pairs = zip(fields[::2], (entry.partition("\n") for entry in fields[1::2]), strict=True)
        return [Value(origin, key, value) for origin, (key, _, value) in pairs]

    def entries(self, text: bytes) -> list[tuple[str, str]]:
        """Return every key and value of a file with this text, without the files it includes."""
        fields = self._run("config", "--file", "-", "--null", "--list", stdin=text)
        parts = (field.partition("\n") for field in fields)
        return [(key, value) for key, _, value in parts]

    def path(self, scope: Scope) -> str:
        """Return the file that git itself would write (git-config(1), "FILES").

        Raises:
            GitError: there is none.
        """
        if scope == "local":
            return "".join(self._run("rev-parse", "--git-path", "config")).removesuffix("\n")
        named = os.environ.get("GIT_CONFIG_GLOBAL")
        if named == "":
            msg = "GIT_CONFIG_GLOBAL is empty, so git reads no configuration of yours"
            raise GitError(msg, "unset it, or name a file in it")
        home = os.environ.get("HOME") or os.path.expanduser("~")
        own = os.path.join(home, ".gitconfig")
        base = os.environ.get("XDG_CONFIG_HOME") or os.path.join(home, ".config")
        other = os.path.join(base, "git", "config")
        # git writes the second file only if the first one does not exist.
        only_other = not os.access(own, os.R_OK) and os.access(other, os.R_OK)
        return named or (other if only_other else own)

    def find_helper(self, name: str) -> str | None:
        """Return where git finds the program, or `None`. It looks into its own directory first."""
        own = "".join(self._run("--exec-path")).strip()
        return find(name, [own, *os.get_exec_path()])

    def _run(self, *words: str, stdin: bytes = b"") -> list[str]:
        """Run git and return the fields of its answer. Each field ends in NUL."""
        try:
            done = subprocess.run(
                [self._git, *words],
                input=stdin,
                capture_output=True,
                timeout=SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired:
            msg = f"git {words[0]} took longer than {SECONDS:g} s"
            hint = "find the cause with: git config --list --show-origin"
            raise GitError(msg, hint) from None
        except OSError as error:
            msg = f"git cannot be run: {error.strerror}"
            raise GitError(msg) from error
        out = done.stdout.decode("utf-8", "surrogateescape")
        complaint = done.stderr.decode("utf-8", "surrogateescape").strip()
        absent = done.returncode in _ABSENT and not complaint
        if done.returncode != 0 and not absent:
            said = [f"exit code {done.returncode}", *complaint.splitlines()][-1]
            said = said.removeprefix("fatal: ").removeprefix("error: ")
            msg = f"git {' '.join(words[:2])} failed: {said}"
            raise GitError(msg)
        return out.removesuffix("\0").split("\0") if out else []


def find(name: str, directories: Iterable[str]) -> str | None:
    """Return the program's path in the first of the directories that has it, or `None`."""
    # NOTE: not `shutil.which`: on Windows it searches the current directory first, which may be a
    # stranger's repository.
    suffix = ".exe" if sys.platform == "win32" else ""
    candidates = [os.path.join(each, name + suffix) for each in directories if os.path.isabs(each)]
    return next((each for each in candidates if _is_program(each)), None)


def _is_program(path: str) -> bool:
    return os.path.isfile(path) and os.access(path, os.X_OK)
