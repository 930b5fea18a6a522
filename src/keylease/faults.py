"""Faults: unexpected exceptions, and what must happen in spite of them.

A library can raise what it does not document: an `AssertionError` of a parser, a `RecursionError`
for deep nesting, a `MemoryError`. `border` wraps each call of a library and turns any of these into
one refusal. `Steps` takes every step of an ending, even if an earlier one fails.

Only this module catches every exception. An interrupt (Ctrl-C, `SystemExit`) is no fault: it never
becomes a refusal, and `Steps` only delays it until the last step.
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
"""Exceptions that end a block on purpose. A panic of a Rust library is a `BaseException`, too."""

_PACKAGE: Final = os.path.join(os.path.dirname(os.path.abspath(__file__)), "")
# Made before memory runs out.
_NO_MEMORY: Final = InternalError("internal error: MemoryError")


def as_refusal(error: BaseException) -> KeyleaseError:
    """Return a fault as one of our errors. Return our own errors unchanged.

    Leave out the fault's own message, because it can repeat the library's input.
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
    """Return the last line of keylease's own code in the traceback."""
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
        refuse: Returns the refusal for any other exception, without that exception's message.
    """
    try:
        yield
    except (KeyleaseError, *INTERRUPTS):
        raise
    except BaseException as error:
        raise refuse(error) from error


class Steps:
    """The steps of an ending. The end of the `with` block raises a delayed interrupt.

    Args:
        failures: The list for failures; a new one if not given.
    """

    def __init__(self, failures: list[KeyleaseError] | None = None) -> None:
        self.failures: Final[list[KeyleaseError]] = [] if failures is None else failures
        """The failures in the order of the steps. If empty, nothing is left."""
        self._interrupt: BaseException | None = None

    @contextmanager
    def step(self, failures: list[KeyleaseError] | None = None) -> Iterator[None]:
        """Take one step. No exception in it prevents the next step.

        Args:
            failures: A separate list for this step's failure.
        """
        try:
            yield
        except INTERRUPTS as error:
            self._interrupt = self._interrupt or error
        except BaseException as error:  # noqa: BLE001 - no exception may stop an ending
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
        """Raise the delayed interrupt, if there is one, in place of any other exception."""
        if self._interrupt is not None:
            raise self._interrupt
