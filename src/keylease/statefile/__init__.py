"""Private files: read, replace atomically, append, and lock between processes.

Bytes in, bytes out: no crypto, no sessions, no rules. An unsafe file is refused with advice; it is
never followed, repaired or waited for. A crash at any instruction leaves the old file, the new file
or no file, and at worst a temporary that `Directory.sweep` removes.
"""

from __future__ import annotations

from keylease.statefile.directory import Directory

__all__ = ["Directory"]
