"""Faults: exceptions that nobody foresaw, and what must happen in spite of them.

A library can raise what it does not document: an `AssertionError` of a parser, a `RecursionError`
for deep nesting, a `MemoryError`. `border` stands around each call of a library and turns all of
that into one refusal. `Steps` takes every step of an ending, whatever became of the one before it.

These are the only places that catch everything. An interrupt (Ctrl-C, a way out) is no fault: it
is never turned into a refusal, only held back until the last step was taken.
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, Self

from keylease.errors import InternalError, KeyleaseError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import TracebackType

INTERRUPTS: Final = (KeyboardInterrupt, SystemExit, GeneratorExit)
"""What ends a block on purpose. A panic of a library written in Rust is a `BaseException`, too."""

_PACKAGE: Final = os.path.join(os.path.dirname(os.path.abspath(__file__)), "")
# Made before memory runs out.
_NO_MEMORY: Final = InternalError("internal error: MemoryError")


def as_refusal(error: BaseException) -> KeyleaseError:
    """Return a fault as one of our errors; what is one already stays as it is.

    The fault's own message is left out, because it can repeat what the library was given.
    """
    if isinstance(error, KeyleaseError):
        return error
    try:
        ours = InternalError(f"internal error: {type(error).__name__}{_place(error)}")
    except MemoryError:
        return _NO_MEMORY
    ours.__cause__ = error
    return ours


def _place(error: BaseException) -> str:
    """Return the last line of keylease's own code that the fault came through."""
    place = ""
    traceback = error.__traceback__
    while traceback is not None:
        name = traceback.tb_frame.f_code.co_filename
        if name.startswith(_PACKAGE) and name != __file__:
            place = f" at {name.removeprefix(_PACKAGE)}:{traceback.tb_lineno}"
        traceback = traceback.tb_next
    return place


@contextmanager
def border(refuse: Callable[[BaseException], KeyleaseError] = as_refusal) -> Iterator[None]:
    """Let only our own errors and interrupts leave the block.

    Args:
        refuse: Returns the refusal for any other exception. It does not repeat its message.
    """
    try:
        yield
    except (KeyleaseError, *INTERRUPTS):
        raise
    except BaseException as error:
        raise refuse(error) from error


class Steps:
    """The steps of an ending. Leaving the `with` block raises an interrupt that was held back.

    Args:
        failures: Where the failures go; a new list if not given.
    """

    def __init__(self, failures: list[KeyleaseError] | None = None) -> None:
        self.failures: Final[list[KeyleaseError]] = [] if failures is None else failures
        """Why something remains, in the order of the steps; empty if nothing does."""
        self._interrupt: BaseException | None = None

    @contextmanager
    def step(self, failures: list[KeyleaseError] | None = None) -> Iterator[None]:
        """Take one step. Nothing that it raises keeps the next step from being taken.

        Args:
            failures: Where this step's failure goes, if not to the others.
        """
        try:
            yield
        except INTERRUPTS as error:
            self._interrupt = self._interrupt or error
        except BaseException as error:  # noqa: BLE001 - an ending is held up by no exception
            (self.failures if failures is None else failures).append(as_refusal(error))

    def demand(self) -> None:
        """Raise the first failure, if there was one."""
        for failure in self.failures:
            raise failure

    def __enter__(self) -> Self:
        """Return the steps."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Raise the interrupt that was held back, in the place of whatever is being raised."""
        if self._interrupt is not None:
            raise self._interrupt
