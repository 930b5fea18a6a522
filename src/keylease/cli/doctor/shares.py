"""What ends a session here: the platform itself, or a check of keylease."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Final

from keylease.cli.doctor.base import Finding
from keylease.errors import StateError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from keylease.cli.doctor.base import Subject

_POLICY: Final = "the end of a session is a check of keylease (policy)"

if sys.platform == "linux":
    from keylease.shares.base import ShareUnavailableError
    from keylease.shares.kernel import KernelShares
    from keylease.system.paths import runtime_directory

    _NOBODYS: Final = "0" * 32
    _ALLOW: Final = (
        "let this process use the kernel keyring"
        " (in a container: add_key and keyctl in its seccomp profile)"
    )
    # keyrings(7): the limits of root are others than those of everybody else.
    _QUOTA: Final = (
        "remove keys that nobody needs (keyctl show @u), or raise kernel.keys.maxkeys"
        " (for root kernel.keys.root_maxkeys) with sysctl"
    )

    def check(_: Subject) -> Iterator[Finding]:
        """Look where a share would be kept. None is made, so a full disk is not noticed."""
        try:
            KernelShares().read(_NOBODYS)
        except ShareUnavailableError as error:
            yield _without_kernel(str(error), _ALLOW)
            return
        used, most = _quota()
        if used >= most:
            yield _without_kernel(f"your quota of {most} kernel keys is used up", _QUOTA)
        else:
            yield Finding("ok", "kernel keyring: the kernel destroys a session's share (erased)")

    def _without_kernel(why: str, remedy: str) -> Finding:
        try:
            path = runtime_directory()
        except StateError as error:
            return Finding("warn", f"{_POLICY}: {why}; {error}", remedy)
        return Finding("warn", f"{_POLICY}; its share in {path} goes with the login: {why}", remedy)

    def _quota() -> tuple[int, int]:
        """Return how many kernel keys this user has, and may have."""
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
        """Say what Windows has."""
        yield Finding("ok", f"{_POLICY}; its share in Credential Manager goes with the logoff")

else:

    def check(_: Subject) -> Iterator[Finding]:
        """Say what macOS has."""
        yield Finding("ok", f"{_POLICY}: this platform has no store that forgets by itself")
