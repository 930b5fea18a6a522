"""Find what a person wants to run, and whether the system can run it, without running it."""

from __future__ import annotations

import os
import sys
from typing import Final

from keylease.errors import KeyleaseError

# execve(2), "Interpreter scripts": Linux reads 255 characters of the first line. Some systems read
# more; what is cut off here is theirs to judge.
_FIRST_LINE: Final = 256


class NotFoundError(KeyleaseError):
    """There is no such command. The shell's exit code for it (POSIX.1-2024, XCU 2.8.2)."""

    exit_code = 127
    hint = "nothing was released"


class NotRunnableError(KeyleaseError):
    """The command is there and cannot be run. The shell's exit code for it."""

    exit_code = 126
    hint = "nothing was released"


def find(name: str) -> str:
    """Return the path of the command, found as a shell finds it (POSIX.1-2024, XCU 2.9.1.4).

    Raises:
        NotFoundError: there is none.
        NotRunnableError: there is something, and it is no program, or a script that nothing runs.
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
    # A word with a line end or an escape is printed as an escape, like all that is said.
    if present:
        msg = f"{name} is not a program that can be run"
        raise NotRunnableError(msg)
    msg = f"there is no command {name}" + ("" if "/" in name else " on PATH")
    raise NotFoundError(msg)


def _is_program(path: str) -> bool:
    return os.path.isfile(path) and os.access(path, os.X_OK)


def _check_interpreter(name: str, path: str) -> None:
    """Raise if the command is a script, and what its first line names is not there.

    NOTE: it looks no further. Whether that is a program of this machine, and has the libraries that
    it needs, only the system itself can tell.
    """
    if sys.platform == "win32":
        return
    try:
        with open(path, "rb", buffering=0) as file:
            head = file.read(_FIRST_LINE)
    except OSError:
        # A program can be run without the right to read it. A script cannot be, and who reads it in
        # vain is its interpreter.
        return
    line, end, _ = head.partition(b"\n")
    # Space and tab only: the carriage return of an editor on Windows is a part of the name.
    words = line.removeprefix(b"#!").replace(b"\t", b" ").strip(b" ")
    interpreter, space, _ = words.partition(b" ")
    whole = end or space or len(head) < _FIRST_LINE
    if line.startswith(b"#!") and whole and not _is_program(os.fsdecode(interpreter)):
        named = ascii(os.fsdecode(interpreter))
        msg = f"{name} cannot be run: its first line names {named}, which is no program"
        raise NotRunnableError(msg)
