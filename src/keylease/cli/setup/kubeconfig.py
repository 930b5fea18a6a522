"""Edit a kubeconfig as text: add the exec entry of one user, and remove it again.

It edits the block style that kubectl writes; every other line stays as it is, comments too.
`keylease.cli.setup.kubernetes` lets kubectl read the new text before it is written, so this module
need not judge its meaning.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

_USERS: Final = re.compile(r"users:[ \t]*(\[\]|null)?[ \t]*(#.*)?")
_DASH: Final = re.compile(r"( *)-( +)\S.*")
_FIELD: Final = re.compile(r"(?: *- +| *)(user|name|exec):[ \t]*(.*?)[ \t]*(?:#.*)?")
_LINE: Final = re.compile(r"[^\n]*\n|[^\n]+")
_STEP: Final = "  "
_NEW: Final = "apiVersion: v1\nkind: Config\n"


def with_exec(text: str, user: str, entry: Sequence[str]) -> str:
    """Return the text with this exec entry of the user. A missing user is added.

    Args:
        text: The kubeconfig, or an empty text.
        user: The user's name.
        entry: The lines of the entry, without indentation and line ends.
    """
    lines = _lines(text or _NEW)
    found = _item(lines, user)
    if found is None:
        return "".join(_with_item(lines, user, entry))
    start, end, indent = found
    at = _field(lines, start, end, "user")
    if at is None:
        return text
    inner = next((_indent(each) for each in lines[at + 1 : end] if _is_text(each)), "")
    inner = inner if len(inner) > len(indent) else indent + _STEP
    head = re.sub(r"(user:)[ \t]*(?:\{\}|null)", r"\1", lines[at])
    return "".join([*lines[:at], head, *_block(inner, "exec:", entry), *lines[at + 1 :]])


def without_exec(text: str, user: str, *, whole: bool) -> str:
    """Return the text without the user's exec entry; with `whole`, without the user."""
    lines = _lines(text)
    found = _item(lines, user)
    if found is None:
        return text
    start, end, _ = found
    if not whole:
        at = _field(lines, start, end, "exec")
        if at is None:
            return text
        start, end = at, _end_of_block(lines, at + 1, end, _indent(lines[at]))
    return "".join([*lines[:start], *lines[end:]])


def _lines(text: str) -> list[str]:
    lines = _LINE.findall(text)
    return [*lines[:-1], lines[-1] if lines[-1].endswith("\n") else f"{lines[-1]}\n"]


def _with_item(lines: list[str], user: str, entry: Sequence[str]) -> list[str]:
    """Return the lines with a new user at the end of the list."""
    at = _users(lines)
    if at is None:
        at, lines = len(lines), [*lines, "users:\n"]
    end = _end_of_block(lines, at + 1, len(lines), "")
    dashes = (_DASH.fullmatch(each.rstrip("\r\n")) for each in lines[at + 1 : end])
    indent = next((found[1] for found in dashes if found), "")
    head = re.sub(r"(users:)[ \t]*(?:\[\]|null)", r"\1", lines[at])
    # A JSON string is a YAML string, too.
    item = [f"{indent}- name: {json.dumps(user)}\n", f"{indent}{_STEP}user:\n"]
    item += _block(indent + 2 * _STEP, "exec:", entry)
    return [*lines[:at], head, *lines[at + 1 : end], *item, *lines[end:]]


def _block(indent: str, head: str, entry: Sequence[str]) -> list[str]:
    return [f"{indent}{head}\n", *(f"{indent}{_STEP}{each}\n" for each in entry)]


def _users(lines: Sequence[str]) -> int | None:
    found = (at for at, line in enumerate(lines) if _USERS.fullmatch(line.rstrip("\r\n")))
    return next(found, None)


def _item(lines: Sequence[str], user: str) -> tuple[int, int, str] | None:
    """Return the user's first line, the line after its last, and the indentation of its fields."""
    at = _users(lines)
    if at is None:
        return None
    end = _end_of_block(lines, at + 1, len(lines), "")
    dashes = [
        (at, found)
        for at in range(at + 1, end)
        if (found := _DASH.fullmatch(lines[at].rstrip("\r\n")))
    ]
    # A dash that is indented further than the first belongs to a list within an item.
    starts = [(at, found) for at, found in dashes if found[1] == dashes[0][1][1]]
    for number, (start, found) in enumerate(starts):
        after = starts[number + 1][0] if number + 1 < len(starts) else end
        field = _field(lines, start, after, "name")
        if field is not None and _name(lines[field]) == user:
            return start, after, found[1] + " " + found[2]
    return None


def _name(line: str) -> str:
    found = _FIELD.fullmatch(line.rstrip("\r\n"))
    text = found[2] if found else ""
    if text.startswith('"'):
        try:
            return str(json.loads(text))
        except ValueError:
            return ""
    return text.strip("'")


def _field(lines: Sequence[str], start: int, end: int, name: str) -> int | None:
    """Return the number of the line that has this field of an item."""
    found = (
        at
        for at in range(start, end)
        if (field := _FIELD.fullmatch(lines[at].rstrip("\r\n"))) and field[1] == name
    )
    return next(found, None)


def _end_of_block(lines: Sequence[str], at: int, end: int, indent: str) -> int:
    """Return the line after the block: its lines are indented further, or are items of a list."""
    last = at
    for number in range(at, end):
        line = lines[number]
        if not _is_text(line):
            continue
        deeper = len(_indent(line)) > len(indent)
        if not deeper and not (indent == "" and line.startswith("-")):
            break
        last = number + 1
    return last


def _indent(line: str) -> str:
    return line[: len(line) - len(line.lstrip(" "))]


def _is_text(line: str) -> bool:
    return bool(line.strip()) and not line.lstrip().startswith("#")
