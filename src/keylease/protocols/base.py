"""What every helper protocol must do: a peer's call to a `Request`, the answer to the peer's bytes.

A protocol knows no clock, no store and no files. Its one invariant: any arguments, any environment
and any bytes give a `Request`, a `RequestError` or a `UsageError`, nothing else.

What the protocols share stands here, because none of them imports another.
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
"""What a person hears of as an end. To a peer that knows a miss it is one: it goes on as it would
without a helper."""
UNFIT: Final = re.compile(r"[\x00-\x20\x7f-\x9f]|\s")
"""What stands in no URL: blanks and control characters, those beyond ASCII too."""
AFRESH: Final = "run: keylease init; then log in again"
"""The hint after a revocation. No login by a tool makes a new vault key, so a person has to."""
USAGE_EXIT: Final = 2
"""What a wrong command line exits with, where the peer's own programs have no other number."""

_PORTS: Final = {"https": ":443", "http": ":80"}


NOBODY: Final = Caller(0, None, None, None)
"""The caller of a call that is only read, and asks for nothing."""


class Call(NamedTuple):
    """What a peer brings: one start of the program, or one message of a conversation.

    It is all that an answer depends on: no protocol looks for more in its own process.
    """

    arguments: tuple[str, ...]
    """The command line without the program's name. A protocol sees it without the options of
    keylease's own."""
    environment: Mapping[str, str]
    message: bytearray | memoryview
    """What was read of stdin, up to `MAX_REQUEST` + 1 bytes. The caller clears it afterwards."""
    caller: Caller = NOBODY
    """Who asks."""
    terminal: bool = False
    """Whether a person reads stderr."""
    typed: Secret | None = None
    """What a person has answered to the protocol's `question`. The caller wipes it afterwards."""


class Protocol(Interface):
    """One peer's language. Each module of this package is one."""

    NAMESPACE: str
    """The family of tools whose sessions it sees."""
    MAX_REQUEST: int
    """The longest message in bytes; one byte more is refused."""
    OPTIONS: bool
    """Whether `--timeout` and `--keychain` may stand before the peer's own arguments."""
    GREETING: bytes
    """What is said before anything is read. With a greeting the call is a conversation: one answer
    to each message, until the peer closes its end; the exit code is then 0, for each refusal was
    an answer. A peer waits for its answer: what comes after a message in one piece is of it."""
    USAGE: str
    """One line: how the program is called."""

    def complete(self, call: Call) -> bool:
        """Return whether the message needs no further bytes, though the peer's end is still open.

        It is asked before anything is read, too: where it is true then, stdin is left alone.
        """

    def parse(self, call: Call) -> Request:
        """Return what the peer asks.

        Raises:
            UsageError: the arguments make no sense.
            RequestError: the message breaks the peer's protocol.
        """

    def render(self, request: Request, answer: Answer) -> Sequence[bytes | memoryview]:
        """Return the whole answer in its parts; `None` is a miss, or something done in silence.

        Secrets in it are views of those in the reply, or of memory of their own where they have to
        be written in another way. The caller writes all parts at once, and then clears every view
        that can be written to.

        Raises:
            RequestError: the credential cannot be said in this protocol.
        """

    def refuse(self, error: KeyleaseError, request: Request | None = None) -> Refusal:
        """Return how this peer is told no, or that nothing is known.

        Args:
            error: Why.
            request: What was asked, if that much was understood. Its secrets may be wiped.
        """


class Asking(Protocol, Interface):
    """A protocol whose peer leaves a question to its helper, which then has to ask a person."""

    def question(self, call: Call) -> str:
        """Return what is asked on the terminal before the call is answered; empty for nothing."""


class ReadingLists(Protocol, Interface):
    """A protocol whose tool asks for a list, too, and then for each entry of it."""

    READS_LISTS: bool
    """Whether reading an entry of a list that was given a moment ago is no use of a session."""


class Nameable(Protocol, Interface):
    """A protocol whose sessions a person can start and end by hand: all but git's."""

    def target(self, name: str) -> Target:
        """Return the target that the peer will ask for, from the name that a person knows it by.

        Raises:
            UsageError: there can be no such target.
        """


def operation(arguments: Sequence[str]) -> str:
    """Return the one argument of a program that takes one.

    Raises:
        UsageError: there are more, or none.
    """
    if len(arguments) != 1:
        msg = f"expected one operation, found {len(arguments)}"
        raise UsageError(msg)
    return arguments[0]


def misused(error: UsageError, usage: str) -> Refusal:
    """Return what whoever starts a helper by hand, or sets it up wrongly, is told on stderr."""
    return Refusal(b"", f"{explained(error)}{usage}\n", USAGE_EXIT, always=True)


def demand_bounded(
    message: bytearray | memoryview, limit: int, what: str = "the request is"
) -> None:
    """Raise if a message is longer than a peer's ever are.

    Raises:
        RequestError: it is.
    """
    if len(message) > limit:
        msg = f"{what} longer than {limit} bytes"
        raise RequestError(msg)


def one_spelling(scheme: str, host: str) -> str:
    """Return a host of http or https in the one spelling of RFC 3986, 6.2.2.1 and 6.2.3.

    Only the letters of ASCII have small ones here. Others stay, for some would turn into those: the
    sign of the kelvin into a k.
    """
    packed = host.encode("utf-8", "surrogatepass").lower()
    return packed.decode("utf-8", "surrogatepass").removesuffix(_PORTS[scheme])


def explained(error: KeyleaseError, login: str = "") -> str:
    """Return what a person is told of a refusal, in whole lines that are safe on a terminal.

    Args:
        error: The refusal.
        login: The command that starts such a session, where there is one for this very tool.
    """
    over = isinstance(error, SessionNotFoundError | VaultRevokedError)
    hint = f"start one with: {login}" if login and over else error.hint
    lines = [f"keylease: error: {error}", f"keylease: hint: {hint}"]
    return "".join(f"{printable(line)}\n" for line in lines[: 2 if hint else 1])
