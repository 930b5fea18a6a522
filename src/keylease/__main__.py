"""The program `keylease`: the helper for its three operations, the human commands for the rest."""

from __future__ import annotations

import sys

OPERATIONS = frozenset({"get", "store", "erase", "capability"})


def main() -> int:
    """Run the command line and return the exit code.

    An operation is the last word, after nothing but options: so git calls a helper. It goes to
    `keylease.helper` without click, which would cost more than the whole answer.
    """
    argv = sys.argv[1:]
    if argv and argv[-1] in OPERATIONS and (len(argv) == 1 or argv[0].startswith("--")):
        from keylease.helper import run

        return run("git", argv)
    from keylease.cli import main as commands

    return commands(argv)


if __name__ == "__main__":
    sys.exit(main())
