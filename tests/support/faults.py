"""Faults at every call: objects that raise at the call of a chosen number, and count them."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import pytest

from keylease.errors import StateError

KINDS: tuple[Callable[[], BaseException], ...] = (
    AssertionError,
    RecursionError,
    MemoryError,
    lambda: OSError(5, "Input/output error"),
    lambda: StateError("a fault of the test"),
    KeyboardInterrupt,
)
"""What is raised, one of each kind: a parser's, the interpreter's, the system's, ours, Ctrl-C."""


class Faults:
    """Counts calls, and raises at one of them.

    Args:
        number: At which call, from 0; never if it is negative.
        make: Makes what is raised.
        lasting: Whether every later call raises, too, as where memory or a disk is gone for good.
    """

    def __init__(
        self, number: int, make: Callable[[], BaseException], *, lasting: bool = False
    ) -> None:
        self.count = 0
        self.names: list[str] = []
        """What was called, in order."""
        self._number = number
        self._make = make
        self._lasting = lasting

    @property
    def raised(self) -> bool:
        """Whether it came to the call at which it raises."""
        return 0 <= self._number < self.count

    def call(self, name: str) -> None:
        """Count one call; raise if it is the one."""
        number, self.count = self.count, self.count + 1
        self.names.append(name)
        if number == self._number or (self._lasting and 0 <= self._number < number):
            raise self._make()


@contextmanager
def injected(
    patch: pytest.MonkeyPatch, faults: Faults, collaborators: dict[Any, tuple[str, ...]]
) -> Iterator[None]:
    """Put the faults before the named methods of classes or objects, as long as the block lasts."""
    with patch.context() as inside:
        for owner, names in collaborators.items():
            for name in names:
                inside.setattr(owner, name, _counted(getattr(owner, name), name, faults))
        yield


def _counted(method: Callable[..., Any], name: str, faults: Faults) -> Callable[..., Any]:
    def counted(*args: Any, **kwargs: Any) -> Any:
        faults.call(name)
        return method(*args, **kwargs)

    return counted
