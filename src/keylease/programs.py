"""The programs of keylease, and a start that does not depend on the caller's surroundings.

On POSIX each program is a shell script (packaging/launch) that starts Python isolated, so no
variable of Python and no file in the working directory decides what is imported. On Windows the
launchers of the package installers cannot do that, and `python -m keylease` is started by others:
there `order_path` does what can still be done. decisions/0026-programs-start-isolated.md has the
reasons.

NOTE: this module runs before the path is in order. It imports nothing that is not built into the
interpreter or loaded at its start: not even `from __future__`, which is a file.
"""

import os
import sys

PROGRAMS = {
    "keylease": ("keylease.__main__", "main"),
    "keylease-askpass": ("keylease.__main__", "askpass"),
    "git-credential-keylease": ("keylease.helper", "git"),
    "docker-credential-keylease": ("keylease.helper", "docker"),
    "cargo-credential-keylease": ("keylease.helper", "cargo"),
    "keylease-aws": ("keylease.helper", "aws"),
    "keylease-kubernetes": ("keylease.helper", "kubernetes"),
    "terraform-credentials-keylease": ("keylease.helper", "terraform"),
    "keylease-vault": ("keylease.helper", "vault"),
    "keylease-goauth": ("keylease.helper", "goauth"),
    "keylease-pnpm": ("keylease.helper", "pnpm"),
    "keylease-bazel": ("keylease.helper", "bazel"),
}
"""The module and the function of each program. The build makes the installed programs from it."""


def main() -> int:
    """Be the program that Windows started as `NAME.exe`."""
    name = os.path.basename(sys.argv[0])
    return run(name[: -len(".exe")] if name.lower().endswith(".exe") else name)


def run(name: str) -> int:
    """Run the program called `name` with the arguments in `sys.argv`; return its exit code."""
    order_path()
    module, function = PROGRAMS[name]
    # What is imported is one of the names above. `__import__` needs no module to do it.
    code: int = getattr(__import__(module, fromlist=[function]), function)()
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
