"""Build HTML out of names that come from anywhere.

Safe by construction: whatever is not `Markup` already is text, and is escaped where it is put in.
Nothing else in the package writes a `<`.
"""

from __future__ import annotations

import html
from typing import Final

from keylease.errors import is_visible, printable

_VOID: Final = frozenset({"meta", "br", "wbr"})
_LONGEST: Final = 96
_HEAD, _TAIL = 56, 28
"""What is kept of a longer name: its end tells it from another one's as its beginning does."""


class Markup(str):
    """HTML. Only this module makes it."""

    __slots__ = ()


def tag(name: str, /, *inside: str, **attributes: str | float | None) -> Markup:
    """Return one element.

    Args:
        name: Of the element.
        inside: Its children in order: `Markup` as it is, other text escaped.
        attributes: By name; `_` stands for `-`, one at the end is dropped, `None` leaves it out.
    """
    said = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{html.escape(str(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    if name in _VOID:
        return Markup(f"<{name}{said}>")
    return Markup(f"<{name}{said}>{join(*inside)}</{name}>")


def join(*parts: str) -> Markup:
    """Return the parts one after the other, escaped if they are no `Markup`."""
    return Markup("".join(part if isinstance(part, Markup) else _escape(part) for part in parts))


def verbatim(text: str) -> Markup:
    """Return text of this program that is HTML or CSS already: never anything that was read."""
    return Markup(text)


def name(text: str | None) -> Markup:
    """Return a name as it can be read: what cannot be seen made visible, the middle of a long one
    left out, and apart from the text around it whichever way its letters run.
    """  # noqa: D205 - the sentence is longer than a line
    if text is None:
        return tag("span", "none", class_="none")
    if not text:
        return tag("span", "empty", class_="none")
    if len(text) <= _LONGEST:
        return tag("bdi", _visible(text))
    cut = tag("span", f"… {len(text):,} characters …", class_="escape")
    return tag("bdi", _visible(text[:_HEAD]), " ", cut, " ", _visible(text[-_TAIL:]))


def _visible(text: str) -> Markup:
    """Return the text with each character that has no shape, or turns the others, in words."""
    return join(*(c if is_visible(c) else tag("span", printable(c), class_="escape") for c in text))


def _escape(text: str) -> str:
    # What is left of bytes that are not UTF-8 could not be written into the file.
    return html.escape("".join(c if is_visible(c) or c == "\n" else printable(c) for c in text))
