"""The lean entrance: arguments and stdin in, stdout and an exit code out.

The table of `keylease.tools` says which peer each program answers. This module has one message
read, parsed, handled, rendered and written; it decides nothing. It never imports click, and nothing
of it prints but the answer on stdout and, if a person looks at stderr, one refusal.

What a refusal looks like, and the exit code, are in each protocol's `refuse`.
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple, NoReturn

from keylease.errors import KeyleaseError, RequestError, UsageError, printable
from keylease.faults import INTERRUPTS, as_refusal
from keylease.model import MAX_CAP_SECONDS, OPEN_GATE, Credential, Limits, Refusal, Reply
from keylease.protocols import load
from keylease.protocols.base import Call
from keylease.secrets.hardening import harden, wipe_and_exit
from keylease.secrets.memory import allocate, clear_all, secure_clear
from keylease.system.streams import (
    STDOUT,
    PeerGoneError,
    await_reader,
    read,
    tell,
    undisturbed,
    write,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from keylease.model import Request
    from keylease.protocols.base import Protocol
    from keylease.wiring import Wiring


class Answered(NamedTuple):
    """How one message was answered."""

    exit_code: int
    goes_on: bool
    """Whether there may be another message."""


class Options(NamedTuple):
    """What a helper's command line says before the peer's own words."""

    timeout: int | None = None
    keychain: str | None = None


def main(name: str, argv: Sequence[str]) -> NoReturn:
    """Be a program that answers the peer called `name`: a process of its own, shut, and then gone.

    An interrupt just ends it: a traceback is noise to who pressed Ctrl-C.
    """
    # Before anything heavy is imported, and before there is a secret.
    harden()
    try:
        code = run(name, argv)
    except INTERRUPTS:
        raise
    except BaseException as error:  # noqa: BLE001 - a traceback is noise to the peer, and may tell
        # It came before or after an answer: those of an answer are told in `_answer`.
        told = f"keylease: error: {printable(str(as_refusal(error)))}\n"
        code = KeyleaseError.exit_code
        tell(Refusal(b"", told, code))
    finally:
        clear_all()
    wipe_and_exit(code)


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
        write((protocol.GREETING,), STDOUT)
    except PeerGoneError as error:
        refusal = protocol.refuse(error)
        tell(refusal)
        return refusal.exit_code
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
        with undisturbed() as stdout:
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
            except INTERRUPTS:
                raise
            except BaseException as error:  # noqa: BLE001 - see `_wired`, which writes it down
                refusal = protocol.refuse(as_refusal(error), request)
                goes_on = goes_on and not isinstance(error, PeerGoneError)
                write((refusal.reply,), stdout)
            finally:
                if request is not None:
                    request.wipe()
    except PeerGoneError as error:
        refusal, goes_on = protocol.refuse(error, request), False
    finally:
        secure_clear(message)
    if refusal is None:
        return Answered(0, goes_on)
    tell(refusal)
    return Answered(refusal.exit_code, goes_on)


@contextmanager
def _wired(options: Options) -> Iterator[Wiring]:
    """Yield the collaborators, and see to it that a message which makes no sense is on record.

    So is a fault that nobody foresaw, unless the operation wrote it down itself.

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
    except (KeyleaseError, *INTERRUPTS):
        raise
    except BaseException as error:
        wiring.audit.log_fault(error, wiring.clock.now())
        raise
    finally:
        if wiring.audit.key is not None:
            wiring.audit.key.wipe()


def _read(protocol: Protocol, arguments: tuple[str, ...]) -> memoryview:
    """Return the peer's message, one byte more than is allowed at most. The caller clears it."""

    def complete(message: memoryview) -> bool:
        return protocol.complete(Call(arguments, os.environ, message))

    return read(protocol.MAX_REQUEST + 1, complete)


def _asked(request: Request) -> Request:
    """Return the request with what a person types: this peer leaves the question to its helper.

    Raises:
        UsageError: there is no terminal, or no answer.
    """
    from keylease.system.terminal import ask_secret

    secret = ask_secret(request.question)
    if not secret:
        msg = "nothing was typed"
        raise UsageError(msg)
    return request._replace(credential=Credential(request.username, secret))


def _carry_out(protocol: Protocol, request: Request, wiring: Wiring, stdout: int) -> None:
    """Decide, render and write out of the credential itself; clear what was made on the way."""
    answer = wiring.session.handle(request)
    gate = answer.gate if isinstance(answer, Reply) else OPEN_GATE
    parts: Sequence[bytes | memoryview] = ()
    try:
        parts = protocol.render(request, answer)
        await_reader(stdout, gate.remaining())
        with gate:
            write(parts, stdout)
    finally:
        for part in parts:
            if isinstance(part, memoryview) and not part.readonly:
                secure_clear(part)
        if isinstance(answer, Reply):
            answer.wipe()
