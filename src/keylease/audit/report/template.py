"""Fill the templates of the report with untrusted names.

Jinja2 escapes everything that is not markup of a template. Before that, misleading characters are
made visible: control characters, and characters that change the direction of writing.
"""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING, Final

from jinja2 import Environment, PackageLoader, StrictUndefined

from keylease.errors import is_visible, printable

if TYPE_CHECKING:
    from collections.abc import Iterator


def _finalize(value: object) -> object:
    """Return text with invisible characters made visible; markup of a macro unchanged."""
    # NOTE: not `isinstance`, because Markup is a subclass of `str` and must stay unchanged.
    return printable(value) if type(value) is str else value


def _runs(text: str) -> Iterator[tuple[bool, str]]:
    """Yield the parts of a name, and whether each is visible; invisible characters one by one."""
    for visible, characters in groupby(text, is_visible):
        if visible:
            yield True, "".join(characters)
        else:
            yield from ((False, character) for character in characters)


def _readable_time(time: str) -> str:
    """Return a time for people: date, hours, minutes and seconds."""
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
