"""A server on loopback with a test's answers and with bodies, by HTTP or HTTPS.

Closing the server raises any fault of the test's own answers.
"""

from __future__ import annotations

from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING, Any, NamedTuple

from support.loopback import Loopback

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from email.message import Message
    from pathlib import Path


class Asked(NamedTuple):
    """One request."""

    method: str
    path: str
    """With the query."""
    headers: Message
    body: bytes
    certificate: dict[str, Any] | None
    """The client's, if it showed one that the authority has signed."""


class Answer(NamedTuple):
    """The response to one request."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = {}


class ApiServer(Loopback):
    """A server, for as long as the `with` block lasts.

    Args:
        answer: Decides about each request.
        certificate: A file with certificate and key, for HTTPS; clients may show the same one.
    """

    def __init__(self, answer: Callable[[Asked], Answer], certificate: Path | None = None) -> None:
        faults: list[BaseException] = []
        self._faults = faults

        class Handler(BaseHTTPRequestHandler):
            timeout = 30
            protocol_version = "HTTP/1.1"

            def _answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
                # Only an HTTPS connection has this method.
                shown = getattr(self.connection, "getpeercert", dict)() or None
                asked = Asked(self.command, self.path, self.headers, body, shown)
                try:
                    answered = answer(asked)
                except BaseException as error:
                    faults.append(error)
                    raise
                self.send_response(answered.status)
                for name, value in answered.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(answered.body)))
                self.end_headers()
                self.wfile.write(answered.body)

            do_GET = do_PUT = do_POST = do_DELETE = _answer

            def log_message(self, *_: object) -> None:
                pass

        super().__init__(Handler, certificate, asks_clients=True)

    def __exit__(self, *_: object) -> None:
        """Stop, and raise any fault of the test's answers."""
        super().__exit__()
        if self._faults:
            raise self._faults[0]
