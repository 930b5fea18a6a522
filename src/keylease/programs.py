"""The programs of keylease, and a start that does not depend on the caller's surroundings.

On POSIX each program is a shell script (packaging/launch) that starts Python isolated, so no
variable of Python and no file in the working directory decides what is imported. On Windows the
launchers of the package installers cannot do that, and `python -m keylease` is started by others:
there `order_path` does what can still be done. decisions/0026-programs-start-isolated.md has the
reasons.

NOTE: this module runs before the path is in order. It imports nothing that is not built into the
interpreter or loaded at its start: not even `from __future__`, which is a file. The table of tools
is imported afterwards.
"""

import os
import sys

OWN = {"keylease": "main", "keylease-askpass": "askpass"}
"""The programs for people: the function of `keylease.__main__` that each is."""


def names() -> tuple[str, ...]:
    """Return the name of each program: those for people, and those that tools run."""
    from keylease.tools import TOOLS

    return (*OWN, *dict.fromkeys(tool.program for tool in TOOLS if tool.program))


def main() -> int:
    """Be the program that Windows started as `NAME.exe`."""
    name = os.path.basename(sys.argv[0])
    return run(name[: -len(".exe")] if name.lower().endswith(".exe") else name)


def run(name: str) -> int:
    """Run the program called `name` with the arguments in `sys.argv`; return its exit code."""
    order_path()
    words: tuple[object, ...] = ()
    module, function = "keylease.__main__", OWN.get(name, "")
    if not function:
        from keylease.tools import TOOLS

        peer = next(tool.name for tool in TOOLS if tool.program == name and tool.protocol)
        module, function, words = "keylease.helper", "main", (peer, sys.argv[1:])
    # Both modules are far above this one. `__import__` needs no module to import them.
    code: int = getattr(__import__(module, fromlist=[function]), function)(*words)
    return code


def order_path() -> None:
    """Import first from Python's own library, then from where keylease is, then from the rest.

    So no directory in PYTHONPATH replaces a module of Python or a package that keylease needs. The
    working directory, which may be a stranger's repository, and relative entries are removed.
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
    """Return the command line that runs the code in another interpreter, as isolated as this one.

    It finds the modules that this process finds.
    """
    path = f"import sys; sys.path[:] = {sys.path!r}\n"
    return [sys.executable, "-I", "-S", "-c", path + code]


def _is_current(path: str) -> bool:
    try:
        return not os.path.isabs(path) or os.path.samefile(path, os.curdir)
    except OSError:
        return False
