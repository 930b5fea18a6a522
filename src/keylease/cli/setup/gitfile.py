"""Edit one file of git's configuration as text: add our lines at its end, and remove them again.

Every other line stays as it is, comments too. `keylease.cli.setup.git` lets git read the new text
before it is written, so this module need not judge its meaning.
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
"""The value that setup writes, in every version and with any options."""
_SECTION: Final = re.compile(r"[ \t]*\[[ \t]*credential[ \t]*\][ \t]*(?:[#;].*)?", re.IGNORECASE)
_HEADER: Final = re.compile(r"[ \t]*\[.*")
_HELPER: Final = re.compile(r"[ \t]*helper[ \t]*=(.*)", re.IGNORECASE)
_EMPTIED: Final = "\0"
_LINE: Final = re.compile(r"[^\n]*\n|[^\n]+")
# git-config(1), "Syntax": a value with one of these needs quotes.
_SPECIAL: Final = re.compile(r"[\"\\#;]|^ | $")


def with_helper(text: str, value: str) -> str:
    """Return the text with a reset and this helper at its end."""
    lines = _LINE.findall(text)
    end = "\r\n" if lines and lines[-1].endswith("\r\n") else "\n"
    headers = [line for line in lines if _HEADER.fullmatch(line.rstrip("\r\n"))]
    if lines and not lines[-1].endswith("\n"):
        lines[-1] += end
    if not headers or not _SECTION.fullmatch(headers[-1].rstrip("\r\n")):
        lines.append(f"[credential]{end}")
    return "".join([*lines, f"\thelper ={end}", f"\thelper = {_quoted(value)}{end}"])


def without_helper(text: str) -> str:
    """Return the text without our helpers and without the reset before each."""
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
    """Return the values that setup wrote, with the reset before each, and all other values."""
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
    """Remove a reset at the end of the lines. Comments and blank lines may follow it."""
    for at in reversed(range(len(kept))):
        bare = kept[at].strip()
        if bare and bare[0] not in "#;":
            if _value(kept[at].rstrip("\r\n")) == RESET:
                del kept[at]
            return


def _leave(kept: list[str]) -> None:
    """Mark a header that lost its lines. It is removed, too, if no other line follows."""
    if kept and _SECTION.fullmatch(kept[-1].rstrip("\r\n")):
        kept.append(_EMPTIED)


def _without_empty(lines: Sequence[str]) -> list[str]:
    """Return the lines without the headers of sections that are now empty."""
    kept: list[str] = []
    for at, line in enumerate(lines):
        if line != _EMPTIED:
            kept.append(line)
        elif at + 1 == len(lines) or _HEADER.fullmatch(lines[at + 1].rstrip("\r\n")):
            kept.pop()
    return kept


def _value(line: str) -> str | None:
    """Return the helper that a line names; `None` for any other line and for a continued one."""
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
