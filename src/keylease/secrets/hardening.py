"""What a process that handles secrets shuts before it has one, and leaves when it ends.

Every step is best effort: one that the system refuses is left out, and the answer is given all the
same. `closed` tells what is in force, and `keylease doctor` shows it. None of it is a wall against
root, or against a program of the same user that was there first.
"""

from __future__ import annotations

import os
import signal
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, NamedTuple, NoReturn

from keylease.programs import order_path
from keylease.secrets import memory

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

VARIABLE: Final = "KEYLEASE_DUMPABLE"
"""Set to 1, it leaves a process open to tracers of the same user, and to crash reports."""

# What ends a process from outside. SIGKILL and a crash cannot be handled; see `_refuse_dumps`.
_ENDING: Final = ("SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT")
_FIRST_INHERITED: Final = 3
# linux/prctl.h
_PR_GET_DUMPABLE: Final = 3
_PR_SET_DUMPABLE: Final = 4
# sys/ptrace.h of macOS
_PT_DENY_ATTACH: Final = 31


class Closed(NamedTuple):
    """What is in force in this process: what the kernel says of it, not what it was asked for."""

    core_limit: int | None
    """The most bytes of a core file, 0 for none; -1 for no limit; `None` if it is not told."""
    to_tracers: bool | None
    """Whether programs of the same user are kept out of its memory; `None` if it is not told."""


def close() -> None:
    """Shut a process that a person started: to debuggers, core dumps and imports from elsewhere.

    What it starts finds the same limit on core files, except in `as_it_was`.
    """
    refuse_tracers()
    _refuse_dumps()
    order_path()


def harden() -> None:
    """Make this process a helper's: shut in every way that its short life allows.

    It changes what the whole process has and what its children inherit, so it is for a program
    that is about to answer and to end, never for a library.
    """
    _handle_signals()
    close()
    _close_inherited()


def leave(code: int) -> NoReturn:
    """End the process at once. Every secret is overwritten before.

    The interpreter would take itself apart first, which costs milliseconds and gives memory back
    to the system in an order of its own. A thread that hangs in a keychain is not waited for.
    """
    memory.clear_all()
    if sys.stderr is not None:
        sys.stderr.flush()
    os._exit(code)


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Let Ctrl-C and the signals that end a process wait until the block is left.

    The block is short: it removes files, and waits for nothing but a lock. SIGQUIT is not held
    back, so a person has a way out; SIGKILL cannot be, and the next run completes what it left.
    """
    if sys.platform == "win32":
        yield
        return
    waiting = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, waiting)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _handle_signals() -> None:
    for name in _ENDING:
        number = getattr(signal, name, None)
        # What is ignored stays so, or nohup(1) would be of no use.
        if number is not None and signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, _end)


def _end(number: int, frame: FrameType | None) -> None:
    """Overwrite every secret and die of the same signal, so that the parent sees which it was."""
    del frame
    memory.clear_all()
    signal.signal(number, signal.SIG_DFL)
    signal.raise_signal(number)


if sys.platform == "win32":

    def refuse_tracers() -> None:
        """Do nothing: a debugger of the same user is let in by Windows as by design."""

    def closed() -> Closed:
        """Return what is in force: nothing keeps other programs of the same user out."""
        return Closed(None, to_tracers=False)

    def _refuse_dumps() -> None:
        """Do nothing: error reports are a setting of the machine."""

    @contextmanager
    def as_it_was() -> Iterator[None]:
        """Do nothing: there is no limit that a child inherits."""
        yield

    def _close_inherited() -> None:
        """Do nothing: no descriptor is inherited but the standard ones."""

else:
    import ctypes
    import resource

    _given: list[tuple[int, int]] = []
    """The limits on core files that this process was started with, once they were changed."""

    def refuse_tracers() -> None:
        """Keep out debuggers, /proc/PID/mem and core dumps of the same user.

        prctl(2), PR_SET_DUMPABLE: the process's files in /proc belong to root then, and ptrace(2)
        needs privileges. An execve(2) undoes it. What identifies its callers by those files (some
        keychains and desktop portals show the program's name) sees none, so it can be left out.
        """
        if os.environ.get(VARIABLE) == "1":
            return
        if sys.platform == "linux":
            _prctl(_PR_SET_DUMPABLE, 0)
        elif sys.platform == "darwin":
            ctypes.CDLL(None).ptrace(_PT_DENY_ATTACH, 0, None, 0)

    def closed() -> Closed:
        """Return what is in force. macOS does not tell whether PT_DENY_ATTACH was heard."""
        try:
            limit, _ = resource.getrlimit(resource.RLIMIT_CORE)
        except OSError:
            limit = None
        # prctl(2): 1 is open, 0 and 2 (suid_dumpable in proc(5)) are closed, -1 is a refusal.
        told = _prctl(_PR_GET_DUMPABLE, 0) if sys.platform == "linux" else -1
        return Closed(limit, {0: True, 1: False, 2: True}.get(told))

    def _prctl(option: int, argument: int) -> int:
        words = [ctypes.c_ulong(each) for each in (argument, 0, 0, 0)]
        return int(ctypes.CDLL(None).prctl(ctypes.c_int(option), *words))

    def _refuse_dumps() -> None:
        """Leave no core file (core(5)), whatever becomes of the line above.

        NOTE: a core_pattern that is a pipe does not ask for this limit; it asks for the other one.
        """
        try:
            given = resource.getrlimit(resource.RLIMIT_CORE)
            resource.setrlimit(resource.RLIMIT_CORE, (0, given[1]))
        except (OSError, ValueError):
            return
        _given[:] = [*_given, given][:1]

    @contextmanager
    def as_it_was() -> Iterator[None]:
        """Give back the limit on core files meanwhile, for what takes this process's place.

        It is inherited by execve(2), and what a user runs is to crash as he is used to. The rest
        that `close` does ends with execve(2) by itself.
        """
        for given in _given:
            resource.setrlimit(resource.RLIMIT_CORE, given)
        try:
            yield
        finally:
            if _given:
                _refuse_dumps()

    def _close_inherited() -> None:
        """Close what a caller left open by mistake: this process needs the three standard streams.

        A socket or a file of somebody's would else be in reach of a keychain's library.
        """
        os.closerange(_FIRST_INHERITED, _open_max())

    def _open_max() -> int:
        # With close_range(2) any number costs the same; without it each one costs a call.
        most = os.sysconf("SC_OPEN_MAX")
        return min(most, 65_536) if most > 0 else 1024
