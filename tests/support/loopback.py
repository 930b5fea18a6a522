"""A server on loopback by HTTP or HTTPS; its handler decides the answers."""

from __future__ import annotations

import ssl
import threading
from http.server import ThreadingHTTPServer
from typing import TYPE_CHECKING, Self

from support.waiting import WAIT_SECONDS

if TYPE_CHECKING:
    from http.server import BaseHTTPRequestHandler
    from pathlib import Path


class _Server(ThreadingHTTPServer):
    def handle_error(self, *_: object) -> None:
        """Print nothing: clients disconnect if they reject the certificate or need no more."""


class Loopback:
    """A server, for as long as the `with` block lasts.

    Args:
        handler: Answers each request.
        certificate: A file with certificate and key, for HTTPS.
        asks_clients: Whether clients may present the same certificate.
    """

    def __init__(
        self,
        handler: type[BaseHTTPRequestHandler],
        certificate: Path | None = None,
        *,
        asks_clients: bool = False,
    ) -> None:
        self._http = _Server(("127.0.0.1", 0), handler)
        self._scheme = "http"
        if certificate is not None:
            self._scheme = "https"
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            if asks_clients:
                context.load_verify_locations(certificate)
                context.verify_mode = ssl.CERT_OPTIONAL
            self._http.socket = context.wrap_socket(self._http.socket, server_side=True)
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.05,))

    @property
    def host(self) -> str:
        """The host and port."""
        return f"127.0.0.1:{self._http.server_address[1]}"

    @property
    def url(self) -> str:
        """The server's URL, without a slash at the end."""
        return f"{self._scheme}://{self.host}"

    def __enter__(self) -> Self:
        """Start serving."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop."""
        self._http.shutdown()
        self._thread.join(WAIT_SECONDS)
        self._http.server_close()
