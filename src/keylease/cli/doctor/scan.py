"""Search the memory of another process for secrets, all of it, at the moment before its end.

proc(5): /proc/PID/mem and /proc/PID/maps are opened when the program has just been started, before
it could shut itself, and are read when it is about to be gone. Nothing in it takes part: ptrace(2)
stops it at those two moments. So it is for a child of one's own, on Linux, and only where nothing
forbids ptrace(2).
"""

from __future__ import annotations

import base64
import ctypes
import os
import select
import signal
import sys
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final, NamedTuple

from keylease.errors import KeyleaseError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

# sys/ptrace.h
_CONT: Final = 7
_SETOPTIONS: Final = 0x4200
_GETEVENTMSG: Final = 0x4201
_TRACE_EXEC: Final = 0x10
_TRACE_EXIT: Final = 0x40
_EXIT_KILL: Final = 0x100000
_EVENT_EXEC: Final = 4

_WINDOW: Final = 16
"""So many bytes in a row are a find: of what was freed, the beginning is often overwritten."""
_STEP: Final = 16
_PREFIX: Final = 4
_CHUNK: Final = 1 << 22

# It is traced by its parent from here on, and waits until that is ready.
_LAUNCH: Final = """
import ctypes, os, signal, sys
trace = ctypes.CDLL(None, use_errno=True).ptrace
trace.argtypes = (ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p)
if trace(0, 0, None, None):
    sys.exit(os.strerror(ctypes.get_errno()))
os.kill(os.getpid(), signal.SIGSTOP)
os.chdir(sys.argv[1])
os.execv(sys.argv[2], sys.argv[2:])
"""


class TraceError(KeyleaseError):
    """A process cannot be looked into on this machine."""

    hint = "ptrace(2) may be forbidden here: see /proc/sys/kernel/yama/ptrace_scope"


class Needle(NamedTuple):
    """What is searched for. It is masked, so that the scanner's own memory does not have it."""

    name: str
    mask: bytes
    masked: bytes

    @classmethod
    def of(cls, name: str, secret: bytes | bytearray | memoryview) -> Needle:
        """Return the needle for a secret; the caller clears its own."""
        mask = os.urandom(len(secret))
        return cls(name, mask, bytes(a ^ b for a, b in zip(secret, mask, strict=True)))

    def unmasked(self, start: int, end: int) -> bytes:
        """Return a part of it. A short one: what is returned stays in memory."""
        pairs = zip(self.masked[start:end], self.mask[start:end], strict=True)
        return bytes(a ^ b for a, b in pairs)

    def windows(self) -> range:
        """Return where each part begins that counts as a find."""
        return range(0, max(1, len(self.masked) - _WINDOW + 1), _STEP)

    def is_at(self, memory: bytes, at: int, window: int) -> bool:
        """Return whether one part of it is at that place."""
        end = min(window + _WINDOW, len(self.masked))
        masked, mask = self.masked[window:end], self.mask[window:end]
        there = memory[at : at + len(masked)]
        return len(there) == len(masked) and all(
            byte == a ^ b for byte, a, b in zip(there, masked, mask, strict=True)
        )


class Scan(NamedTuple):
    """What was found."""

    hits: dict[str, int]
    """For each needle how many times it is there, whole or in parts."""
    places: list[str]
    """Where: the needle's name, and the kind of memory."""
    regions: int
    scanned: int
    """Bytes."""
    files: int
    """Bytes of files that the process cannot write to its memory of: programs and libraries."""
    unreadable: list[str]
    """The mappings that the kernel lets nobody read, by name."""


def needles(name: str, secret: bytes | memoryview) -> list[Needle]:
    """Return needles for a secret as it is and in the encodings in which it travels."""
    raw = bytes(secret)
    # The end of base64 hangs on what follows, and there is no telling what that is.
    text = base64.b64encode(raw)[: len(raw) * 4 // 3]
    return [
        Needle.of(name, raw),
        Needle.of(f"{name} in base64", text),
        Needle.of(f"{name} in hexadecimal", raw.hex().encode()),
    ]


class Traced:
    """A process that is stopped at its very end, with all of its memory still there."""

    def __init__(self, pid: int, memory: int, maps: int, stdout: int, status: int) -> None:
        self.pid = pid
        self.status = status
        """As `os.waitpid` will give it: how it ends."""
        self._memory = memory
        self._maps = maps
        self._stdout = stdout

    def answer(self) -> bytes:
        """Return what it has written to stdout."""
        # It is not gone yet, so the end of a pipe that has nothing in it would be waited for.
        readable, _, _ = select.select([self._stdout], [], [], 0)
        return os.read(self._stdout, _CHUNK) if readable else b""

    def scan(self, wanted: Iterable[Needle]) -> Scan:
        """Search all of its memory."""
        return scan(self._maps, self._memory, list(wanted))


def scan(maps: int, memory: int, wanted: Sequence[Needle]) -> Scan:
    """Search every mapping of a process by its open files `maps` and `mem`."""
    hits = {needle.name: 0 for needle in wanted}
    places: list[str] = []
    unreadable: list[str] = []
    regions = scanned = files = 0
    for start, end, permissions, name in _mappings(maps):
        regions += 1
        if "w" not in permissions and name.startswith("/"):
            # A file's own content: nothing that the process did is in there.
            files += end - start
            continue
        try:
            content = _read(memory, start, end)
        except (OSError, OverflowError):
            unreadable.append(f"{permissions} {name}".strip())
            continue
        scanned += len(content)
        for needle in wanted:
            found = _find(needle, content)
            hits[needle.name] += len(found)
            places += [
                f"{needle.name}: {permissions} {name} {start + at:x}" for at in sorted(found)
            ]
    return Scan(hits, places, regions, scanned, files, unreadable)


def _mappings(maps: int) -> Iterator[tuple[int, int, str, str]]:
    os.lseek(maps, 0, os.SEEK_SET)
    parts = []
    while part := os.read(maps, 1 << 16):
        parts.append(part)
    for line in b"".join(parts).decode("utf-8", "surrogateescape").splitlines():
        fields = line.split(maxsplit=5)
        start, _, end = fields[0].partition("-")
        # proc(5): address, permissions, offset, device, inode, and the name if there is one.
        yield int(start, 16), int(end, 16), fields[1], "".join(fields[5:]) or "anonymous"


def _read(memory: int, start: int, end: int) -> bytes:
    parts = []
    os.lseek(memory, start, os.SEEK_SET)
    while start < end:
        part = os.read(memory, min(end - start, _CHUNK))
        if not part:
            raise OSError(0, "end of file")
        parts.append(part)
        start += len(part)
    return b"".join(parts)


def _find(needle: Needle, content: bytes) -> set[int]:
    """Return where the needle begins, or would begin if all of it were there."""
    found = set()
    for window in needle.windows():
        prefix = needle.unmasked(window, window + _PREFIX)
        at = content.find(prefix)
        while at >= 0:
            if needle.is_at(content, at, window):
                found.add(at - window)
            at = content.find(prefix, at + 1)
    return found


if sys.platform == "linux":

    @contextmanager
    def stopped_at_its_end(
        words: Sequence[str],
        *,
        stdin: bytes,
        environment: Mapping[str, str],
        directory: str,
    ) -> Iterator[Traced]:
        """Run a program and yield when it is about to be gone, by itself or by a signal.

        Args:
            words: The program's path, and its arguments.
            stdin: All that it reads; not more than a pipe holds.
            environment: All of its environment.
            directory: Where it runs.

        Raises:
            TraceError: it cannot be traced, or opened.
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
            _seize(pid)
            # A program can become another one by execve(2), with other memory.
            while _next_event(pid) == _EVENT_EXEC:
                for each in files:
                    os.close(each)
                files[:] = (os.open(f"/proc/{pid}/{name}", os.O_RDONLY) for name in ("mem", "maps"))
                _call(_CONT, pid, 0)
            memory, maps = files
            status = _message(pid)
            yield Traced(pid, memory, maps, stdout, status)
        except OSError as error:
            msg = f"a process cannot be looked into here: {error.strerror}"
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

    def _seize(pid: int) -> None:
        """Have it stop at each execve(2) and at its exit, and let it go on to the first."""
        _, status = os.waitpid(pid, 0)
        if not os.WIFSTOPPED(status):
            msg = "a process cannot be traced here"
            raise TraceError(msg)
        _call(_SETOPTIONS, pid, _TRACE_EXEC | _TRACE_EXIT | _EXIT_KILL)
        _call(_CONT, pid, 0)

    def _next_event(pid: int) -> int:
        """Let it go on until one of the two, and pass signals on to it."""
        while True:
            _, status = os.waitpid(pid, 0)
            if not os.WIFSTOPPED(status):
                msg = "a process ended without a stop"
                raise TraceError(msg)
            if status >> 16:
                return status >> 16
            _call(_CONT, pid, os.WSTOPSIG(status))

    def _end(pid: int) -> None:
        """Let it go on to its end. SIGKILL alone does not end a stop at the exit."""
        with suppress(ProcessLookupError, ChildProcessError):
            os.kill(pid, signal.SIGKILL)
            status = 0x7F  # as if stopped, to begin with
            while os.WIFSTOPPED(status):
                with suppress(OSError):
                    _call(_CONT, pid, 0)
                _, status = os.waitpid(pid, 0)

    def _message(pid: int) -> int:
        """Return how it is going to end, as `os.waitpid` will give it."""
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
