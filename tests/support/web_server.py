"""A server on loopback with a test's answers, by HTTP or HTTPS, which records requests."""

from __future__ import annotations

import datetime as dt
import ipaddress
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING, NamedTuple

from support.loopback import Loopback

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


class Asked(NamedTuple):
    """One request."""

    path: str
    """With the query."""
    authorization: str | None
    agent: str | None
    host: str | None = None


class Answer(NamedTuple):
    """The response to one request."""

    status: int
    location: str | None = None
    body: bytes = b""
    kind: str = "application/json"
    headers: tuple[tuple[str, str], ...] = ()


class WebServer(Loopback):
    """A server, for as long as the `with` block lasts.

    Args:
        answer: Decides about each request.
        certificate: A file with certificate and key, for HTTPS.
    """

    def __init__(self, answer: Callable[[Asked], Answer], certificate: Path | None = None) -> None:
        seen: list[Asked] = []
        self.seen = seen
        """Every request so far."""

        class Handler(BaseHTTPRequestHandler):
            timeout = 30

            def do_GET(self) -> None:
                headers = self.headers
                told_by = (headers[name] for name in ("Authorization", "User-Agent", "Host"))
                asked = Asked(self.path, *told_by)
                seen.append(asked)
                told = answer(asked)
                self.send_response(told.status)
                if told.location is not None:
                    self.send_header("Location", told.location)
                for name, value in told.headers:
                    self.send_header(name, value)
                if told.body:
                    self.send_header("Content-Type", told.kind)
                self.send_header("Content-Length", str(len(told.body)))
                self.end_headers()
                self.wfile.write(told.body)

            def log_message(self, *_: object) -> None:
                pass

        super().__init__(Handler, certificate)


def make_certificate(path: Path, address: str = "127.0.0.1") -> Path:
    """Write a self-signed certificate for an address, and its key, into one file."""
    from cryptography import x509  # noqa: PLC0415 - not all tests need it
    from cryptography.hazmat.primitives import hashes, serialization  # noqa: PLC0415
    from cryptography.hazmat.primitives.asymmetric import ec  # noqa: PLC0415

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.oid.NameOID.COMMON_NAME, "rig")])
    now = dt.datetime.now(dt.UTC)
    alternative = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(address))])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(alternative, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    path.write_bytes(private + certificate.public_bytes(serialization.Encoding.PEM))
    return path
