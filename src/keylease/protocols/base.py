"""The interface of the helper protocols: parse a peer's call, render the answer to its bytes.

A protocol uses no clock, no store and no files. Its one invariant: any arguments, environment and
bytes give a `Request`, a `RequestError` or a `UsageError`, and nothing else.

This module also holds what the protocols share, because they do not import each other.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NamedTuple
from typing import Protocol as Interface

from keylease.errors import (
    PolicyError,
    RequestError,
    SessionNotFoundError,
    UsageError,
    VaultRevokedError,
    printable,
)
from keylease.model import Caller, Refusal

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from keylease.errors import KeyleaseError
    from keylease.model import Answer, Request, Target
    from keylease.secrets.secret import Secret

ENDED: Final = (SessionNotFoundError, VaultRevokedError, PolicyError)
"""The errors for an absent or ended session. For a peer whose protocol has a miss, each is a miss:
the peer continues as without a helper."""
UNFIT: Final = re.compile(r"[\x00-\x20\x7f-\x9f]|\s")
"""Characters that no URL contains: blanks and control characters, also those beyond ASCII."""
AFRESH: Final = "run: keylease init; then log in again"
"""The hint after a revocation. A login by a tool makes no new vault key; only a person can."""
USAGE_EXIT: Final = 2
"""The exit code for a wrong command line, unless the peer's own programs use another."""

_PORTS: Final = {"https": ":443", "http": ":80"}


NOBODY: Final = Caller(0, None, None, None)
"""The caller of a call that is only parsed."""


class Call(NamedTuple):
    """The input of a peer: one start of the program, or one message of a conversation.

    An answer depends on nothing else: a protocol reads nothing of its own process.
    """

    arguments: tuple[str, ...]
    """The command line without the program's name. A protocol gets it without keylease's own
    options."""
    environment: Mapping[str, str]
    message: bytearray | memoryview
    """The bytes of stdin, at most `MAX_REQUEST` + 1. The caller clears them afterwards."""
    caller: Caller = NOBODY
    terminal: bool = False
    """Whether a person reads stderr."""
    typed: Secret | None = None
    """A person's answer to the protocol's `question`. The caller wipes it afterwards."""


class Protocol(Interface):
    """The protocol of one peer. Each module of this package implements it.

    A module whose tool asks for a list and then for each entry also has `READS_LISTS = True`. Then
    a `get` just after a `list`, by the same process, is no use of a session.
    """

    NAMESPACE: str
    """The namespace of its sessions."""
    MAX_REQUEST: int
    """The longest allowed message in bytes."""
    OPTIONS: bool
    """Whether `--timeout` and `--keychain` may precede the peer's own arguments."""
    GREETING: bytes
    """Written before anything is read. With a greeting, the call is a conversation: one answer to
    each message until the peer closes its end. Its exit code is 0, because each refusal is an
    answer. A peer waits for its answer, so bytes that arrive together are one message."""
    USAGE: str
    """One line that shows the command line."""

    def complete(self, call: Call) -> bool:
        """Return whether the message is complete, although the peer has not closed its end.

        If it is true before anything is read, stdin is not read at all.
        """

    def parse(self, call: Call) -> Request:
        """Return the peer's request.

        Raises:
            UsageError: the arguments are not valid.
            RequestError: the message breaks the peer's protocol.
        """

    def render(self, request: Request, answer: Answer) -> Sequence[bytes | memoryview]:
        """Return the whole answer in parts. An `answer` of `None` is a miss, or needs no reply.

        Secrets in the parts are views of the reply's, or have memory of their own if they are
        encoded. The caller writes all parts at once, and then clears every writable view.

        Raises:
            RequestError: this protocol cannot express the credential.
        """

    def refuse(self, error: KeyleaseError, request: Request | None = None) -> Refusal:
        """Return the refusal or the miss in this peer's form.

        Args:
            error: The reason.
            request: The request, if it was understood. Its secrets may be wiped.
        """


class Asking(Protocol, Interface):
    """A protocol whose peer lets its helper ask a person."""

    def question(self, call: Call) -> str:
        """Return the question for the terminal; empty if there is none."""


class Nameable(Protocol, Interface):
    """A protocol whose sessions a person can start and end by hand: all but git's."""

    def target(self, name: str) -> Target:
        """Return the target that the peer asks for, from the name that a person uses.

        Raises:
            UsageError: the name is not valid.
        """


def operation(arguments: Sequence[str]) -> str:
    """Return the only argument.

    Raises:
        UsageError: there is not exactly one.
    """
    if len(arguments) != 1:
        msg = f"expected one operation, found {len(arguments)}"
        raise UsageError(msg)
    return arguments[0]


def misused(error: UsageError, usage: str) -> Refusal:
    """Return the refusal of a wrong command line, with the usage on stderr."""
    return Refusal(b"", f"{explained(error)}{usage}\n", USAGE_EXIT, always=True)


def demand_bounded(
    message: bytearray | memoryview, limit: int, what: str = "the request is"
) -> None:
    """Check the length of a message.

    Raises:
        RequestError: it is longer than `limit`.
    """
    if len(message) > limit:
        msg = f"{what} longer than {limit} bytes"
        raise RequestError(msg)


def one_spelling(scheme: str, host: str) -> str:
    """Return a host of http or https in the normal form of RFC 3986, 6.2.2.1 and 6.2.3.

    Only ASCII letters become lower case. Some others would turn into ASCII letters: the kelvin sign
    into a k.
    """
    packed = host.encode("utf-8", "surrogatepass").lower()
    return packed.decode("utf-8", "surrogatepass").removesuffix(_PORTS[scheme])


def explained(error: KeyleaseError, login: str = "") -> str:
    """Return an error and its hint as lines that are safe on a terminal.

    Args:
        error: The error.
        login: The command that starts such a session, if this tool has one.
    """
    over = isinstance(error, SessionNotFoundError | VaultRevokedError)
    hint = f"start one with: {login}" if login and over else error.hint
    lines = [f"keylease: error: {error}", f"keylease: hint: {hint}"]
    return "".join(f"{printable(line)}\n" for line in lines[: 2 if hint else 1])
