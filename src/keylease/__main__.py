"""The program `keylease`: git's helper for its operations, the human commands for the rest."""

import sys

OPERATIONS = frozenset({"get", "store", "erase", "capability"})


def main() -> int:
    """Run the command line and return the exit code."""
    argv = sys.argv[1:]
    if names_operation(argv):
        from keylease.helper import main as helper

        helper("git", argv)
    # Commands handle passwords, so restrict this process. A program that embeds keylease decides
    # for itself.
    from keylease.secrets.hardening import restrict_process

    restrict_process()
    from keylease.cli import main as commands

    return commands(argv)


def askpass() -> int:
    """Run as `keylease-askpass`: git, ssh and sudo start it with only their question."""
    from keylease.secrets.hardening import restrict_process

    restrict_process()
    from keylease.cli import main as commands

    return commands(["askpass", "--", *sys.argv[1:]])


def names_operation(argv: list[str]) -> bool:
    """Return whether this is git's command line for a helper: options, then one operation.

    `keylease.helper` answers it without click, whose import takes longer than the whole answer.
    """
    rest = list(argv)
    while rest and rest[0].startswith("--"):
        _, equals, _ = rest.pop(0).partition("=")
        del rest[: 0 if equals else 1]
    return len(rest) == 1 and rest[0] in OPERATIONS


if __name__ == "__main__":
    from keylease.programs import run

    sys.exit(run("keylease"))
