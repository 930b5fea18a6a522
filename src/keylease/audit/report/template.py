"""Fill in the templates of the report with names that come from anywhere.

Jinja2 escapes whatever is not markup of a template already. What a terminal or a reader could be
misled by is made visible first: control characters, and those that turn the direction of writing.
"""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING, Final

from jinja2 import Environment, PackageLoader, StrictUndefined

from keylease.errors import is_visible, printable

if TYPE_CHECKING:
    from collections.abc import Iterator


def _finalize(value: object) -> object:
    """Return text with what cannot be seen made visible; the markup of a macro as it is."""
    # NOTE: not `isinstance`. Markup is a `str` too, and it alone is not escaped afterwards.
    return printable(value) if type(value) is str else value


def _runs(text: str) -> Iterator[tuple[bool, str]]:
    """Yield the parts of a name, and whether each can be seen; what cannot comes one by one."""
    for visible, characters in groupby(text, is_visible):
        if visible:
            yield True, "".join(characters)
        else:
            yield from ((False, character) for character in characters)


def _readable_time(time: str) -> str:
    """Return a time as people read it: date, hours, minutes and seconds."""
    return f"{time[:10]} {time[11:19]}"


ENVIRONMENT: Final = Environment(
    loader=PackageLoader("keylease.audit.report", "templates"),
    autoescape=True,
    finalize=_finalize,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
ENVIRONMENT.filters |= {
    "number": "{:,}".format,
    "percent": "{:.3f}%".format,
    "runs": _runs,
    "time": _readable_time,
}
