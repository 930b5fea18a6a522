"""The lean entrance: arguments and stdin in, stdout and an exit code out.

The program's name says which protocol to speak. This module owns the descriptors: it reads a
message, calls `keylease.exchange`, writes the answer and wipes it. It decides nothing and never
imports click. It prints only the answer on stdout and, if a person reads stderr, one refusal.

Each protocol's `refuse` defines the form of a refusal and its exit code.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NoReturn

from keylease.audit.caller import caller_of
from keylease.errors import KeyleaseError, UsageError, printable
from keylease.exchange import complete, heard, question, refused, serve
from keylease.faults import INTERRUPTS, as_refusal
from keylease.model import Request
from keylease.protocols import load_protocol
from keylease.protocols.base import Call
from keylease.secrets.hardening import harden, wipe_and_exit
from keylease.secrets.memory import allocate, clear_all, secure_clear
from keylease.system.streams import (
    STDOUT,
    PeerGoneError,
    await_reader,
    is_read_by_a_person,
    read,
    tell,
    undisturbed,
    write,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from keylease.exchange import Answered
    from keylease.protocols.base import Protocol
    from keylease.secrets.secret import Secret


def main(name: str, argv: Sequence[str]) -> NoReturn:
    """Run as the program that speaks the protocol `name`: harden the process, answer, exit."""
    # Harden before heavy imports, and before there is a secret.
    harden()
    try:
        code = run(name, argv)
    except INTERRUPTS:
        raise
    except BaseException as error:  # noqa: BLE001 - a traceback may reveal a secret
        # It came before or after an answer: `_answer` reports errors during one.
        code = KeyleaseError.exit_code
        if is_read_by_a_person():
            tell(f"keylease: error: {printable(str(as_refusal(error)))}\n")
    finally:
        clear_all()
    wipe_and_exit(code)


def run(name: str, argv: Sequence[str]) -> int:
    """Answer in the protocol `name` and return the exit code; never exit.

    Args:
        name: A module of `keylease.protocols`.
        argv: The command line without the program's name.
    """
    protocol, caller = load_protocol(name), caller_of(os.getppid())
    call = Call(tuple(argv), os.environ, allocate(0), caller, terminal=is_read_by_a_person())
    # Reject a bad command line before sending the greeting.
    if not protocol.GREETING or complete(protocol, call):
        return _answer(protocol, call).exit_code
    try:
        write((protocol.GREETING,), STDOUT)
    except PeerGoneError as error:
        refusal = protocol.refuse(error)
        tell(heard(refusal, call))
        return refusal.exit_code
    while (answered := _answer(protocol, call)).goes_on:
        pass
    return answered.exit_code


def _answer(protocol: Protocol, call: Call) -> Answered:
    """Read one message, answer it, and report to stderr."""
    answered = None
    try:
        with undisturbed() as stdout:
            call = call._replace(message=_read(protocol, call))
            call, answered = _served(protocol, call)
            try:
                answered = _written(answered, stdout)
            finally:
                answered.wipe()
    except PeerGoneError as error:
        again = answered.refuse if answered is not None else None
        answered = (again(error) if again else refused(protocol, call, error))._replace(
            goes_on=False
        )
    finally:
        secure_clear(call.message)
        if call.typed is not None:
            call.typed.wipe()
    tell(answered.told)
    return answered


def _read(protocol: Protocol, call: Call) -> memoryview:
    """Return the peer's message, up to one byte more than allowed. The caller clears it."""

    def enough(message: memoryview) -> bool:
        return complete(protocol, call._replace(message=message))

    return read(protocol.MAX_REQUEST + 1, enough)


def _served(protocol: Protocol, call: Call) -> tuple[Call, Answered]:
    """Ask the person if the protocol requires it, then serve the message."""
    request = None
    try:
        asked = question(protocol, call)
        if asked:
            request = Request("store")
            call = call._replace(typed=_typed(asked))
        from keylease.wiring import Wiring

        return call, serve(protocol, call, Wiring())
    except INTERRUPTS:
        raise
    except BaseException as error:  # noqa: BLE001 - every error becomes an answer
        answered = refused(protocol, call, error, request)
        return call, answered._replace(goes_on=bool(protocol.GREETING))


def _typed(asked: str) -> Secret:
    """Return the secret that a person types on the terminal.

    Raises:
        UsageError: there is no terminal, or the answer is empty.
    """
    from keylease.system.terminal import ask_secret

    secret = ask_secret(asked)
    if not secret:
        msg = "nothing was typed"
        raise UsageError(msg)
    return secret


def _written(answered: Answered, stdout: int) -> Answered:
    """Write the answer, or a refusal if that fails. Return what was written."""
    try:
        await_reader(stdout, answered.gate.remaining())
        with answered.gate:
            write(answered.parts, stdout)
    except INTERRUPTS:
        raise
    except BaseException as error:
        answered.wipe()
        if answered.refuse is None or isinstance(error, PeerGoneError):
            raise
        # The gate refused, or a fault came in between.
        answered = answered.refuse(error)
        write(answered.parts, stdout)
    return answered
