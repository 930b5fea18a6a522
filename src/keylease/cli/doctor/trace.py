"""Stop a child just before it ends, with all of its memory still there.

proc(5): /proc/PID/mem and /proc/PID/maps are opened when the child starts, before it can restrict
itself. They are read just before it ends. ptrace(2) stops the child at those two moments; its own
code takes no part. This needs Linux, and a machine that allows ptrace(2).
"""

from __future__ import annotations

import ctypes
import os
import select
import signal
import sys
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final

from keylease.cli.doctor.scan import scan
from keylease.errors import KeyleaseError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from keylease.cli.doctor.scan import Needle, Scan

# sys/ptrace.h
_CONT: Final = 7
_SETOPTIONS: Final = 0x4200
_GETEVENTMSG: Final = 0x4201
_TRACE_EXEC: Final = 0x10
_TRACE_EXIT: Final = 0x40
_EXIT_KILL: Final = 0x100000
_EVENT_EXEC: Final = 4

_ANSWER: Final = 1 << 20
"""Bytes; more than any program here answers."""

# The child asks its parent to trace it, stops until the parent is ready, and runs the program.
_LAUNCH: Final = """
import ctypes, os, signal, sys
trace = ctypes.CDLL(None, use_errno=True).ptrace
trace.argtypes = (ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p)
if trace(0, 0, None, None):
    print(os.strerror(ctypes.get_errno()))
    sys.exit(1)
os.kill(os.getpid(), signal.SIGSTOP)
os.chdir(sys.argv[1])
os.execv(sys.argv[2], sys.argv[2:])
"""


class TraceError(KeyleaseError):
    """A process cannot be inspected on this machine."""

    hint = (
        "ptrace(2) has to be allowed: see the seccomp profile and the capabilities of the container"
        " (SYS_PTRACE), or /proc/sys/kernel/yama/ptrace_scope"
    )


class Traced:
    """A process stopped just before its end, with all of its memory still there."""

    def __init__(self, memory: int, maps: int, stdout: int, status: int) -> None:
        self.status = status
        """How it ends, as `os.waitpid` will report it."""
        self._memory = memory
        self._maps = maps
        self._stdout = stdout

    def answer(self) -> bytes:
        """Return what it has written to stdout."""
        # The process still holds the pipe open, so reading an empty pipe would wait for ever.
        readable, _, _ = select.select([self._stdout], [], [], 0)
        return os.read(self._stdout, _ANSWER) if readable else b""

    def scan(self, wanted: Iterable[Needle]) -> Scan:
        """Search all of its memory."""
        return scan(self._maps, self._memory, list(wanted))


if sys.platform == "linux":

    @contextmanager
    def stopped_at_its_end(
        words: Sequence[str],
        *,
        stdin: bytes,
        environment: Mapping[str, str],
        directory: str,
    ) -> Iterator[Traced]:
        """Run a program and yield just before it ends, by itself or by a signal.

        Args:
            words: The program's path, and its arguments.
            stdin: All that it reads; no more than a pipe holds.
            environment: All of its environment.
            directory: Where it runs.

        Raises:
            TraceError: it cannot be traced, or its memory cannot be opened.
        """
        opened: list[int] = []
        files: list[int] = []
        pid = 0
        try:
            reader, request = os.pipe()
            stdout, writer = os.pipe()
            opened += (reader, request, stdout, writer)
            pid = _launch(words, environment, directory, (reader, writer, *opened))
            os.write(request, stdin)
            for each in (reader, request, writer):
                opened.remove(each)
                os.close(each)
            _seize(pid, stdout)
            # execve(2) replaces the program and its memory, so the files are opened again.
            while _next_event(pid) == _EVENT_EXEC:
                for each in files:
                    os.close(each)
                files[:] = (os.open(f"/proc/{pid}/{name}", os.O_RDONLY) for name in ("mem", "maps"))
                _call(_CONT, pid, 0)
            memory, maps = files
            yield Traced(memory, maps, stdout, _message(pid))
        except OSError as error:
            msg = f"a process cannot be inspected here: {error.strerror}"
            raise TraceError(msg) from None
        finally:
            for each in (*opened, *files):
                os.close(each)
            if pid:
                _end(pid)

    def _launch(
        words: Sequence[str], environment: Mapping[str, str], directory: str, pipes: Sequence[int]
    ) -> int:
        reader, writer, *rest = pipes
        actions: list[tuple[int, ...]] = [
            (os.POSIX_SPAWN_DUP2, reader, 0),
            (os.POSIX_SPAWN_DUP2, writer, 1),
            *((os.POSIX_SPAWN_CLOSE, each) for each in rest),
        ]
        launcher = [sys.executable, "-I", "-S", "-c", _LAUNCH, directory, *words]
        return os.posix_spawn(sys.executable, launcher, environment, file_actions=actions)

    def _seize(pid: int, stdout: int) -> None:
        """Make the child stop at each execve(2) and at its exit, and let it run."""
        _, status = os.waitpid(pid, 0)
        if not os.WIFSTOPPED(status):
            reason = os.read(stdout, _ANSWER).decode("utf-8", "replace").strip()
            msg = f"a process cannot be traced here: {reason or 'it ended at once'}"
            raise TraceError(msg)
        _call(_SETOPTIONS, pid, _TRACE_EXEC | _TRACE_EXIT | _EXIT_KILL)
        _call(_CONT, pid, 0)

    def _next_event(pid: int) -> int:
        """Let the child run to its next execve(2) or its exit, and pass signals on to it."""
        while True:
            _, status = os.waitpid(pid, 0)
            if not os.WIFSTOPPED(status):
                msg = "a process ended without a stop"
                raise TraceError(msg)
            if status >> 16:
                return status >> 16
            _call(_CONT, pid, os.WSTOPSIG(status))

    def _end(pid: int) -> None:
        """Kill the child and wait for its end. SIGKILL alone does not end a stop at the exit."""
        with suppress(ProcessLookupError, ChildProcessError):
            os.kill(pid, signal.SIGKILL)
            status = 0x7F  # the status of a stopped child, to enter the loop
            while os.WIFSTOPPED(status):
                with suppress(OSError):
                    _call(_CONT, pid, 0)
                _, status = os.waitpid(pid, 0)

    def _message(pid: int) -> int:
        """Return how the child will end, as `os.waitpid` will report it."""
        value = ctypes.c_ulong()
        _call(_GETEVENTMSG, pid, ctypes.addressof(value))
        return value.value

    def _call(request: int, pid: int, data: int) -> None:
        trace = ctypes.CDLL(None, use_errno=True).ptrace
        trace.restype = ctypes.c_long
        words = (ctypes.c_long(pid), ctypes.c_void_p(0), ctypes.c_void_p(data))
        if trace(ctypes.c_long(request), *words) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
