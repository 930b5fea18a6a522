"""The lean entrance: arguments and stdin in, stdout and an exit code out.

One function for each tool that calls keylease as its helper. This module reads one message, has it
parsed, handled and rendered, and writes one answer; it decides nothing. It never imports click, and
nothing of it prints but the answer on stdout and, if a person looks at stderr, one refusal.

Exit codes are git's own: 0 for an answer and for a miss, 1 for a refusal, 129 for a usage error.
git ignores them all (gitcredentials(7)); what counts is that a refusal leaves stdout empty.
"""

from __future__ import annotations

import io
import os
import select
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, NamedTuple, NoReturn

from keylease.errors import KeyleaseError, RequestError, StateError, UsageError
from keylease.memory import allocate, clear_all, secure_clear
from keylease.model import MAX_CAP_SECONDS, Limits
from keylease.process import harden, leave
from keylease.protocols import load

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from keylease.model import Request
    from keylease.protocols.base import Protocol
    from keylease.wiring import Wiring

USAGE: Final = "usage: git-credential-keylease [--timeout SECONDS] [--keychain NAME] OPERATION"
_USAGE_EXIT: Final = 129  # what git's own helpers exit with, see usage() in usage.c
_STDIN, _STDOUT, _STDERR = 0, 1, 2
_FIRST_ROOM: Final = 4096
"""Bytes; what git sends fits in, and more room is made for more."""


class Arguments(NamedTuple):
    """What stands on a helper's command line."""

    action: str
    timeout: int | None
    keychain: str | None


def git() -> NoReturn:
    """Be `git-credential-keylease`, which git runs for `credential.helper = keylease`."""
    main("git", sys.argv[1:])


def main(name: str, argv: Sequence[str]) -> NoReturn:
    """Be a program that answers the peer called `name`: a process of its own, shut, and then gone.

    An interrupt just ends it: a traceback is noise to who pressed Ctrl-C.
    """
    # Before anything heavy is imported, and before there is a secret.
    harden()
    try:
        code = run(name, argv)
    finally:
        clear_all()
    leave(code)


def run(name: str, argv: Sequence[str]) -> int:
    """Answer one request of the peer called `name` and return the exit code.

    Args:
        name: One of `keylease.protocols.PROTOCOLS`.
        argv: The command line without the program's name.
    """
    try:
        arguments = parse_arguments(argv)
    except UsageError as error:
        _say(f"keylease: error: {error}\n{USAGE}\n")
        return _USAGE_EXIT
    return serve(load(name), arguments)


def parse_arguments(argv: Sequence[str]) -> Arguments:
    """Return what the command line says. The options are those of `git credential-cache`.

    Raises:
        UsageError: an unknown option, a value that makes no sense, or no operation.
    """
    rest = list(argv)
    timeout, keychain = None, None
    while rest and rest[0].startswith("-"):
        option, equals, value = rest.pop(0).partition("=")
        if option not in {"--timeout", "--keychain"}:
            msg = f"unknown option {option!a}"
            raise UsageError(msg)
        if not equals:
            value = rest.pop(0) if rest else ""
        if option == "--keychain":
            keychain = value
        elif value.isascii() and value.isdigit():
            timeout = Limits(int(value[:20]), MAX_CAP_SECONDS).check().idle_seconds
        else:
            msg = f"--timeout {value!a}: expected a number of seconds"
            raise UsageError(msg)
    if len(rest) != 1:
        msg = f"expected one operation, found {len(rest)}"
        raise UsageError(msg)
    return Arguments(rest[0], timeout, keychain)


def serve(protocol: Protocol, arguments: Arguments) -> int:
    """Answer one request and return the exit code; never exit itself."""
    try:
        with _undisturbed() as stdout:
            try:
                message = _read(protocol, arguments.action)
                try:
                    _handle(protocol, arguments, message, stdout)
                finally:
                    secure_clear(message)
            except KeyleaseError as error:
                refusal = protocol.refuse(error)
                _write((refusal.reply,), stdout)
            else:
                return 0
    except StateError as error:
        refusal = protocol.refuse(error)
    _say(refusal.message)
    return refusal.exit_code


def _handle(protocol: Protocol, arguments: Arguments, message: memoryview, stdout: int) -> None:
    """Parse, decide and answer; wipe whatever was made of secrets on the way."""
    from keylease.audit.events import Entry
    from keylease.wiring import Wiring

    wiring = Wiring(keychain=arguments.keychain, timeout=arguments.timeout)
    request = None
    try:
        request = protocol.parse(arguments.action, message)
        _answer(protocol, request, wiring, stdout)
    except RequestError:
        entry = Entry("request.refused", "refused", "malformed")
        wiring.audit.log_or_gap(entry, wiring.clock.now())
        raise
    finally:
        if request is not None:
            request.wipe()
        if wiring.audit.key is not None:
            wiring.audit.key.wipe()


def _answer(protocol: Protocol, request: Request, wiring: Wiring, stdout: int) -> None:
    """Have the request handled, and write the answer out of the credential itself."""
    reply = wiring.session.handle(request)
    try:
        _write(protocol.render(request, reply), stdout)
    finally:
        if reply is not None:
            reply.credential.wipe()


def _read(protocol: Protocol, action: str) -> memoryview:
    """Return the peer's message, one byte more than is allowed at most. The caller clears it."""
    limit = protocol.MAX_REQUEST + 1
    room, length = allocate(_FIRST_ROOM), 0
    try:
        stdin = io.FileIO(_STDIN, closefd=False)
        while length < limit and not protocol.complete(action, room[:length]):
            if length == len(room):
                room = _doubled(room)
            count = stdin.readinto(room[length:limit])
            if count is None:
                # Somebody made the pipe non-blocking: nothing yet is not the end. Half a message
                # that is taken for a whole one can name another host.
                select.select([_STDIN], [], [])
            elif not count:
                break
            else:
                length += count
    except OSError as error:
        secure_clear(room)
        msg = f"the request cannot be read from stdin: {error.strerror}"
        raise RequestError(msg) from None
    return room[:length]


def _doubled(room: memoryview) -> memoryview:
    """Return twice the room with what is in it, and clear the smaller one."""
    larger = allocate(2 * len(room))
    larger[: len(room)] = room
    secure_clear(room)
    return larger


@contextmanager
def _undisturbed() -> Iterator[int]:
    """Yield a descriptor for the answer that nobody else knows, and silence the usual ones.

    git believes each line that it reads. A keychain library that prints, or a browser that is
    started by one, would else name another host or add a line to the password.
    """
    try:
        stdout = os.dup(_STDOUT)
    except OSError as error:
        msg = f"the answer cannot be written to stdout: {error.strerror}"
        raise StateError(msg) from None
    saved = {_STDOUT: stdout}
    null = os.open(os.devnull, os.O_WRONLY)
    try:
        if sys.stderr is not None and not _is_read_by_a_person():
            saved[_STDERR] = os.dup(_STDERR)
        for descriptor in saved:
            os.dup2(null, descriptor)
        yield stdout
    finally:
        for descriptor, original in saved.items():
            os.dup2(original, descriptor)
            os.close(original)
        os.close(null)


def _write(parts: Sequence[bytes | memoryview], stdout: int) -> None:
    """Write the whole answer, in one call as far as the system lets it be one."""
    left = [memoryview(part) for part in parts if part]
    try:
        while left:
            try:
                written = _write_some(stdout, left)
            except BlockingIOError:
                select.select([], [stdout], [])
                continue
            while left and written >= len(left[0]):
                written -= len(left.pop(0))
            if written:
                left[0] = left[0][written:]
    except OSError as error:
        msg = f"the answer cannot be written to stdout: {error.strerror}"
        raise StateError(msg) from None


if sys.platform == "win32":

    def _write_some(stdout: int, parts: Sequence[memoryview]) -> int:
        """Write what the system takes of a copy, for it takes one piece only."""
        whole, at = allocate(sum(map(len, parts))), 0
        for part in parts:
            whole[at : at + len(part)] = part
            at += len(part)
        try:
            return os.write(stdout, whole)
        finally:
            secure_clear(whole)

else:

    def _write_some(stdout: int, parts: Sequence[memoryview]) -> int:
        """Write what the system takes, out of the parts themselves."""
        return os.writev(stdout, parts)


def _say(message: str) -> None:
    """Tell a person, if one looks. A program is told nothing: git's t0303 compares stderr too."""
    if _is_read_by_a_person():
        sys.stderr.write(message)


def _is_read_by_a_person() -> bool:
    return sys.stderr is not None and sys.stderr.isatty()
