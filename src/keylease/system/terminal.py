"""Ask the user, on the terminal itself.

A question never goes to stdout and an answer never comes from stdin: both may be a pipe, and a
password must not come out of a pipe by mistake. A secret goes from the terminal straight into a
`Secret`. Python's own `getpass` makes a `str` of it, which cannot be wiped.
"""

from __future__ import annotations

import io
import os
import sys
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final

from keylease.errors import UsageError, printable
from keylease.secrets.memory import allocate, secure_clear
from keylease.secrets.secret import Secret

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

_STDIN: Final = 0
# A terminal buffers a line until it is complete, and silently drops what does not fit: 4095 bytes
# in n_tty(4) of Linux, 1023 in the BSDs and macOS. An answer of that length may be truncated.
_LONGEST_LINE: Final = 4095 if sys.platform == "linux" else 1023


def ask(question: str) -> bytes:
    """Return the line that the user types after `question`.

    Raises:
        UsageError: there is no terminal, or no answer.
    """
    with _answer(question, hidden=False) as answer:
        return bytes(answer.reveal())


def ask_secret(question: str) -> Secret:
    """Return the line that the user types after `question`. The terminal does not show it.

    Raises:
        UsageError: there is no terminal, or no answer.
    """
    return _answer(question, hidden=True)


def read_secret(limit: int) -> Secret:
    """Return the content of stdin, without the one line end that a shell adds.

    Args:
        limit: Maximum bytes of the secret.

    Raises:
        UsageError: stdin is a terminal, cannot be read, or has more than `limit` bytes.
    """
    if os.isatty(_STDIN):
        msg = "stdin is a terminal, which would show the password as it is typed"
        raise UsageError(msg, "leave out --password-stdin to type it without echo")
    # One buffer of full size: a growing one would leave copies behind.
    buffer = allocate(limit + len("\r\n") + 1)
    try:
        length = _fill(buffer)
        if bytes(buffer[length - 1 : length]) == b"\n":
            length -= 1
            if bytes(buffer[length - 1 : length]) == b"\r":
                length -= 1
        if length > limit:
            msg = f"stdin has a password longer than {limit} bytes; expected at most {limit}"
            raise UsageError(msg)
        return Secret(buffer[:length])
    finally:
        secure_clear(buffer)


def _fill(buffer: memoryview) -> int:
    """Fill the buffer from stdin and return the number of bytes."""
    length = 0
    try:
        stdin = io.FileIO(_STDIN, closefd=False)
        while count := stdin.readinto(buffer[length:]):
            length += count
    except OSError as error:
        msg = f"cannot read stdin: {error.strerror}"
        raise UsageError(msg) from None
    return length


def _answer(question: str, *, hidden: bool) -> Secret:
    """Ask, and return one line. The buffer for it is wiped."""
    buffer = allocate(_LONGEST_LINE + len("\n"))
    try:
        length = _read_line(printable(question), buffer, hidden=hidden)
        if bytes(buffer[length - 1 : length]) == b"\n":
            length -= 1
        if length >= _LONGEST_LINE:
            msg = f"the terminal may have cut the answer: a line holds {_LONGEST_LINE} bytes"
            raise UsageError(msg, "give a long password on stdin with --password-stdin")
        return Secret(buffer[:length])
    finally:
        secure_clear(buffer)


def _no_terminal(error: OSError) -> UsageError:
    msg = f"there is no terminal to ask on: {error.strerror}"
    return UsageError(msg, "use --username and --password-stdin")


if sys.platform == "win32":
    import msvcrt

    def _read_line(question: str, buffer: memoryview, *, hidden: bool) -> int:
        """Ask, fill the buffer with what is typed, in UTF-8, and return its length."""
        try:
            os.close(os.open("CONIN$", os.O_RDWR))
        except OSError as error:
            raise _no_terminal(error) from None
        _show(question)
        typed: list[str] = []
        while (character := msvcrt.getwch()) not in "\r\n":
            if character == "\x03":
                raise KeyboardInterrupt
            if character != "\b":
                typed.append(character)
                _show("" if hidden else character)
            elif typed:
                typed.pop()
                _show("" if hidden else "\b \b")
        _show("\r\n")
        length = 0
        for character in typed:
            packed = character.encode("utf-8", "surrogatepass")
            buffer[length : length + len(packed)] = packed
            length += len(packed)
        return length

    def _show(text: str) -> None:
        for character in text:
            msvcrt.putwch(character)

else:
    import signal
    import termios

    _LOCAL_FLAGS: Final = 3  # the place of c_lflag in what tcgetattr returns
    # Signals that end a program at its question. SIGKILL cannot be handled.
    _ENDING: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
    # Not replaced: ignored signals stay ignored, and Python's interrupt is an exception anyway.
    _PASSED: Final = (None, signal.SIG_IGN, signal.default_int_handler)

    def _read_line(question: str, buffer: memoryview, *, hidden: bool) -> int:
        """Ask, fill the buffer with what is typed and return its length."""
        try:
            fd = os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
        except OSError as error:
            raise _no_terminal(error) from None
        try:
            with _flushed(fd, hidden=hidden):
                os.write(fd, question.encode("utf-8", "backslashreplace"))
                length = os.readv(fd, [buffer])
        finally:
            os.close(fd)
        if length == 0:
            msg = "the question got no answer"
            raise UsageError(msg)
        return length

    @contextmanager
    def _flushed(fd: int, *, hidden: bool) -> Iterator[None]:
        """Discard earlier input, and switch the echo off for a hidden answer.

        TCSAFLUSH discards what was typed before the question was shown: it was meant for something
        else. The echo is off before the question appears.
        """
        before = termios.tcgetattr(fd)
        silent = [*before]
        if hidden:
            silent[_LOCAL_FLAGS] &= ~termios.ECHO

        def restore() -> None:
            if hidden:
                os.write(fd, b"\n")  # the typed one was hidden, too
            termios.tcsetattr(fd, termios.TCSAFLUSH, before)

        with _restored_before_signals(fd, restore):
            try:
                termios.tcsetattr(fd, termios.TCSAFLUSH, silent)
                yield
            finally:
                restore()

    @contextmanager
    def _restored_before_signals(fd: int, restore: Callable[[], None]) -> Iterator[None]:
        """Restore the terminal before a signal takes its usual effect.

        As readpassphrase(3) does: a program that dies at a question would leave the echo off.
        """
        found = {number: signal.getsignal(number) for number in _ENDING}
        handlers = {number: each for number, each in found.items() if each not in _PASSED}

        def handle(number: int, frame: FrameType | None) -> None:
            del frame
            # A closed terminal needs no restoring. In the background tcsetattr(3) would stop this
            # process, and the shell has already set the terminal as it needs it.
            with suppress(OSError, termios.error):
                if os.tcgetpgrp(fd) == os.getpgrp():
                    restore()
            signal.signal(number, handlers[signal.Signals(number)])
            signal.raise_signal(number)
            # The program goes on, but the question is over: the terminal would show an answer.
            raise KeyboardInterrupt

        try:
            for number in handlers:
                signal.signal(number, handle)
            yield
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)
