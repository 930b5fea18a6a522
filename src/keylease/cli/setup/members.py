"""Edit JSON as text: set or remove one member of an object.

Everything else stays as it was typed: the indentation, the numbers, a key that occurs twice.
"""

from __future__ import annotations

import json
import re
from json.decoder import JSONDecoder
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_BLANK: Final = re.compile(r"[ \t\r\n]*")
_DECODER: Final = JSONDecoder(strict=False)


class _Member(NamedTuple):
    """The position of one member of an object in the text."""

    name: str
    start: int
    value: int
    end: int


def put(text: str, path: Sequence[str], value: object) -> str:
    """Return the text with this value at the path. Missing objects on the way are made.

    Args:
        text: JSON whose outermost value is an object.
        path: The names of the members that lead there, the outermost first.
        value: The new value.
    """
    name, *rest = path
    opening, members = _object(text)
    found = [each for each in members if each.name == name]
    if found and rest and text[found[-1].value] == "{":
        at = found[-1]
        return text[: at.value] + put(text[at.value : at.end], rest, value) + text[at.end :]
    for each in reversed(rest):
        value = {each: value}
    if found:
        # If a name occurs twice, the last one counts.
        at = found[-1]
        return text[: at.value] + json.dumps(value) + text[at.end :]
    # Indent like the next member, or as docker does.
    gap = text[opening : members[0].start] if members else "\n\t"
    after = "," if members else "\n"
    entry = f"{gap}{json.dumps(name)}: {json.dumps(value)}{after}"
    return text[:opening] + entry + text[opening:].lstrip("" if members else " \t\r\n")


def take(text: str, path: Sequence[str]) -> str:
    """Return the text without the member at the path, which must exist."""
    name, *rest = path
    opening, members = _object(text)
    if rest:
        at = next(each for each in reversed(members) if each.name == name)
        return text[: at.value] + take(text[at.value : at.end], rest) + text[at.end :]
    kept = [each for each in members if each.name != name]
    if not kept:
        return text[:opening] + text[members[-1].end :].lstrip()
    for number in reversed(range(len(members))):
        at = members[number]
        if at.name != name:
            continue
        if number + 1 < len(members):
            text = text[: at.start] + text[members[number + 1].start :]
        else:
            # The last member is removed with the comma before it.
            text = text[: members[number - 1].end] + text[at.end :]
            members.pop()
    return text


def _object(text: str) -> tuple[int, list[_Member]]:
    """Return the position after the opening brace of an object, and its members."""
    opening = text.index("{") + 1
    return opening, list(_members(text, opening))


def _members(text: str, at: int) -> Iterator[_Member]:
    at = _past_blanks(text, at)
    while text[at] != "}":
        start = at
        name, at = _DECODER.raw_decode(text, at)
        value = _past_blanks(text, _past_blanks(text, at) + 1)
        _, end = _DECODER.raw_decode(text, value)
        yield _Member(name, start, value, end)
        at = _past_blanks(text, end)
        if text[at] == ",":
            at = _past_blanks(text, at + 1)


def _past_blanks(text: str, at: int) -> int:
    found = _BLANK.match(text, at)
    return found.end() if found else at
