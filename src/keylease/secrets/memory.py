"""Memory for secrets: not swapped, not dumped, empty in a forked child, zeros before its reuse.

`allocate` hands out slots of private anonymous mappings. A slot is reused only after its last view
is gone, so a view never shows another secret. If the system refuses mlock(2) or madvise(2), the
memory is used all the same and `protection` reports it: a helper that does not answer would make
people put their passwords into a plain file.

NOTE: a program that may trace this process may still read this memory.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import sys
from _thread import allocate_lock
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from keylease.errors import StateError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

PAGE: Final = mmap.PAGESIZE
_CHUNK: Final = 8 * PAGE
"""Bytes of one mapping for small slots. It fits the lowest usual mlock limit, 64 KiB."""
_SMALLEST: Final = 64

# Bytes that glibc's copying functions hold in registers at once (memmove-vec-unaligned).
_REGISTERS: Final = 256

# linux/mman.h, the same on every architecture; the module `mmap` names only some of them.
_MADV_DONTDUMP: Final = 16
_MADV_WIPEONFORK: Final = 18
# getentropy(3): the maximum for one call.
_ENTROPY_BYTES: Final = 256
# bcrypt.h
_BCRYPT_USE_SYSTEM_PREFERRED_RNG: Final = 2


class Protection(NamedTuple):
    """How the system protects the memory that was allocated so far."""

    locked: bool = True
    """It is never written to a swap file."""
    undumped: bool = True
    """It is in no core dump."""
    wiped_on_fork: bool = True
    """A child finds zeros after any fork. If false, only after a fork by Python itself."""
    reason: str = ""
    """Why the memory is not locked."""


def _overwrite(
    address: int,
    size: int,
    # Bound as defaults: at the interpreter's end a module can be cleared before its objects.
    fill: Callable[[int, int, int], object] = ctypes.memset,
    move: Callable[[int, bytes, int], object] = ctypes.memmove,
    zeros: bytes = bytes(_REGISTERS),
) -> None:
    """Overwrite memory and the processor's wide registers, which copied its content.

    The registers keep the content until their next use. The dynamic linker writes them to the stack
    at the first call of any function (a memory scan found it there). Copying zeros through the
    registers clears them.
    """
    fill(address, 0, size)
    move(address, zeros, min(size, len(zeros)))


class _Arena:
    """The mappings of one process. A forked child starts a new one."""

    def __init__(self) -> None:
        self.protection = Protection()
        # For what takes more than one step. The collector, which can interrupt any line with the
        # end of a slot, never takes it.
        self._mapping = allocate_lock()
        self._pages: list[tuple[mmap.mmap, int]] = []
        self.free: dict[int, list[tuple[mmap.mmap, int]]] = {}
        self.kinds: dict[int, Any] = {}
        self._mapped: dict[int, int] = {}

    def clear(self) -> None:
        """Overwrite everything, including memory that still has views."""
        for address, size in list(self._mapped.items()):
            _overwrite(address, size)

    def split(self, room: int, free: list[tuple[mmap.mmap, int]]) -> tuple[mmap.mmap, int]:
        """Return one slot of an unused page; the rest of the page becomes free."""
        try:
            mapping, page = self._pages.pop()
        except IndexError:
            mapping, page = self.map(_CHUNK), 0
            self._pages.extend((mapping, offset) for offset in range(PAGE, _CHUNK, PAGE))
        free.extend((mapping, offset) for offset in range(page + room, page + PAGE, room))
        return mapping, page

    def map(self, size: int) -> mmap.mmap:
        """Return a new mapping of at least `size` bytes, protected as far as the system allows."""
        size = -(-size // PAGE) * PAGE
        mapping = _anonymous(size)
        address = ctypes.addressof(ctypes.c_char.from_buffer(mapping))
        got = _protect(mapping, address, size)
        with self._mapping:
            known = self.protection
            self.protection = Protection(
                known.locked and got.locked,
                known.undumped and got.undumped,
                known.wiped_on_fork and got.wiped_on_fork,
                known.reason or got.reason,
            )
        self._mapped[address] = size
        return mapping

    def forget(self, address: int) -> None:
        """Drop a mapping that had only one slot; the system takes it back."""
        self._mapped.pop(address, None)

    def kind(self, room: int) -> Any:  # noqa: ANN401 - a type that is made at run time
        """Return a new type for slots of that size. Its `__del__` clears the slot."""
        body = {"_type_": ctypes.c_ubyte, "_length_": room, "__del__": _release}
        return self.kinds.setdefault(room, type("Slot", (ctypes.Array,), body))


def _release(
    slot: Any,  # noqa: ANN401 - a type that is made at run time
    # Bound here, as above.
    address_of: Callable[[Any], int] = ctypes.addressof,
    overwrite: Callable[[int, int], None] = _overwrite,
) -> None:
    """Overwrite a slot that has no view left, and keep it for reuse."""
    address = address_of(slot)
    overwrite(address, len(slot))
    arena, mapping, offset, home = slot.place
    if home is None:
        arena.forget(address)
    else:
        home.append((mapping, offset))


_arena = _Arena()
_generation = 0


def allocate(size: int) -> memoryview:
    """Return a view of `size` zeros to write a secret to. The caller clears them after use.

    `protection` returns how far the system protects them. They are also cleared when their last
    view is gone.

    Raises:
        MemoryError: the system has no memory left.
        ValueError: the size is negative.
    """
    if size < 0:
        msg = f"{size} bytes of memory, expected none or more"
        raise ValueError(msg)
    arena = _arena
    room = max(_SMALLEST, 1 << (size - 1).bit_length()) if size else _SMALLEST
    home: list[tuple[mmap.mmap, int]] | None = None
    if room > PAGE:
        mapping, offset = arena.map(room), 0
    else:
        # list.pop and list.append are atomic for threads and for the garbage collector.
        home = arena.free.setdefault(room, [])
        try:
            mapping, offset = home.pop()
        except IndexError:
            mapping, offset = arena.split(room, home)
    slot = (arena.kinds.get(room) or arena.kind(room)).from_buffer(mapping, offset)
    slot.place = (arena, mapping, offset, home)
    return memoryview(slot).cast("B")[:size]


def joined(parts: Sequence[bytes | memoryview]) -> memoryview:
    """Return the parts joined, in new locked memory. The caller clears it.

    Raises:
        MemoryError: the system has no memory left.
    """
    whole, at = allocate(sum(map(len, parts))), 0
    for part in parts:
        whole[at : at + len(part)] = part
        at += len(part)
    return whole


def secure_clear(
    buffer: bytearray | memoryview,
    *,
    # Bound here, as above.
    _first: type[ctypes.c_char] = ctypes.c_char,
    _address_of: Callable[[ctypes.c_char], int] = ctypes.addressof,
    _overwrite: Callable[[int, int], None] = _overwrite,
) -> None:
    """Overwrite `buffer` with zeros, in place, by a call that no compiler removes.

    It still works after the interpreter cleared this module at its end.

    NOTE: this clears only the current memory. A `bytearray` that was resized may have left copies.

    Raises:
        TypeError: the buffer is read-only or not contiguous.

    New in version 0.1.0.
    """
    with memoryview(buffer) as view:
        if view.nbytes:
            _overwrite(_address_of(_first.from_buffer(view)), view.nbytes)


def clear_all() -> None:
    """Overwrite every secret of this process. `Secret.reveal` refuses from then on."""
    global _generation  # noqa: PLW0603 - there is one memory to a process
    _generation += 1
    _arena.clear()


def generation() -> int:
    """Return a number that changes each time every secret was overwritten, as by a fork."""
    return _generation


def protection() -> Protection:
    """Return how the system protects the memory of secrets; allocate a byte to find out."""
    allocate(1)
    return _arena.protection


def fill_random(buffer: memoryview) -> None:
    """Fill `buffer` from the system's random generator, without a copy elsewhere.

    Raises:
        StateError: the generator failed; there is no fallback.
    """
    for start in range(0, len(buffer), _ENTROPY_BYTES):
        part = buffer[start : start + _ENTROPY_BYTES]
        try:
            _fill_random(part)
        except (OSError, NotImplementedError) as error:
            msg = f"the system's random generator gave no bytes: {error}"
            raise StateError(msg) from error


def _renew_after_fork() -> None:
    """Use new memory in a forked child, because a child does not inherit memory locks."""
    global _arena  # noqa: PLW0603 - there is one memory to a process
    if not _arena.protection.wiped_on_fork:
        _arena.clear()
    _arena = _Arena()
    clear_all()


if sys.platform == "win32":
    _kernel32 = ctypes.WinDLL("kernel32", use_last_error=True)
    _kernel32.VirtualLock.argtypes = (ctypes.c_void_p, ctypes.c_size_t)

    def _anonymous(size: int) -> mmap.mmap:
        return mmap.mmap(-1, size)

    def _protect(mapping: mmap.mmap, address: int, size: int) -> Protection:
        """Lock it. Windows has no forks, and a full dump of a process contains everything."""
        del mapping
        if _kernel32.VirtualLock(address, size):
            return Protection(undumped=False)
        reason = ctypes.FormatError(ctypes.get_last_error()).strip()
        return Protection(locked=False, undumped=False, reason=reason)

    def _fill_random(buffer: memoryview) -> None:
        address = ctypes.c_void_p(ctypes.addressof(ctypes.c_char.from_buffer(buffer)))
        bcrypt = ctypes.WinDLL("bcrypt")
        status = bcrypt.BCryptGenRandom(
            None, address, len(buffer), _BCRYPT_USE_SYSTEM_PREFERRED_RNG
        )
        if status:
            raise OSError(status, "BCryptGenRandom failed")

else:
    _libc = ctypes.CDLL(None, use_errno=True)
    _libc.mlock.argtypes = (ctypes.c_void_p, ctypes.c_size_t)

    def _anonymous(size: int) -> mmap.mmap:
        try:
            return mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        except OSError:
            raise MemoryError from None

    def _protect(mapping: mmap.mmap, address: int, size: int) -> Protection:
        undumped, wiped = (_advise(mapping, each) for each in (_MADV_DONTDUMP, _MADV_WIPEONFORK))
        if _libc.mlock(address, size) == 0:
            return Protection(undumped=undumped, wiped_on_fork=wiped)
        reason = os.strerror(ctypes.get_errno())
        return Protection(locked=False, undumped=undumped, wiped_on_fork=wiped, reason=reason)

    def _advise(mapping: mmap.mmap, advice: int) -> bool:
        """Return whether the kernel takes the advice. MADV_WIPEONFORK needs Linux 4.14."""
        if sys.platform != "linux":
            return False
        try:
            mapping.madvise(advice)
        except OSError:
            return False
        return True

    def _fill_random(buffer: memoryview) -> None:
        # getentropy(3): glibc 2.25, musl 1.1.20, macOS 10.12.
        fill = getattr(_libc, "getentropy", None)
        if fill is None:
            buffer[:] = os.urandom(len(buffer))
            return
        address = ctypes.c_void_p(ctypes.addressof(ctypes.c_char.from_buffer(buffer)))
        if fill(address, ctypes.c_size_t(len(buffer))) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))

    os.register_at_fork(after_in_child=_renew_after_fork)
