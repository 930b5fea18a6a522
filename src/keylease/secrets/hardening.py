"""Harden a process before it handles a secret, and wipe its secrets when it ends.

Every step is best effort: if the system refuses one, the process goes on without it.
`restrictions` returns what is in force, and `keylease doctor` shows it. Nothing here stops root, or
a program of the same user that attached earlier.
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
"""Set to 1, it lets debuggers of the same user and crash reports read the process."""

# Signals that end a process. SIGKILL and a crash cannot be handled; see `_refuse_dumps`.
_ENDING: Final = ("SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT")
_FIRST_INHERITED: Final = 3
# linux/prctl.h
_PR_GET_DUMPABLE: Final = 3
_PR_SET_DUMPABLE: Final = 4
# sys/ptrace.h of macOS
_PT_DENY_ATTACH: Final = 31


class Restrictions(NamedTuple):
    """What the kernel reports as in force in this process."""

    core_limit: int | None
    """Maximum bytes of a core file: 0 for none, -1 for no limit, `None` if unknown."""
    tracers_refused: bool | None
    """Whether programs of the same user are kept out of its memory; `None` if unknown."""


def restrict_process() -> None:
    """Harden a process against debuggers, core dumps and imports from the working directory.

    Child processes inherit the limit on core files, except in `original_core_limit`.
    """
    refuse_tracers()
    _refuse_dumps()
    order_path()


def harden() -> None:
    """Harden a helper process in every way that its short life allows.

    This changes the whole process and what its children inherit. It is for a program that answers
    once and ends, never for a library.
    """
    _wipe_on_signals()
    restrict_process()
    _close_inherited()


def wipe_and_exit(code: int) -> NoReturn:
    """Overwrite every secret and end the process at once.

    The interpreter's own shutdown costs milliseconds and frees memory in an unknown order. It would
    also wait for a thread that hangs in a keychain.
    """
    memory.clear_all()
    if sys.stderr is not None:
        sys.stderr.flush()
    os._exit(code)


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Hold back Ctrl-C and the signals that end a process until the block ends.

    The block is short: it removes files, and waits for nothing but a lock. SIGQUIT still works, so
    a user can always stop it. After SIGKILL the next run completes the work.
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


def _wipe_on_signals() -> None:
    for name in _ENDING:
        number = getattr(signal, name, None)
        # An ignored signal stays ignored, or nohup(1) would not work.
        if number is not None and signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, _wipe_and_die)


def _wipe_and_die(number: int, frame: FrameType | None) -> None:
    """Overwrite every secret and die of the same signal, so that the parent sees which it was."""
    del frame
    memory.clear_all()
    signal.signal(number, signal.SIG_DFL)
    signal.raise_signal(number)


if sys.platform == "win32":

    def refuse_tracers() -> None:
        """Do nothing: Windows lets debuggers of the same user in by design."""

    def restrictions() -> Restrictions:
        """Return what is in force: nothing keeps other programs of the same user out."""
        return Restrictions(None, tracers_refused=False)

    def _refuse_dumps() -> None:
        """Do nothing: error reports are a setting of the machine."""

    @contextmanager
    def original_core_limit() -> Iterator[None]:
        """Do nothing: there is no limit that a child inherits."""
        yield

    def _close_inherited() -> None:
        """Do nothing: only the standard descriptors are inherited."""

else:
    import ctypes
    import resource

    _given: list[tuple[int, int]] = []
    """The original limits on core files, once they were changed."""

    def refuse_tracers() -> None:
        """Keep out debuggers, /proc/PID/mem and core dumps of the same user.

        prctl(2), PR_SET_DUMPABLE: the process's files in /proc then belong to root, and ptrace(2)
        needs privileges. An execve(2) undoes it. Some keychains and desktop portals read those
        files to show the caller's name and now see none, so `KEYLEASE_DUMPABLE` switches this off.
        """
        if os.environ.get(VARIABLE) == "1":
            return
        if sys.platform == "linux":
            _prctl(_PR_SET_DUMPABLE, 0)
        elif sys.platform == "darwin":
            ctypes.CDLL(None).ptrace(_PT_DENY_ATTACH, 0, None, 0)

    def restrictions() -> Restrictions:
        """Return what is in force. macOS does not report whether PT_DENY_ATTACH worked."""
        try:
            limit, _ = resource.getrlimit(resource.RLIMIT_CORE)
        except OSError:
            limit = None
        # prctl(2): 1 admits tracers; 0 and 2 (suid_dumpable in proc(5)) refuse them; -1: error.
        dumpable = _prctl(_PR_GET_DUMPABLE, 0) if sys.platform == "linux" else -1
        return Restrictions(limit, {0: True, 1: False, 2: True}.get(dumpable))

    def _prctl(option: int, argument: int) -> int:
        words = [ctypes.c_ulong(each) for each in (argument, 0, 0, 0)]
        return int(ctypes.CDLL(None).prctl(ctypes.c_int(option), *words))

    def _refuse_dumps() -> None:
        """Write no core file (core(5)), even if `refuse_tracers` fails.

        NOTE: a core_pattern that is a pipe ignores this limit and obeys PR_SET_DUMPABLE instead.
        """
        try:
            given = resource.getrlimit(resource.RLIMIT_CORE)
            resource.setrlimit(resource.RLIMIT_CORE, (0, given[1]))
        except (OSError, ValueError):
            return
        _given[:] = [*_given, given][:1]

    @contextmanager
    def original_core_limit() -> Iterator[None]:
        """Restore the original limit on core files for a program that this process executes.

        The limit is inherited through execve(2), and a user's program should dump core as usual.
        Everything else that `restrict_process` does ends with execve(2) by itself.
        """
        for given in _given:
            resource.setrlimit(resource.RLIMIT_CORE, given)
        try:
            yield
        finally:
            if _given:
                _refuse_dumps()

    def _close_inherited() -> None:
        """Close every descriptor but the three standard streams.

        A socket or file that the caller left open would be in reach of a keychain's library.
        """
        os.closerange(_FIRST_INHERITED, _open_max())

    def _open_max() -> int:
        # close_range(2) closes any number in one call; without it each descriptor costs a call.
        most = os.sysconf("SC_OPEN_MAX")
        return min(most, 65_536) if most > 0 else 1024
