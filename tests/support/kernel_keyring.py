"""Whether the kernel lets the tests keep a key, and the tool to look at it from outside."""

from __future__ import annotations

import shutil
import subprocess
import sys

from support.requirements import require

from keylease.errors import KeychainUnavailableError
from keylease.keystores.kernel import KernelKeyStore

NAME = "kernel-keyring"


def require_kernel_keyring() -> None:
    """Skip the test if there is no kernel keyring for this process."""
    require(sys.platform == "linux", NAME, "this is not Linux")
    try:
        KernelKeyStore().probe()
    except KeychainUnavailableError as error:
        require(condition=False, name=NAME, reason=str(error))


def require_keyctl() -> None:
    """Skip the test if the tool that people use is not here."""
    require(shutil.which("keyctl"), NAME, "keyctl is not on PATH (package keyutils)")


def keyctl(*words: str, check: bool = True) -> str:
    """Run the tool that people use and return what it printed."""
    return subprocess.run(
        ["keyctl", *words], check=check, capture_output=True, text=True, timeout=20
    ).stdout.strip()
