"""A line of the user's that setup replaces stays in the file, as a comment.

`--undo` finds it there. The line may hold a password, so it is not copied to a second file. All of
these configurations have comments that begin with `#`.
"""

from __future__ import annotations

from typing import Final

MARK: Final = "# kept by keylease: "


def commented(line: str) -> str:
    """Return the line as a comment."""
    return MARK + line


def restored(line: str) -> str:
    """Return the line that such a comment keeps; any other line is returned unchanged."""
    return line.removeprefix(MARK)
