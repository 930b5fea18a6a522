"""`keylease exec`: run a command with a credential, for tools that have no helper protocol.

The credential goes into a pipe that the command inherits, or into its environment; never into its
arguments, which every user of the machine can read. What can be refused without the secret is
refused before the session is asked, so a slip in the command line releases nothing.

On POSIX this process becomes the command. Signals, job control and the exit code are then the
command's own, and no process of keylease's is left that still has the secret in its memory. Windows
has no such call: there the command is a child, and this process waits for it.
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
"""Under this name click's context keeps what stands after `--`."""


class _Exec(Command):
    """A command line in two halves: ours before `--`, the command's own after it."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Take our half apart. The other half is not looked at: its options are its own."""
        at = args.index("--") if "--" in args else len(args)
        ctx.meta[_WORDS] = args[at + 1 :]
        return super().parse_args(ctx, args[:at])

    def collect_usage_pieces(self, ctx: click.Context) -> list[str]:
        """Return what the usage line says after the command's name."""
        return [*super().collect_usage_pieces(ctx), "-- CMD [ARGS]..."]


@click.command(cls=_Exec)
@click.argument("url", required=False)
@address.username_option
@click.option(
    "--fd",
    "pipes",
    metavar="NAME[=WHAT]",
    multiple=True,
    help="Let CMD inherit a pipe with the value in it. Its number is in the environment variable "
    "NAME, and takes the place of {NAME} in CMD's words. Not on Windows.",
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

    WHAT is a field of the session for URL: password if nothing is said, username, or the name of
    an extra field. Or it is a URL of its own, with or without #FIELD after it, and the value comes
    from the session for that. Both options can be given several times.

    --fd is safer than --env. What is in a pipe can be read once, by CMD or by what it lets inherit
    the pipe. What is in the environment goes to every process that CMD starts, may be written
    into logs and crash reports, and stays readable in /proc for as long as CMD runs.

    It counts as a use of each session, like git's, and is one line in the audit log for each. CMD's
    exit code is passed on. If CMD is not run, the code is keylease's own: 127 if there is none of
    that name, 126 if it cannot be run.

    Nothing is released if a word of the command line makes no sense, or if CMD, or what the first
    line of a script names, is not there. What only shows later is refused with the release in the
    log, and CMD gets nothing: a program that the system cannot run after all, and a FIELD that the
    session does not have.
    """  # noqa: D301 - click reads the backslash-b, and prints the lines after it as they are
    words: list[str] = ctx.meta[_WORDS]
    given = handovers(ctx, pipes, variables, default(ctx, url, username))
    if not words:
        msg = "there is no command to run"
        raise UsageError(msg, "put it after two dashes: keylease exec URL --fd NAME -- CMD ARGS")
    path = find(words[0])
    with values(program.wiring().session, given) as told:
        code = _run(path, words, list(zip(given, told, strict=True)))
    ctx.exit(code)


if sys.platform == "win32":
    import subprocess

    def _run(path: str, words: Sequence[str], values: Sequence[tuple[Handover, bytes]]) -> int:
        """Run the command as a child and return its exit code.

        Ctrl-C goes to every process of the console, so the child gets it without our help; this
        process only must not end before it.
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

    from keylease.secrets.hardening import as_it_was

    # Python ignores these when it starts, and what is ignored stays so in the command: it would
    # miss that its reader has gone away ("Note on SIGPIPE" in the documentation of `signal`).
    _IGNORED: Final = ("SIGPIPE", "SIGXFSZ")

    def _run(path: str, words: Sequence[str], values: Sequence[tuple[Handover, bytes]]) -> int:
        """Become the command. It returns only by an exception.

        Raises:
            NotRunnableError: the system refuses to run it.
        """
        environment = dict(os.environb)
        words = list(words)
        for handover, value in values:
            told = value
            if handover.way == "fd":
                number = str(_pipe(value))
                told = number.encode("ascii")
                words[1:] = [word.replace(f"{{{handover.name}}}", number) for word in words[1:]]
            environment[handover.name.encode("ascii")] = told
        ignored = [getattr(signal, name) for name in _IGNORED]
        before = [signal.signal(each, signal.SIG_DFL) for each in ignored]
        try:
            with as_it_was():
                # Without a shell, which would read meaning into the words.
                os.execve(path, words, environment)  # noqa: S606  # nosec B606
        except (OSError, ValueError) as error:
            # Out of memory for arguments, a format that is not executable, a name too long.
            # Never with the cause: its traceback has the environment.
            raise _refusal(words[0], error) from None
        finally:
            # Here this process goes on after all, and must not die of a reader that goes away.
            for each, handler in zip(ignored, before, strict=True):
                signal.signal(each, handler)

    def _pipe(value: bytes) -> int:
        """Return the readable end of a pipe that has the value in it, to be inherited.

        Nobody is left who would write the rest, so it is written before there is a reader.
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
            msg = "the value is longer than what a pipe of this system holds"
            raise KeyleaseError(msg, f"use --env; {LOGGED}")
        # Above the standard streams: with stdin closed the pipe would else be the command's stdin.
        inherited = fcntl.fcntl(reader, fcntl.F_DUPFD, 3)
        os.close(reader)
        return inherited


def _refusal(name: str, error: OSError | ValueError) -> NotRunnableError:
    reason = error.strerror if isinstance(error, OSError) else "a word has a NUL inside"
    msg = f"{name} cannot be run: {reason}"
    return NotRunnableError(msg, LOGGED)
