"""Bytes that never print, compare in constant time and can be wiped.

A `Secret` is not a `str` and not `bytes`: it has no text form, no pickle, no hash and no `==`.
`reveal` is the one way out, so `grep reveal` lists every place that a secret passes.

Its bytes are where `keylease.secrets.memory` has them: locked, in no core dump, in no forked child.

NOTE: the interpreter and the libraries below make copies that nobody can wipe. What is promised
is only that the buffer owned here is overwritten.
"""

from __future__ import annotations

import hmac
import os
from typing import TYPE_CHECKING, NoReturn, Self

from keylease.errors import StateError
from keylease.secrets.memory import allocate, clear, fill_random, generation, secure_clear

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType


class Secret:
    """A secret in a buffer of its own.

    Args:
        data: The secret's bytes; they are copied, and the caller keeps (and wipes) its own.

    New in version 0.1.0.
    """

    __slots__ = ("_generation", "_view", "_wiped")

    def __init__(self, data: bytes | bytearray | memoryview) -> None:
        # By way of a view, which neither an `int` nor a `str` has: `bytearray(5)` is five zeros.
        with memoryview(data) as source, source.cast("B") as given:
            self._take(allocate(len(given)))
            self._view[:] = given

    @classmethod
    def random(cls, length: int) -> Self:
        """Return `length` bytes of the system's generator, which were nowhere else.

        Raises:
            StateError: it gave none; there is no second source.
        """
        return cls.filled(length, fill_random)

    @classmethod
    def filled(cls, length: int, fill: Callable[[memoryview], object]) -> Self:
        """Return `length` bytes that `fill` writes to where they stay.

        Raises:
            Exception: whatever `fill` raises.
        """
        secret = cls.__new__(cls)
        secret._take(allocate(length))  # noqa: SLF001 - its own class
        fill(secret.reveal())
        return secret

    def _take(self, view: memoryview) -> None:
        self._view = view
        self._wiped = False
        self._generation = generation()

    def reveal(self) -> memoryview:
        """Return a view of the bytes: zeros once the secret is wiped or gone, so do not keep it.

        Raises:
            ValueError: it was wiped, or every secret was, because this process is a fork of the one
                that had them. Zeros are taken for no password and for no key.
        """
        if self._wiped:
            msg = "a secret that was wiped"
            raise ValueError(msg)
        if self._generation != generation():
            msg = "a secret that was overwritten with all others: by a fork, or at the end"
            raise ValueError(msg)
        return self._view[:]

    def matches(self, other: Secret) -> bool:
        """Compare in a time that does not depend on where the two differ.

        What was wiped matches nothing: two that are gone are not the same.

        Raises:
            ValueError: both are there no more by a fork, as `reveal`.
        """
        if self._wiped or other._wiped:
            return False
        return hmac.compare_digest(self.reveal(), other.reveal())

    def wipe(self) -> None:
        """Overwrite the bytes with zeros. The secret is empty of meaning afterwards."""
        self._wiped = True
        secure_clear(self._view)

    def __bool__(self) -> bool:
        """Return whether there is at least one byte."""
        return bool(self._view)

    def __enter__(self) -> Self:
        """Return the secret; it is wiped when the block is left."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Wipe, whatever happened."""
        self.wipe()

    # Bound here: when the interpreter ends, a module can be empty before its objects go.
    def __del__(self, clear: Callable[[memoryview], None] = clear) -> None:
        """Wipe what nobody wiped; what got no memory has nothing to wipe."""
        if hasattr(self, "_view"):
            clear(self._view)

    def __repr__(self) -> str:
        """Say nothing, not even the length."""
        return "Secret(...)"

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        """Say nothing in an f-string either."""
        return repr(self)

    def _refuse(self, *_: object) -> NoReturn:
        """Refuse what would copy a secret or compare it carelessly."""
        msg = "a Secret is compared with matches() and read with reveal(); it is never copied"
        raise TypeError(msg)

    __eq__ = _refuse
    __ne__ = _refuse
    __hash__ = None  # type: ignore[assignment]
    __copy__ = _refuse
    __deepcopy__ = _refuse
    __reduce_ex__ = _refuse
    __reduce__ = _refuse
    __getstate__ = _refuse


def random_bytes(length: int) -> bytes:
    """Return `length` bytes of the system's generator.

    Raises:
        StateError: it gave none, or fewer; there is no second source.
    """
    try:
        # NOTE: not `secrets`, which does the same after importing the whole of `random`.
        value = os.urandom(length)
    except (OSError, NotImplementedError) as error:
        msg = f"the system's random generator gave no bytes: {error}"
        raise StateError(msg) from error
    if len(value) != length:
        msg = f"the system's random generator gave {len(value)} bytes, expected {length}"
        raise StateError(msg)
    return value
