"""Faults at every call: methods that count their calls and raise at a chosen one."""

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
"""One error of each kind: a parser's, the interpreter's, the system's, ours, Ctrl-C."""


class Faults:
    """Counts calls, and raises at one of them.

    Args:
        number: The call that raises, from 0; none if negative.
        make: Makes the error.
        lasting: Whether every later call raises too, as if memory or disk stayed exhausted.
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
        """Whether the chosen call happened."""
        return 0 <= self._number < self.count

    def call(self, name: str) -> None:
        """Count a call, and raise if it is the chosen one."""
        number, self.count = self.count, self.count + 1
        self.names.append(name)
        if number == self._number or (self._lasting and 0 <= self._number < number):
            raise self._make()


@contextmanager
def injected(
    patch: pytest.MonkeyPatch, faults: Faults, collaborators: dict[Any, tuple[str, ...]]
) -> Iterator[None]:
    """Inject the faults before the named methods while the block runs."""
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
