"""Exchange: one message of a tool, one answer; the same for every entrance.

A request depends only on its `Call`. This module, and everything below it, reads no descriptor,
environment, command line or parent of this process. The entrance reads the message, calls `serve`,
writes the answer, reports to stderr, and wipes.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple, cast
from typing import Protocol as Interface

from keylease.errors import KeyleaseError, RequestError, StateError, UsageError
from keylease.faults import INTERRUPTS, as_refusal
from keylease.model import MAX_CAP_SECONDS, OPEN_GATE, Limits, Options, Reply
from keylease.secrets.memory import secure_clear

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from keylease.model import Answer, Caller, Gate, Refusal, Request
    from keylease.protocols.base import Asking, Call, Protocol
    from keylease.session.operation import Operation
    from keylease.session.service import SessionService


class Operations(Interface):
    """Begins operations: `keylease.wiring`, or a test's replacement."""

    def begin(self, caller: Caller, options: Options, environment: Mapping[str, str]) -> Operation:
        """Return a new operation. Its deadline starts now."""


class Answered(NamedTuple):
    """The answer to one message. The writer wipes it afterwards."""

    parts: Sequence[bytes | memoryview]
    """The answer in the peer's form; it may contain secrets."""
    told: str = ""
    """The text for stderr."""
    exit_code: int = 0
    goes_on: bool = False
    """Whether another message may follow."""
    reply: Reply | None = None
    """The released credential, if any."""
    refuse: Callable[[BaseException], Answered] | None = None
    """Returns the answer to write instead if this one cannot be written."""

    @property
    def gate(self) -> Gate:
        """The gate to enter for the write."""
        return OPEN_GATE if self.reply is None else self.reply.gate

    def wipe(self) -> None:
        """Wipe every secret of the answer, and close its gate."""
        for part in self.parts:
            if isinstance(part, memoryview) and not part.readonly:
                secure_clear(part)
        if self.reply is not None:
            self.reply.wipe()


def serve(protocol: Protocol, call: Call, wiring: Operations) -> Answered:
    """Answer one message: parse it, decide, and render the answer or a refusal.

    Args:
        protocol: The peer's protocol.
        call: The peer's call. The caller clears its message.
        wiring: Begins the operation.
    """
    # After a message that is too long, the conversation ends: its rest is not a new message.
    goes_on = bool(protocol.GREETING) and len(call.message) <= protocol.MAX_REQUEST
    if protocol.GREETING and not (call.message or complete(protocol, call)):
        return Answered(())
    request: Request | None = None

    def refuse(error: BaseException) -> Answered:
        return refused(protocol, call, error, request)._replace(goes_on=goes_on)

    try:
        options, plain = _opened(protocol, call)
        with wiring.begin(call.caller, options, call.environment) as operation:
            with _recorded(operation):
                request = protocol.parse(plain)
            try:
                return _answered(protocol, request, operation, refuse)._replace(goes_on=goes_on)
            finally:
                request.wipe()
    except INTERRUPTS:
        raise
    except BaseException as error:  # noqa: BLE001 - it is in the audit log by now
        return refuse(error)


def refused(
    protocol: Protocol, call: Call, error: BaseException, request: Request | None = None
) -> Answered:
    """Return the answer for an error.

    Args:
        protocol: The peer's protocol.
        call: The peer's call.
        error: The error.
        request: The request, if it was understood.
    """
    refusal = protocol.refuse(as_refusal(error), request)
    return Answered((refusal.reply,), heard(refusal, call), refusal.exit_code)


def heard(refusal: Refusal, call: Call) -> str:
    """Return the text for stderr; empty for programs, because git's t0303 compares stderr too."""
    return refusal.message if refusal.always or call.terminal else ""


def complete(protocol: Protocol, call: Call) -> bool:
    """Return whether the message is complete, although the peer has not closed its end."""
    try:
        return protocol.complete(_opened(protocol, call)[1])
    except UsageError:
        return True  # `serve` reports the error


def question(protocol: Protocol, call: Call) -> str:
    """Return the question to ask a person before this call is served; usually empty."""
    return cast("Asking", protocol).question(call) if hasattr(protocol, "question") else ""


def parse_options(argv: Sequence[str]) -> tuple[Options, tuple[str, ...]]:
    """Return the options, named as in `git credential-cache`, and the remaining arguments.

    Raises:
        UsageError: an option is unknown, or its value is not valid.
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


def _opened(protocol: Protocol, call: Call) -> tuple[Options, Call]:
    """Return the options of a call, and the call without them."""
    if not protocol.OPTIONS:
        return Options(), call
    options, arguments = parse_options(call.arguments)
    return options, call._replace(arguments=arguments)


def _answered(
    protocol: Protocol,
    request: Request,
    operation: Operation,
    refuse: Callable[[BaseException], Answered],
) -> Answered:
    """Return the rendered answer."""
    from keylease.session.service import SessionService

    answer = _decided(protocol, request, operation, SessionService(lambda: operation))
    reply = answer if isinstance(answer, Reply) else None

    def refuse_late(error: BaseException) -> Answered:
        if not isinstance(error, KeyleaseError):
            operation.audit.log_fault(error, operation.clock.now())
        return refuse(error)

    try:
        with _recorded(operation):
            return Answered(protocol.render(request, answer), reply=reply, refuse=refuse_late)
    except BaseException:
        if reply is not None:
            reply.wipe()
        raise


def _decided(
    protocol: Protocol, request: Request, operation: Operation, session: SessionService
) -> Answer:
    """Return the answer. A tool that reads every entry of a list does not use the sessions."""
    if request.action not in {"get", "list"} or not getattr(protocol, "READS_LISTS", False):
        return session.handle(request)
    from keylease.audit.events import Entry
    from keylease.store.listed import Listings

    listings, now = Listings(operation.state, operation.caller.process), operation.clock.now()
    if request.action == "list":
        answer = session.handle(request)
        listings.record(request.namespace, now)
        return answer
    try:
        is_read = request.target is not None and listings.is_read(request.target.namespace, now)
    except StateError:
        entry = Entry("session.refused", "refused", "state", None, request.target, request.username)
        operation.audit.log_or_gap(entry, now)
        raise
    return session.handle(request, is_use=not is_read)


@contextmanager
def _recorded(operation: Operation) -> Iterator[None]:
    """Record a malformed message or an unforeseen fault in the audit log."""
    try:
        yield
    except RequestError:
        from keylease.audit.events import Entry

        entry = Entry("request.refused", "refused", "malformed")
        operation.audit.log_or_gap(entry, operation.clock.now())
        raise
    except (KeyleaseError, *INTERRUPTS):
        raise
    except BaseException as error:
        operation.audit.log_fault(error, operation.clock.now())
        raise
