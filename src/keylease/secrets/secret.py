"""Bytes that never print, compare in constant time and can be wiped.

A `Secret` is not a `str` and not `bytes`: it has no text form, no pickle, no hash and no `==`.
`reveal` is the only way out, so `grep reveal` lists every place that reads a secret.

`keylease.secrets.memory` holds its bytes: locked, in no core dump, in no forked child.

NOTE: the interpreter and its libraries make copies that cannot be wiped. The promise covers only
the buffer of this class.
"""

from __future__ import annotations

import hmac
import os
from typing import TYPE_CHECKING, NoReturn, Self

from keylease.errors import StateError
from keylease.secrets.memory import allocate, fill_random, generation, secure_clear

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
        # A view refuses an `int` and a `str`; `bytearray(5)` would silently be five zeros.
        with memoryview(data) as source, source.cast("B") as given:
            self._take(allocate(len(given)))
            self._view[:] = given

    @classmethod
    def random(cls, length: int) -> Self:
        """Return `length` bytes of the system's random generator, without another copy.

        Raises:
            StateError: the generator failed; there is no fallback.
        """
        return cls.filled(length, fill_random)

    @classmethod
    def filled(cls, length: int, fill: Callable[[memoryview], object]) -> Self:
        """Return `length` bytes that `fill` writes straight into the secret's memory.

        Raises:
            Exception: any that `fill` raises.
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
        """Return a view of the bytes. Do not keep it: it shows zeros once the secret is wiped.

        Raises:
            ValueError: the secret was wiped, or a fork or the end of the process wiped all secrets.
                Zeros must never be used as a password or a key.
        """
        if self._wiped:
            msg = "the secret was wiped"
            raise ValueError(msg)
        if self._generation != generation():
            msg = "the secret was wiped with all others, by a fork or at the end of the process"
            raise ValueError(msg)
        return self._view[:]

    def matches(self, other: Secret) -> bool:
        """Compare in a time that does not depend on where the two differ.

        A wiped secret matches nothing, not even another wiped one.

        Raises:
            ValueError: a fork wiped both; see `reveal`.
        """
        if self._wiped or other._wiped:
            return False
        return hmac.compare_digest(self.reveal(), other.reveal())

    def wipe(self) -> None:
        """Overwrite the bytes with zeros. `reveal` refuses from then on."""
        self._wiped = True
        secure_clear(self._view)

    def __bool__(self) -> bool:
        """Return whether there is at least one byte."""
        return bool(self._view)

    def __enter__(self) -> Self:
        """Return the secret. The end of the block wipes it."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Wipe the secret, also after an exception."""
        self.wipe()

    # Bound as a default: at the interpreter's end a module can be cleared before its objects.
    def __del__(self, clear: Callable[[memoryview], None] = secure_clear) -> None:
        """Wipe an unwiped secret. Without `_view` the allocation failed: nothing to wipe."""
        if hasattr(self, "_view"):
            clear(self._view)

    def __repr__(self) -> str:
        """Show nothing, not even the length."""
        return "Secret(...)"

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        """Show nothing in an f-string either."""
        return repr(self)

    def _refuse(self, *_: object) -> NoReturn:
        """Refuse to copy a secret or to compare it in variable time."""
        msg = "a Secret cannot be copied or compared with ==; use matches() or reveal()"
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
    """Return `length` bytes of the system's random generator.

    Raises:
        StateError: the generator failed or gave fewer bytes; there is no fallback.
    """
    try:
        # NOTE: the module `secrets` does the same, but imports all of `random` first.
        value = os.urandom(length)
    except (OSError, NotImplementedError) as error:
        msg = f"the system's random generator gave no bytes: {error}"
        raise StateError(msg) from error
    if len(value) != length:
        msg = f"the system's random generator gave {len(value)} bytes, expected {length}"
        raise StateError(msg)
    return value
