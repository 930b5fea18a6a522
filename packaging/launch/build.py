"""Put the programs into the wheel: shell scripts on POSIX, entry points on Windows.

hatchling runs it. Installers turn entry points into programs that start Python without the options
that isolate it, so only the wheel for Windows has them. KEYLEASE_WHEEL=windows builds that wheel on
any platform.
"""

from __future__ import annotations

import os
import runpy
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface
from hatchling.metadata.plugin.interface import MetadataHookInterface

WINDOWS = os.environ.get("KEYLEASE_WHEEL", sys.platform) in {"windows", "win32"}
# One wheel for every Windows architecture, which installers prefer there to the one for `any`.
TAG = "py3-none-win32.win_amd64.win_arm64"
START = "keylease-start"


def programs(root: str) -> list[str]:
    """Return the names of the programs."""
    source = Path(root, "src", "keylease")
    own = runpy.run_path(str(source / "programs.py"))["OWN"]
    tools = runpy.run_path(str(source / "tools" / "__init__.py"))["TOOLS"]
    return [*own, *dict.fromkeys(tool.program for tool in tools if tool.program)]


class EntryPoints(MetadataHookInterface):
    """Give only the wheel for Windows entry points."""

    def update(self, metadata: dict[str, Any]) -> None:
        """Set the field `scripts`."""
        names = programs(self.root) if WINDOWS else []
        metadata["scripts"] = dict.fromkeys(names, "keylease.programs:main")


class Scripts(BuildHookInterface[Any]):
    """Write a shell script for each program into a directory that is removed after the build."""

    _made: str | None = None

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Add the scripts to the wheel."""
        del version
        if WINDOWS:
            build_data["tag"] = TAG
            return
        source = Path(self.root, "packaging", "launch")
        self._made = tempfile.mkdtemp(prefix="keylease-build-")
        script = (source / "program.sh").read_text(encoding="utf-8")
        for name in programs(self.root):
            path = Path(self._made, name)
            path.write_text(script.replace("NAME", name), encoding="utf-8", newline="\n")
            path.chmod(0o755)
        shutil.copy(source / START, self._made)
        build_data["shared_scripts"][self._made] = "."

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """Remove the directory."""
        del version, build_data, artifact_path
        if self._made is not None:
            shutil.rmtree(self._made)
