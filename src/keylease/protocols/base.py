"""What every helper protocol must do: a peer's bytes to a `Request`, a `Reply` to the peer's bytes.

A protocol knows no clock, no store and no files. Its one invariant: any arguments and any bytes
give a `Request` or a `RequestError` (or a `UsageError` for the arguments), nothing else.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from typing import Protocol as Interface

if TYPE_CHECKING:
    from collections.abc import Sequence

    from keylease.errors import KeyleaseError
    from keylease.model import Refusal, Reply, Request


class Protocol(Interface):
    """One peer's language. Each module of this package is one."""

    NAMESPACE: str
    """The family of tools whose sessions it sees."""
    MAX_REQUEST: int
    """The longest message in bytes; one byte more is refused."""

    def parse(self, action: str, message: bytearray | memoryview) -> Request:
        """Return what the peer asks.

        Args:
            action: The operation, as the peer named it on the command line.
            message: All of stdin, up to `MAX_REQUEST` + 1 bytes. The caller wipes it afterwards.

        Raises:
            RequestError: the message breaks the peer's protocol.
        """

    def complete(self, action: str, message: bytearray | memoryview) -> bool:
        """Return whether `message` needs no further bytes, though the peer's end is still open."""

    def render(self, request: Request, reply: Reply | None) -> Sequence[bytes | memoryview]:
        """Return the whole answer in its parts; `None` is a miss. Empty if there is nothing to say.

        The secrets in it are views of those in the reply: the caller writes them before it wipes
        the reply, all parts in one call.

        Raises:
            RequestError: the credential cannot be said in this protocol.
        """

    def refuse(self, error: KeyleaseError) -> Refusal:
        """Return how this peer is told no."""
