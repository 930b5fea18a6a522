"""A line of the user's that setup replaces stays where it is, as a comment.

So it is in the user's file alone, and `--undo` finds it there. It may have a password in it, which
must not be in a second file. All of these configurations have comments that begin with `#`.
"""

from __future__ import annotations

from typing import Final

MARK: Final = "# kept by keylease: "


def commented(line: str) -> str:
    """Return the line as a comment."""
    return MARK + line


def restored(line: str) -> str:
    """Return the line as it was before it became such a comment; any other one as it is."""
    return line.removeprefix(MARK)
