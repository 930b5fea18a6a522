"""The lean entrance: arguments and stdin in, stdout and an exit code out.

One function for each tool that calls keylease as its helper. This module reads one message, has it
parsed, handled and rendered, and writes one answer; it decides nothing. It never imports click, and
nothing of it prints but the answer on stdout and, if a person looks at stderr, one refusal.

What a refusal looks like, and the exit code, are in each protocol's `refuse`.
"""

from __future__ import annotations

import io
import os
import select
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, NamedTuple, NoReturn

from keylease.errors import KeyleaseError, RequestError, StateError, UsageError
from keylease.memory import allocate, clear_all, joined, secure_clear
from keylease.model import MAX_CAP_SECONDS, Credential, Limits, Reply
from keylease.process import harden, leave
from keylease.protocols import load
from keylease.protocols.base import Call

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from keylease.model import Refusal, Request
    from keylease.protocols.base import Protocol
    from keylease.wiring import Wiring

_STDIN, _STDOUT, _STDERR = 0, 1, 2
_FIRST_ROOM: Final = 4096
"""Bytes; what most peers send fits in, and more room is made for more."""
_MOST_PARTS: Final = 1024
"""IOV_MAX of Linux, macOS and the BSDs: what one writev(2) takes."""


class PeerGoneError(StateError):
    """The peer's stdin or stdout is not there, or not any more."""

    hint = "nothing was released or stored"


class Answered(NamedTuple):
    """How one message was answered."""

    exit_code: int
    goes_on: bool
    """Whether there may be another message."""


class Options(NamedTuple):
    """What a helper's command line says before the peer's own words."""

    timeout: int | None = None
    keychain: str | None = None


def git() -> NoReturn:
    """Be `git-credential-keylease`, which git runs for `credential.helper = keylease`."""
    main("git", sys.argv[1:])


def docker() -> NoReturn:
    """Be `docker-credential-keylease`, for docker, podman, skopeo, buildah and docker-py."""
    main("docker", sys.argv[1:])


def cargo() -> NoReturn:
    """Be `cargo-credential-keylease`, which cargo runs for `credential-provider`."""
    main("cargo", sys.argv[1:])


def aws() -> NoReturn:
    """Be `keylease-aws`, which AWS programs run for `credential_process`."""
    main("aws", sys.argv[1:])


def kubernetes() -> NoReturn:
    """Be `keylease-kubernetes`, which kubectl and the client libraries run for `exec`."""
    main("kubernetes", sys.argv[1:])


def vault() -> NoReturn:
    """Be `keylease-vault`, which Vault and OpenBao run for `token_helper`."""
    main("vault", sys.argv[1:])


def terraform() -> NoReturn:
    """Be `terraform-credentials-keylease`, for `credentials_helper` of Terraform and OpenTofu."""
    main("terraform", sys.argv[1:])


def goauth() -> NoReturn:
    """Be `keylease-goauth`, which the go command runs for `GOAUTH`."""
    main("go", sys.argv[1:])


def pnpm() -> NoReturn:
    """Be `keylease-pnpm`, which pnpm runs for `tokenHelper`."""
    main("pnpm", sys.argv[1:])


def bazel() -> NoReturn:
    """Be `keylease-bazel`, which Bazel runs for `--credential_helper`."""
    main("bazel", sys.argv[1:])


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
    """Answer the peer called `name` and return the exit code; never exit itself.

    Args:
        name: One of `keylease.protocols.PROTOCOLS`.
        argv: The command line without the program's name.
    """
    protocol = load(name)
    # Nobody is greeted who can be told at once that the command line makes no sense.
    if not protocol.GREETING or protocol.complete(Call(tuple(argv), os.environ, allocate(0))):
        return _answer(protocol, argv).exit_code
    try:
        _write((protocol.GREETING,), _STDOUT)
    except PeerGoneError as error:
        return _tell(protocol.refuse(error))
    while (answered := _answer(protocol, argv)).goes_on:
        pass
    return answered.exit_code


def parse_options(argv: Sequence[str]) -> tuple[Options, tuple[str, ...]]:
    """Return the options, which are those of `git credential-cache`, and what comes after them.

    Raises:
        UsageError: an unknown option, or a value that makes no sense.
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
    return Options(timeout, keychain), tuple(rest)


def _answer(protocol: Protocol, argv: Sequence[str]) -> Answered:
    """Answer one message; of a conversation it may be the last."""
    message, request, refusal = allocate(0), None, None
    goes_on = bool(protocol.GREETING)
    try:
        with _undisturbed() as stdout:
            try:
                options, arguments = Options(), tuple(argv)
                if protocol.OPTIONS:
                    options, arguments = parse_options(argv)
                message = _read(protocol, arguments)
                call = Call(arguments, os.environ, message)
                # Of one that is too long the rest is still to come, and that is no question.
                goes_on = goes_on and len(message) <= protocol.MAX_REQUEST
                if protocol.GREETING and not (message or protocol.complete(call)):
                    return Answered(0, goes_on=False)
                with _wired(options) as wiring:
                    request = protocol.parse(call)
                    if request.question:
                        request = _asked(request)
                    _carry_out(protocol, request, wiring, stdout)
            except KeyleaseError as error:
                refusal = protocol.refuse(error, request)
                goes_on = goes_on and not isinstance(error, PeerGoneError)
                _write((refusal.reply,), stdout)
            finally:
                if request is not None:
                    request.wipe()
    except PeerGoneError as error:
        refusal, goes_on = protocol.refuse(error, request), False
    finally:
        secure_clear(message)
    return Answered(0 if refusal is None else _tell(refusal), goes_on)


@contextmanager
def _wired(options: Options) -> Iterator[Wiring]:
    """Yield the collaborators, and see to it that a message which makes no sense is on record.

    Each message has its own: a conversation that waits for the next one has no key meanwhile.
    """
    from keylease.audit.events import Entry
    from keylease.wiring import Wiring

    wiring = Wiring(keychain=options.keychain, timeout=options.timeout)
    try:
        yield wiring
    except RequestError:
        entry = Entry("request.refused", "refused", "malformed")
        wiring.audit.log_or_gap(entry, wiring.clock.now())
        raise
    finally:
        if wiring.audit.key is not None:
            wiring.audit.key.wipe()


def _asked(request: Request) -> Request:
    """Return the request with what a person types: this peer leaves the question to its helper.

    Raises:
        UsageError: there is no terminal, or no answer.
    """
    from keylease.terminal import ask_secret

    secret = ask_secret(request.question)
    if not secret:
        msg = "nothing was typed"
        raise UsageError(msg)
    return request._replace(credential=Credential(request.username, secret))


def _carry_out(protocol: Protocol, request: Request, wiring: Wiring, stdout: int) -> None:
    """Decide, render and write out of the credential itself; clear what was made on the way."""
    answer = wiring.session.handle(request)
    parts: Sequence[bytes | memoryview] = ()
    try:
        parts = protocol.render(request, answer)
        _write(parts, stdout)
    finally:
        for part in parts:
            if isinstance(part, memoryview) and not part.readonly:
                secure_clear(part)
        if isinstance(answer, Reply):
            answer.credential.wipe()


def _read(protocol: Protocol, arguments: tuple[str, ...]) -> memoryview:
    """Return the peer's message, one byte more than is allowed at most. The caller clears it."""
    limit = protocol.MAX_REQUEST + 1
    room, length = allocate(_FIRST_ROOM), 0
    try:
        stdin = io.FileIO(_STDIN, closefd=False)
        while length < limit and not protocol.complete(Call(arguments, os.environ, room[:length])):
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
        raise PeerGoneError(msg) from None
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
        raise PeerGoneError(msg, "") from None
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
        raise PeerGoneError(msg, "") from None


if sys.platform == "win32":

    def _write_some(stdout: int, parts: Sequence[memoryview]) -> int:
        """Write what the system takes of a copy, for it takes one piece only."""
        whole = joined(parts)
        try:
            return os.write(stdout, whole)
        finally:
            secure_clear(whole)

else:

    def _write_some(stdout: int, parts: Sequence[memoryview]) -> int:
        """Write what the system takes, out of the parts themselves."""
        return os.writev(stdout, parts[:_MOST_PARTS])


def _tell(refusal: Refusal) -> int:
    """Tell a person why, if one looks or the peer shows it to one, and return the exit code.

    Other programs are told nothing: git's t0303 compares stderr too.
    """
    if sys.stderr is not None and (refusal.always or _is_read_by_a_person()):
        try:
            sys.stderr.write(refusal.message)
            sys.stderr.flush()
        except OSError:
            # Nobody is there to be told, and the peer goes by the exit code all the same. What is
            # left in the buffer would be written once more at the end, and change that code.
            with open(os.devnull, "wb") as null:
                os.dup2(null.fileno(), _STDERR)
    return refusal.exit_code


def _is_read_by_a_person() -> bool:
    return sys.stderr is not None and sys.stderr.isatty()
