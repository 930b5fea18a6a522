"""A server on loopback that answers as a test says, with bodies, by HTTP or HTTPS.

A fault of the test's own answer is raised when the server is closed, not lost in a thread.
"""

from __future__ import annotations

import ssl
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, NamedTuple, Self

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
    """What is answered to it."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = {}


class ApiServer:
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
                # Only a connection by HTTPS has such a method.
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

        class Server(ThreadingHTTPServer):
            def handle_error(self, *_: object) -> None:
                """Say nothing: a client that finds the certificate wanting goes away."""

        self._http = Server(("127.0.0.1", 0), Handler)
        self._scheme = "http"
        if certificate is not None:
            self._scheme = "https"
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            context.load_verify_locations(certificate)
            context.verify_mode = ssl.CERT_OPTIONAL
            self._http.socket = context.wrap_socket(self._http.socket, server_side=True)
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.05,))

    @property
    def url(self) -> str:
        """The server's URL, without a slash at the end."""
        return f"{self._scheme}://127.0.0.1:{self._http.server_address[1]}"

    def __enter__(self) -> Self:
        """Start to serve."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop, and raise what went wrong in the test's answers meanwhile."""
        self._http.shutdown()
        self._thread.join()
        self._http.server_close()
        if self._faults:
            raise self._faults[0]
