"""The programs of keylease, and a start that does not depend on the caller's environment.

On POSIX each program is a shell script (packaging/launch) that starts Python isolated, so no
variable of Python and no file in the working directory decides what is imported. The launchers of
package installers on Windows and `python -m keylease` cannot do that; there `order_path` corrects
the import path. decisions/0026-programs-start-isolated.md has the reasons.

NOTE: this module runs before the import path is corrected. It imports only what is built into the
interpreter or loaded at its start: not even `from __future__`, which is a file.
"""

import os
import sys

OWN = {"keylease": "main", "keylease-askpass": "askpass"}
"""The programs for people, each with the function of `keylease.__main__` that it runs."""


def names() -> tuple[str, ...]:
    """Return the name of each program: those for people, and those that tools run."""
    from keylease.tools import TOOLS

    return (*OWN, *dict.fromkeys(tool.program for tool in TOOLS if tool.program))


def main() -> int:
    """Run the program that Windows started as `NAME.exe`."""
    name = os.path.basename(sys.argv[0])
    return run(name[: -len(".exe")] if name.lower().endswith(".exe") else name)


def run(name: str) -> int:
    """Run the program called `name` with the arguments in `sys.argv`; return its exit code."""
    order_path()
    words: tuple[object, ...] = ()
    module, function = "keylease.__main__", OWN.get(name, "")
    if not function:
        module, function, words = "keylease.helper", "main", (protocol_of(name), sys.argv[1:])
    # Both modules are in higher layers, so no `import` names them. `__import__` is a builtin.
    code: int = getattr(__import__(module, fromlist=[function]), function)(*words)
    return code


def protocol_of(program: str) -> str:
    """Return the module of `keylease.protocols` that answers: it is part of the program's name.

    The table of tools says the same, but importing it takes two milliseconds.
    """
    return program.removeprefix("keylease-").partition("-credential")[0]


def order_path() -> None:
    """Order `sys.path`: first Python's own library, then keylease's directory, then the rest.

    So no directory in PYTHONPATH replaces a module of Python or a package that keylease needs.
    Relative entries are removed. So is the working directory: it may be a stranger's repository.
    """
    if sys.flags.isolated:
        return
    library = os.path.dirname(os.__file__)
    own = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

    def rank(path: str) -> int:
        below = path.startswith((library + os.sep, os.path.join(sys.base_prefix, "DLLs")))
        if path == library or path.endswith(".zip") or (below and "-packages" not in path):
            return 0
        return 1 if path == own else others

    others = 2
    kept = [path for path in sys.path if rank(path) < others or not _is_current(path)]
    sys.path[:] = sorted(kept, key=rank)


def isolated(code: str) -> list[str]:
    """Return the command line that runs the code in another interpreter, isolated like this one.

    The code finds the same modules as this process.
    """
    path = f"import sys; sys.path[:] = {sys.path!r}\n"
    return [sys.executable, "-I", "-S", "-c", path + code]


def _is_current(path: str) -> bool:
    try:
        return not os.path.isabs(path) or os.path.samefile(path, os.curdir)
    except OSError:
        return False
