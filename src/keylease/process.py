"""What a process that handles secrets shuts before it has one, and leaves when it ends.

Every step is best effort: one that the system refuses is left out, and the answer is given all the
same. `keylease doctor` tells what is in force. None of it is a wall against root, or against a
program of the same user that was there first.
"""

from __future__ import annotations

import os
import signal
import sys
from typing import TYPE_CHECKING, Final, NoReturn

from keylease import memory

if TYPE_CHECKING:
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


def harden() -> None:
    """Make this process a helper's: shut in every way that its short life allows.

    It changes what the whole process has and what its children inherit, so it is for a program
    that is about to answer and to end, never for a library.
    """
    _handle_signals()
    refuse_tracers()
    _refuse_dumps()
    _close_inherited()
    _forget_current_directory()


def leave(code: int) -> NoReturn:
    """End the process at once. Every secret is overwritten before.

    The interpreter would take itself apart first, which costs milliseconds and gives memory back
    to the system in an order of its own. A thread that hangs in a keychain is not waited for.
    """
    memory.clear_all()
    if sys.stderr is not None:
        sys.stderr.flush()
    os._exit(code)


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


def _forget_current_directory() -> None:
    """Import nothing from where git was called: that is somebody's repository.

    `python -m` puts it first, and an empty entry of PYTHONPATH means it as well.
    """
    sys.path[:] = [path for path in sys.path if _is_trusted(path) or not _is_current(path)]


def _is_trusted(path: str) -> bool:
    """Return whether it is of this Python or where keylease came from: their code runs already."""
    own = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    prefixes = (sys.prefix, sys.base_prefix, sys.exec_prefix, sys.base_exec_prefix)
    return path == own or path.startswith(tuple(f"{each}{os.sep}" for each in prefixes))


def _is_current(path: str) -> bool:
    try:
        return not os.path.isabs(path) or os.path.samefile(path, os.curdir)
    except OSError:
        return False


if sys.platform == "win32":

    def refuse_tracers() -> None:
        """Do nothing: a debugger of the same user is let in by Windows as by design."""

    def tracers_are_refused() -> bool:
        """Return whether other programs of the same user are kept out: they are not."""
        return False

    def _refuse_dumps() -> None:
        """Do nothing: error reports are a setting of the machine."""

    def _close_inherited() -> None:
        """Do nothing: no descriptor is inherited but the standard ones."""

else:
    import ctypes

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

    def tracers_are_refused() -> bool:
        """Return whether other programs of the same user are kept out of this process."""
        return sys.platform == "linux" and _prctl(_PR_GET_DUMPABLE, 0) != 1

    def _prctl(option: int, argument: int) -> int:
        words = [ctypes.c_ulong(each) for each in (argument, 0, 0, 0)]
        return int(ctypes.CDLL(None).prctl(ctypes.c_int(option), *words))

    def _refuse_dumps() -> None:
        """Leave no core file (core(5)), whatever becomes of the line above.

        NOTE: a core_pattern that is a pipe does not ask for this limit; it asks for the other one.
        """
        import resource

        try:
            _, most = resource.getrlimit(resource.RLIMIT_CORE)
            resource.setrlimit(resource.RLIMIT_CORE, (0, most))
        except (OSError, ValueError):
            return

    def _close_inherited() -> None:
        """Close what a caller left open by mistake: this process needs the three standard streams.

        A socket or a file of somebody's would else be in reach of a keychain's library.
        """
        os.closerange(_FIRST_INHERITED, _open_max())

    def _open_max() -> int:
        # With close_range(2) any number costs the same; without it each one costs a call.
        most = os.sysconf("SC_OPEN_MAX")
        return min(most, 65_536) if most > 0 else 1024
