"""Private files: read, replaced at once, appended to, locked between processes.

Bytes in, bytes out: no crypto, no sessions, no clock of the rules. Nothing unsafe is followed,
repaired or waited for; it is refused with advice. A crash at any instruction leaves the old file,
the new file or no file, and at worst a temporary that `Directory.sweep` removes.
"""

from __future__ import annotations

from keylease.statefile.directory import Directory

__all__ = ["Directory"]
