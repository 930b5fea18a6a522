"""A terminal that a test controls: it types, and reads what a program asks and shows.

It is the program's controlling terminal, as in a real login, while its stdin and stdout may be
pipes. The standard library has no such terminal on Windows.
"""

from __future__ import annotations

import errno
import os
import select
import subprocess
import sys
import termios
from typing import TYPE_CHECKING, Self

from support.groups import end_group

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

# A separate program instead of `preexec_fn`, which may deadlock in a process with threads.
_TAKE_TERMINAL = """
import fcntl, os, sys, termios
fd = os.open(sys.argv[1], os.O_RDWR)
fcntl.ioctl(fd, termios.TIOCSCTTY, 0)
if fd > 2:
    os.close(fd)
os.execvp(sys.argv[2], sys.argv[2:])
"""
_LOCAL_FLAGS = 3


class PseudoTerminal:
    """A terminal, open for as long as the `with` block lasts."""

    def __init__(self) -> None:
        self._master, self._slave = os.openpty()
        self._started: list[subprocess.Popen[bytes]] = []
        self.shown = b""
        """Everything that was on the screen so far."""

    def __enter__(self) -> Self:
        """Return the terminal."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the terminal and end its processes."""
        for process in self._started:
            end_group(process)
        os.close(self._slave)
        os.close(self._master)

    @property
    def path(self) -> str:
        """The terminal's device, for a program's stdin or stdout."""
        return os.ttyname(self._slave)

    @property
    def echoes(self) -> bool:
        """Whether the terminal would echo input now."""
        flags: int = termios.tcgetattr(self._slave)[_LOCAL_FLAGS]
        return bool(flags & termios.ECHO)

    def start(
        self, words: Sequence[str], environment: Mapping[str, str], stdin: int | None = None
    ) -> subprocess.Popen[bytes]:
        """Start a program with this controlling terminal; its output goes to pipes."""
        process = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", _TAKE_TERMINAL, self.path, *words],
            stdin=subprocess.DEVNULL if stdin is None else stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=dict(environment),
            start_new_session=True,  # only the leader of a session can take a terminal
        )
        self._started.append(process)
        return process

    def wait_for(self, text: str, timeout_seconds: float = 30) -> None:
        """Return when `text` has appeared after the last text waited for.

        Raises:
            TimeoutError: it has not; the message has the text shown instead.
        """
        seen = len(self.shown)
        while text.encode() not in self.shown[seen:]:
            ready, _, _ = select.select([self._master], [], [], timeout_seconds)
            if not ready:
                msg = f"{text!r} was not shown; the terminal has {self.shown!r}"
                raise TimeoutError(msg)
            self._read()

    def type(self, keys: bytes) -> None:
        """Send these keys as a user would."""
        os.write(self._master, keys)

    def finish(self, process: subprocess.Popen[bytes]) -> tuple[int, str, str]:
        """Wait for the program and return its exit code, stdout and stderr."""
        out, err = process.communicate(timeout=60)
        while select.select([self._master], [], [], 0)[0]:
            self._read()
        return process.returncode, out.decode(), err.decode()

    def _read(self) -> None:
        try:
            self.shown += os.read(self._master, 4096)
        except OSError as error:
            if error.errno != errno.EIO:  # on Linux: no process has the terminal open
                raise
