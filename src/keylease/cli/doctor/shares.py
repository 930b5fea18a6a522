"""Check who enforces the end of a session on this machine: the kernel, or keylease."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Final

from keylease.cli.doctor.base import Finding
from keylease.errors import StateError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from keylease.cli.doctor.base import Subject

_BY_KEYLEASE: Final = "keylease enforces the end of a session"

if sys.platform == "linux":
    from keylease.shares.base import ShareUnavailableError
    from keylease.shares.kernel import KernelShares
    from keylease.system.paths import runtime_directory

    _NO_SESSION: Final = "0" * 32
    _ALLOW: Final = (
        "let this process use the kernel keyring"
        " (in a container: add_key and keyctl in its seccomp profile)"
    )
    # keyrings(7): root has limits of its own.
    _QUOTA: Final = (
        "remove unused keys (keyctl show @u), or raise kernel.keys.maxkeys"
        " (for root kernel.keys.root_maxkeys) with sysctl"
    )

    def check(_: Subject) -> Iterator[Finding]:
        """Find out where a share would be kept. No share is made, so a full disk goes unnoticed."""
        try:
            KernelShares().read(_NO_SESSION)
        except ShareUnavailableError as error:
            yield _without_kernel(str(error), _ALLOW)
            return
        used, most = _quota()
        if used >= most:
            yield _without_kernel(f"your quota of {most} kernel keys is used up", _QUOTA)
        else:
            yield Finding(
                "ok", "the kernel enforces the end of a session: it destroys half of its key"
            )

    def _without_kernel(why: str, remedy: str) -> Finding:
        try:
            path = runtime_directory()
        except StateError as error:
            return Finding("warn", f"{_BY_KEYLEASE}: {why}; {error}", remedy)
        found = f"{_BY_KEYLEASE}; its share in {path} is removed at logout: {why}"
        return Finding("warn", found, remedy)

    def _quota() -> tuple[int, int]:
        """Return how many kernel keys this user has, and how many it may have."""
        # proc(5), /proc/key-users: "uid: usage nkeys/nikeys qnkeys/maxkeys qnbytes/maxbytes".
        try:
            with open("/proc/key-users", encoding="ascii") as users:
                rows = [line.split() for line in users]
        except OSError:
            return 0, 1
        for uid, _, _, keys, *_ in rows:
            if uid == f"{os.geteuid()}:":
                used, _, most = keys.partition("/")
                return int(used), int(most)
        return 0, 1

elif sys.platform == "win32":

    def check(_: Subject) -> Iterator[Finding]:
        """Report what Windows offers."""
        found = f"{_BY_KEYLEASE}; its share in Credential Manager is removed at logoff"
        yield Finding("ok", found)

else:

    def check(_: Subject) -> Iterator[Finding]:
        """Report what macOS offers."""
        yield Finding("ok", f"{_BY_KEYLEASE}: macOS has no store that forgets by itself")
