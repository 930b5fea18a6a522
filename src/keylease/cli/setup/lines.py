"""Edit configurations that consist of lines: add, replace or remove one.

Every other line stays as it is, byte by byte.
"""

from __future__ import annotations

import os
import re
import sys
from typing import TYPE_CHECKING, NamedTuple

from keylease.cli.executable import find
from keylease.cli.setup.base import Change, SetupError, read
from keylease.cli.setup.kept import commented, restored

if TYPE_CHECKING:
    from collections.abc import Sequence


class File(NamedTuple):
    """A file and its lines."""

    path: str
    before: bytes | None
    lines: tuple[str, ...]
    """Without their ends."""
    shown: tuple[str, ...] = ()
    """What the user sees of the edits so far."""

    def found(self, pattern: re.Pattern[str]) -> list[str]:
        """Return the lines that a pattern matches as a whole."""
        return [line for line in self.lines if pattern.fullmatch(line.removesuffix("\r"))]

    def named(self, pattern: re.Pattern[str]) -> list[str]:
        """Return the first group of a pattern in each line that it matches as a whole."""
        found = (pattern.fullmatch(line.removesuffix("\r")) for line in self.lines)
        return [each[1] for each in found if each]

    def changed(self, gone: Sequence[str], added: Sequence[str]) -> File:
        """Return the file with `added` in the place of `gone`.

        If `gone` is not in the file, `added` comes last.
        """
        at = [number for number, line in enumerate(self.lines) if line in gone]
        start = at[0] if at else len(self.lines)
        rest = [line for line in self.lines[start:] if line not in gone]
        shown = (*(f"- {each.strip()}" for each in gone), *(f"+ {each}" for each in added))
        return self._replace(
            lines=(*self.lines[:start], *added, *rest), shown=(*self.shown, *shown)
        )

    def kept(self, pattern: re.Pattern[str], ours: re.Pattern[str], added: str) -> File:
        """Return the file with `added` before the matching lines.

        The user's matching lines become comments; ours are removed.
        """
        found = self.found(pattern)
        others = [each for each in found if not ours.fullmatch(each.removesuffix("\r"))]
        lines = [commented(each) if each in others else each for each in self.lines]
        gone = [each for each in found if each not in others]
        at = min((self.lines.index(each) for each in found), default=len(self.lines))
        lines[at:at] = [added]
        shown = (*(f"- {each.strip()}" for each in found), f"+ {added}")
        left = tuple(each for each in lines if each not in gone)
        return self._replace(lines=left, shown=(*self.shown, *shown))

    def restored(
        self, pattern: re.Pattern[str], ours: re.Pattern[str], older: Sequence[str] = ()
    ) -> File:
        """Return the file without our lines and with the lines that became comments.

        Args:
            pattern: It matches the lines that became comments.
            ours: It matches our lines.
            older: Lines that an older version kept in the record instead.
        """
        after = self.changed(self.found(ours), older)
        back = [restored(each) for each in after.lines]
        lines = [
            new if pattern.fullmatch(new.removesuffix("\r")) else old
            for old, new in zip(after.lines, back, strict=True)
        ]
        returned = [new for old, new in zip(after.lines, lines, strict=True) if old != new]
        shown = (f"+ {each}" for each in returned)
        return after._replace(lines=tuple(lines), shown=(*after.shown, *shown))

    def exchanged(self, pattern: re.Pattern[str], added: Sequence[str] = ()) -> Change:
        """Return the change that puts `added` in the place of all lines that a pattern matches."""
        return self.changed(self.found(pattern), added).change()

    def change(self, shown: Sequence[str] | None = None) -> Change:
        """Return the change of the file to these lines. An empty file is removed.

        Args:
            shown: What the user sees instead of the edits.
        """
        shown = self.shown if shown is None else shown
        text = "".join(f"{line}\n" for line in self.lines)
        after = text.encode("utf-8", "surrogateescape") if text.strip() else None
        return Change(self.path, self.before, after if shown else self.before, tuple(shown))


def load(path: str) -> File:
    """Return a file's lines.

    Raises:
        SetupError: it cannot be read.
    """
    before = read(path)
    text = (before or b"").decode("utf-8", "surrogateescape")
    return File(path, before, tuple(text.removesuffix("\n").split("\n")) if text else ())


def program(name: str, unfit: str) -> str:
    """Return the absolute path of one of our programs, for a configuration that needs a path.

    Args:
        name: The program's name.
        unfit: A pattern for the characters that the configuration cannot hold.

    Raises:
        NotFoundError: the program is not on PATH.
        SetupError: its path has such a character.
    """
    found = os.path.abspath(find(name))
    if sys.platform == "win32":
        # A backslash is an escape in most of these files, and Windows accepts a slash, too.
        found = found.replace(os.sep, "/")
    if re.search(unfit, found):
        msg = f"the path {found!a} has a character that the configuration cannot hold"
        raise SetupError(msg, "install keylease in another directory")
    return found
