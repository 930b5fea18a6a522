"""Whether tests may use the kernel's keyring, and keyctl to look at it from outside."""

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
    """Skip the test if keyctl(1) is not installed."""
    require(shutil.which("keyctl"), NAME, "keyctl is not on PATH (package keyutils)")


def keyctl(*words: str, check: bool = True) -> str:
    """Run the kernel's own key tool and return its output."""
    return subprocess.run(
        ["keyctl", *words], check=check, capture_output=True, text=True, timeout=20
    ).stdout.strip()
