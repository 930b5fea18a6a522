"""A Secret Service with scripted answers, on a private bus.

It does what a real one does not do on request: demand a prompt, lose an item between two calls,
answer with an error or with nonsense. It speaks the real protocol over a real bus.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from jeepney import HeaderFields, MessageType, message_bus, new_error, new_method_return
from jeepney.io.blocking import DBusConnection, prep_socket
from support.secret_service import LOGIN, ROOT, SERVICE, WAIT_SECONDS

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

ITEM = f"{LOGIN}/1"
PROMPT = f"{ROOT}/prompt/1"


class Answer(NamedTuple):
    """A reply's signature and body."""

    signature: str | None = None
    body: tuple[Any, ...] = ()


class Failure(NamedTuple):
    """An error reply."""

    name: str
    text: str = "a message of the service"


UNLOCKED_AND_EMPTY = {
    "ReadAlias": Answer("o", (LOGIN,)),
    "Collections": Answer("v", (("ao", [LOGIN]),)),
    "Locked": Answer("v", (("b", False),)),
    "SearchItems": Answer("ao", ([],)),
    "OpenSession": Answer("vo", (("s", ""), f"{ROOT}/session/1")),
    "GetSecrets": Answer("a{o(oayays)}", ({},)),
    "CreateItem": Answer("oo", (ITEM, "/")),
    "Delete": Answer("o", ("/",)),
    "Dismiss": Answer(),
}
"""A service with one unlocked collection in which nothing is. Tests change an answer or two."""


class ScriptedSecretService:
    """Owns the Secret Service's name on a bus, and answers from a table.

    Args:
        bus: The socket of a private bus without a Secret Service.
        script: The answer for each method or property, or a list of answers to give in turn; the
            last one repeats.
    """

    def __init__(self, bus: Path, script: dict[str, Any]) -> None:
        self._bus = bus
        self._script = {**UNLOCKED_AND_EMPTY, **script}
        self.asked: list[str] = []
        """The methods that were called, in order."""

    def __enter__(self) -> Self:
        """Start answering."""
        self._connection = DBusConnection(prep_socket(str(self._bus)))
        # 4: do not queue for the name.
        reply = self._connection.send_and_get_reply(
            message_bus.RequestName(SERVICE, 4), timeout=WAIT_SECONDS
        )
        assert (1,) == reply.body
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Ask the service to stop."""
        from jeepney import DBusAddress, new_method_call  # noqa: PLC0415

        with DBusConnection(prep_socket(str(self._bus))) as connection:
            message = new_method_call(DBusAddress(ROOT, SERVICE, "test.Script"), "Stop")
            connection.send_and_get_reply(message, timeout=WAIT_SECONDS)
        self._thread.join(WAIT_SECONDS)
        self._connection.close()

    def _serve(self) -> None:
        while True:
            message = self._connection.receive(timeout=WAIT_SECONDS)
            if message.header.message_type is not MessageType.method_call:
                continue
            member = message.header.fields[HeaderFields.member]
            if member == "Stop":
                self._connection.send(new_method_return(message))
                return
            name = message.body[1] if member == "Get" else member
            self.asked.append(name)
            answer = self._script[name]
            if isinstance(answer, list):
                answer = answer.pop(0) if len(answer) > 1 else answer[0]
            if isinstance(answer, Failure):
                self._connection.send(new_error(message, answer.name, "s", (answer.text,)))
            else:
                self._connection.send(new_method_return(message, answer.signature, answer.body))
