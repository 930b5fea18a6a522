"""The part of a sample that this run tries: `KEYLEASE_CI_SHARE=1/2` takes every second one.

CI runs the tests twice, as root and as an ordinary user. Both run every test whose result may
depend on the user. A numbered sample, such as random damage or the calls at which a command is
killed, is divided, so the two runs together try all of it. Without the variable a run tries all.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterable

T = TypeVar("T")

VARIABLE = "KEYLEASE_CI_SHARE"


def part_of(sample: Iterable[T]) -> list[T]:
    """Return the part of the sample that this run tries: all of it, unless CI divides it.

    Raises:
        ValueError: the variable names no part; the run must not try nothing and pass.
    """
    said = os.environ.get(VARIABLE, "1/1")
    found = re.fullmatch(r"([1-9])/([1-9])", said)
    number, parts = map(int, found.groups()) if found else (1, 0)
    if number > parts:
        msg = f"{VARIABLE} is {said!r}; write 1/2 for the first of two parts"
        raise ValueError(msg)
    return list(sample)[number - 1 :: parts]
