"""`keylease exec`: run a command with a credential, for tools that have no helper protocol.

The credential goes into a pipe that the command inherits, or into its environment; never into its
arguments, which every user of the machine can read. The command line is checked before the session
is asked, so a mistake in it releases nothing.

On POSIX this process becomes the command. Signals, job control and the exit code are then the
command's own, and no keylease process keeps the secret in its memory. Windows has no such call:
there the command is a child, and this process waits for it.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Final

import click

from keylease.cli import address
from keylease.cli.base import Command, Program
from keylease.cli.executable import NotRunnableError, find
from keylease.cli.handover import LOGGED, default, handovers, values
from keylease.errors import KeyleaseError, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from keylease.cli.handover import Handover

_WORDS: Final = "keylease.cli.exec.words"
"""The key in click's context for the words after `--`."""


class _Exec(Command):
    """A command line in two halves: ours before `--`, and the command's after it."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse our half. Keep the other half as it is."""
        at = args.index("--") if "--" in args else len(args)
        ctx.meta[_WORDS] = args[at + 1 :]
        return super().parse_args(ctx, args[:at])

    def collect_usage_pieces(self, ctx: click.Context) -> list[str]:
        """Return the usage line after the command's name."""
        return [*super().collect_usage_pieces(ctx), "-- CMD [ARGS]..."]


@click.command(cls=_Exec)
@click.argument("url", required=False)
@address.username_option
@click.option(
    "--fd",
    "pipes",
    metavar="NAME[=WHAT]",
    multiple=True,
    help="Pass the value in a pipe that CMD inherits. The environment variable NAME has the number "
    "of the descriptor, and {NAME} in CMD's arguments is replaced by it. Not on Windows.",
)
@click.option(
    "--env",
    "variables",
    metavar="NAME[=WHAT]",
    multiple=True,
    help="Put the value into CMD's environment variable NAME.",
)
@click.pass_obj
@click.pass_context
def exec(  # noqa: A001, PLR0913, PLR0917 - the command's own name, and click's arguments
    ctx: click.Context,
    program: Program,
    url: str | None,
    username: str | None,
    pipes: Sequence[str],
    variables: Sequence[str],
) -> None:
    """Run CMD with the credential of the session for URL.

    \b
        keylease exec https://ci.example --fd FD -- tool --token-file /dev/fd/{FD}
        keylease exec https://ci.example --env CI_TOKEN -- tool deploy
        keylease exec --env A=https://a.example --fd B=https://b.example -- tool

    WHAT is a field of the session for URL: password (the default), username, or the name of an
    extra field. Or WHAT is another URL, with or without #FIELD, and the value comes from the
    session for that URL. You can give both options several times.

    --fd is safer than --env. A value in a pipe can be read once, by CMD or by a process that
    inherits the pipe. A value in the environment goes to every process that CMD starts, may be
    written into logs and crash reports, and stays readable in /proc while CMD runs.

    This is a use of each session, like git's, and one line in the audit log for each. keylease
    returns CMD's exit code. If CMD does not run, the exit code is 127 if there is no such command,
    and 126 if it cannot be run.

    Nothing is released if the command line is wrong, or if CMD or the interpreter in the first line
    of a script does not exist. Two errors show only after the release is in the log: the system
    cannot run CMD, or the session does not have FIELD. CMD then gets nothing.
    """  # noqa: D301 - click reads the backslash-b, and prints the lines after it as they are
    words: list[str] = ctx.meta[_WORDS]
    given = handovers(ctx, pipes, variables, default(ctx, url, username))
    if not words:
        msg = "there is no command to run"
        raise UsageError(msg, "put it after two dashes: keylease exec URL --fd NAME -- CMD ARGS")
    path = find(words[0])
    with values(program.wiring().session, given) as released:
        code = _run(path, words, list(zip(given, released, strict=True)))
    ctx.exit(code)


if sys.platform == "win32":
    import subprocess

    def _run(path: str, words: Sequence[str], values: Sequence[tuple[Handover, bytes]]) -> int:
        """Run the command as a child and return its exit code.

        Ctrl-C goes to every process of the console, so the child gets it, too. This process ignores
        it, because it must not end before the child.
        """
        import signal

        environment = dict(os.environ)
        for handover, value in values:
            environment[handover.name] = value.decode("utf-8", "surrogateescape")
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            return subprocess.run([path, *words[1:]], env=environment, check=False).returncode
        except (OSError, ValueError) as error:
            raise _refusal(words[0], error) from None

else:
    import fcntl
    import signal

    from keylease.secrets.hardening import original_core_limit

    # Python ignores these at start, and the command would inherit that. It would then not notice
    # that its reader closed the pipe ("Note on SIGPIPE" in the documentation of `signal`).
    _IGNORED: Final = ("SIGPIPE", "SIGXFSZ")

    def _run(path: str, words: Sequence[str], values: Sequence[tuple[Handover, bytes]]) -> int:
        """Become the command. Return only by an exception.

        Raises:
            NotRunnableError: the system refuses to run it.
        """
        environment = dict(os.environb)
        words = list(words)
        for handover, value in values:
            content = value
            if handover.way == "fd":
                number = str(_pipe(value))
                content = number.encode("ascii")
                words[1:] = [word.replace(f"{{{handover.name}}}", number) for word in words[1:]]
            environment[handover.name.encode("ascii")] = content
        ignored = [getattr(signal, name) for name in _IGNORED]
        before = [signal.signal(each, signal.SIG_DFL) for each in ignored]
        try:
            with original_core_limit():
                # Without a shell, which would interpret special characters in the words.
                os.execve(path, words, environment)  # noqa: S606  # nosec B606
        except (OSError, ValueError) as error:
            # Too many arguments, a format that is not executable, a name too long.
            # Never with the cause: its traceback holds the environment.
            raise _refusal(words[0], error) from None
        finally:
            # execve failed, so this process goes on and must not die of a closed pipe.
            for each, handler in zip(ignored, before, strict=True):
                signal.signal(each, handler)

    def _pipe(value: bytes) -> int:
        """Return the read end of an inheritable pipe that contains the value.

        The whole value must fit into the pipe, because no process is left to write the rest.
        """
        reader, writer = os.pipe()
        os.set_blocking(writer, False)
        try:
            written = os.write(writer, value)
        except BlockingIOError:
            written = 0
        finally:
            os.close(writer)
        if written < len(value):
            msg = "the value is too long for a pipe of this system"
            raise KeyleaseError(msg, f"use --env; {LOGGED}")
        # Above the standard streams: if stdin is closed, the pipe would become the command's stdin.
        inherited = fcntl.fcntl(reader, fcntl.F_DUPFD, 3)
        os.close(reader)
        return inherited


def _refusal(name: str, error: OSError | ValueError) -> NotRunnableError:
    reason = error.strerror if isinstance(error, OSError) else "an argument contains a NUL"
    msg = f"cannot run {name}: {reason}"
    return NotRunnableError(msg, LOGGED)
