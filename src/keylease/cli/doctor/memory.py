"""How much memory this user may lock, so that it is never written to a swap file."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from keylease.cli.doctor.base import Finding

if TYPE_CHECKING:
    from collections.abc import Iterator

    from keylease.cli.doctor.base import Subject

if sys.platform == "win32":

    def check(_: Subject) -> Iterator[Finding]:
        """Say that there is no such limit."""
        yield Finding("ok", "Windows has no limit of its own for locked memory; none is locked yet")

else:
    import resource

    def check(_: Subject) -> Iterator[Finding]:
        """Tell the limit. NOTE: it only informs, for keylease locks no memory yet."""
        limit, _most = resource.getrlimit(resource.RLIMIT_MEMLOCK)
        said = "without limit" if limit == resource.RLIM_INFINITY else f"{limit // 1024} KiB"
        yield Finding("ok", f"memory that may be locked: {said}; keylease locks none yet")
