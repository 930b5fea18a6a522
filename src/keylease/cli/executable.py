"""Find a command, and check that the system can run it, without running it."""

from __future__ import annotations

import os
import sys
from typing import Final

from keylease.errors import KeyleaseError

# execve(2), "Interpreter scripts": Linux reads 255 characters of the first line. Other systems may
# read more; a longer line is not checked here.
_FIRST_LINE: Final = 256


class NotFoundError(KeyleaseError):
    """There is no such command. The exit code is the shell's (POSIX.1-2024, XCU 2.8.2)."""

    exit_code = 127
    hint = "nothing was released"


class NotRunnableError(KeyleaseError):
    """The command exists and cannot be run. The exit code is the shell's."""

    exit_code = 126
    hint = "nothing was released"


def find(name: str) -> str:
    """Return the path of the command, found as a shell finds it (POSIX.1-2024, XCU 2.9.1.4).

    Raises:
        NotFoundError: there is no such command.
        NotRunnableError: it is not a program, or a script without its interpreter.
    """
    if sys.platform == "win32":
        from shutil import which

        found = which(name)
        candidates = [] if found is None else [found]
    elif "/" in name:
        candidates = [name]
    else:
        # An empty element of PATH is the current directory.
        candidates = [os.path.join(each or ".", name) for each in os.get_exec_path() if name]
    present = [each for each in candidates if os.path.exists(each)]
    for each in present:
        if _is_program(each):
            _check_interpreter(name, each)
            return each
    if present:
        msg = f"{name} is not an executable file"
        raise NotRunnableError(msg)
    msg = f"there is no command {name}" + ("" if "/" in name else " on PATH")
    raise NotFoundError(msg)


def _is_program(path: str) -> bool:
    return os.path.isfile(path) and os.access(path, os.X_OK)


def _check_interpreter(name: str, path: str) -> None:
    """Raise if the command is a script, and the interpreter in its first line does not exist.

    NOTE: this checks nothing else. Only the system can tell whether the interpreter fits this
    machine and has its libraries.
    """
    if sys.platform == "win32":
        return
    try:
        with open(path, "rb", buffering=0) as file:
            head = file.read(_FIRST_LINE)
    except OSError:
        # An unreadable program can still run. An unreadable script cannot; its interpreter
        # reports it.
        return
    line, end, _ = head.partition(b"\n")
    # Strip only space and tab, as the kernel does: a carriage return is part of the name.
    words = line.removeprefix(b"#!").replace(b"\t", b" ").strip(b" ")
    interpreter, space, _ = words.partition(b" ")
    whole = end or space or len(head) < _FIRST_LINE
    if line.startswith(b"#!") and whole and not _is_program(os.fsdecode(interpreter)):
        named = ascii(os.fsdecode(interpreter))
        msg = f"cannot run {name}: its first line names {named}, which is not a program"
        raise NotRunnableError(msg)
