"""One file of git's configuration as text: our lines put in at its end, and taken out again.

Every other line stays as it is, comments too. What the edited text means is not judged here: git
reads it before it is written (`keylease.cli.setup.git`).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

RESET: Final = ""
"""The value that makes git forget the helpers named before it."""
OURS: Final = re.compile(
    r"(?:(?:[^\s\\]|\\.)*[/\\])?(?:git-credential-)?keylease(?:\.exe)?(?: .*)?", re.DOTALL
)
"""What setup writes, in every version and with any options."""
_SECTION: Final = re.compile(r"[ \t]*\[[ \t]*credential[ \t]*\][ \t]*(?:[#;].*)?", re.IGNORECASE)
_HEADER: Final = re.compile(r"[ \t]*\[.*")
_HELPER: Final = re.compile(r"[ \t]*helper[ \t]*=(.*)", re.IGNORECASE)
# git-config(1), "Syntax": these have a meaning of their own in a value.
_EMPTIED: Final = "\0"
_LINE: Final = re.compile(r"[^\n]*\n|[^\n]+")
_SPECIAL: Final = re.compile(r"[\"\\#;]|^ | $")


def with_helper(text: str, value: str) -> str:
    """Return the text with a reset and this helper behind everything else."""
    lines = _LINE.findall(text)
    end = "\r\n" if lines and lines[-1].endswith("\r\n") else "\n"
    headers = [line for line in lines if _HEADER.fullmatch(line.rstrip("\r\n"))]
    if lines and not lines[-1].endswith("\n"):
        lines[-1] += end
    if not headers or not _SECTION.fullmatch(headers[-1].rstrip("\r\n")):
        lines.append(f"[credential]{end}")
    return "".join([*lines, f"\thelper ={end}", f"\thelper = {_quoted(value)}{end}"])


def without_helper(text: str) -> str:
    """Return the text without our helpers, and without the reset right before each."""
    kept: list[str] = []
    inside = False
    for line in _LINE.findall(text):
        bare = line.rstrip("\r\n")
        if _HEADER.fullmatch(bare):
            inside = _SECTION.fullmatch(bare) is not None
        if inside and (value := _value(bare)) is not None and OURS.fullmatch(value):
            _remove_reset(kept)
            _leave(kept)
        else:
            kept.append(line)
    return "".join(_without_empty(kept))


def split(values: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return what setup wrote, each line with the reset before it, and what is not ours."""
    written: list[str] = []
    kept: list[str] = []
    for value in values:
        if not OURS.fullmatch(value):
            kept.append(value)
        elif kept[-1:] == [RESET]:
            written += [kept.pop(), value]
        else:
            written.append(value)
    return written, kept


def _remove_reset(kept: list[str]) -> None:
    """Remove the reset that the last lines end with, apart from comments and blank lines."""
    for at in reversed(range(len(kept))):
        bare = kept[at].strip()
        if bare and bare[0] not in "#;":
            if _value(kept[at].rstrip("\r\n")) == RESET:
                del kept[at]
            return


def _leave(kept: list[str]) -> None:
    """Mark a header whose lines are taken out: if nothing else follows, it goes, too."""
    if kept and _SECTION.fullmatch(kept[-1].rstrip("\r\n")):
        kept.append(_EMPTIED)


def _without_empty(lines: Sequence[str]) -> list[str]:
    """Return the lines without the headers below which nothing is left."""
    kept: list[str] = []
    for at, line in enumerate(lines):
        if line != _EMPTIED:
            kept.append(line)
        elif at + 1 == len(lines) or _HEADER.fullmatch(lines[at + 1].rstrip("\r\n")):
            kept.pop()
    return kept


def _value(line: str) -> str | None:
    """Return the helper that a line names; `None` if it is no such line, or one that goes on."""
    found = _HELPER.fullmatch(line)
    if found is None:
        return None
    text = found[1].strip()
    if len(text) > 1 and text.startswith('"') and text.endswith('"'):
        text = text[1:-1]
    elif "\\" in text or '"' in text:
        return None
    return re.sub(r"\\([\\\"])", r"\1", text)


def _quoted(value: str) -> str:
    if not _SPECIAL.search(value):
        return value
    return '"' + re.sub(r"[\"\\]", r"\\\g<0>", value) + '"'
