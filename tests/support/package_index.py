"""A package index on loopback for one user, with one package and uploads."""

from __future__ import annotations

import base64
import hashlib
import io
import zipfile
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING

from support.loopback import Loopback

if TYPE_CHECKING:
    from pathlib import Path

PACKAGE = "keylease-probe"
WHEEL = "keylease_probe-1.0-py3-none-any.whl"
_INFO = "keylease_probe-1.0.dist-info"


def wheel() -> bytes:
    """Return an empty package."""
    files = {
        "keylease_probe.py": "",
        f"{_INFO}/METADATA": f"Metadata-Version: 2.1\nName: {PACKAGE}\nVersion: 1.0\n",
        f"{_INFO}/WHEEL": "Wheel-Version: 1.0\nGenerator: probe\nRoot-Is-Purelib: true\n"
        "Tag: py3-none-any\n",
    }
    files[f"{_INFO}/RECORD"] = "".join(f"{name},,\n" for name in (*files, f"{_INFO}/RECORD"))
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w") as archive:
        for name, text in files.items():
            archive.writestr(zipfile.ZipInfo(name), text)
    return written.getvalue()


class _Handler(BaseHTTPRequestHandler):
    """One connection; each index subclasses this with its `index`."""

    index: PackageIndex
    timeout = 30

    def do_GET(self) -> None:
        known = self._let_in()
        body, kind = self.index.answers.get(self.path, (b"", ""))
        self._answer(401 if not known else 200 if body else 404, body * known, kind)

    do_HEAD = do_GET

    def do_POST(self) -> None:
        known = self._let_in()
        if "chunked" in self.headers.get("Transfer-Encoding", ""):
            while size := int(self.rfile.readline(), 16):
                self.rfile.read(size + len("\r\n"))
            self.rfile.readline()
        else:
            self.rfile.read(int(self.headers.get("Content-Length", "0")))
        self._answer(200 if known else 401)

    def _let_in(self) -> bool:
        known = self.headers["Authorization"] == f"Basic {self.index.encoded}"
        self.index.seen.append((self.path, known))
        return known

    def _answer(self, status: int, body: bytes = b"", kind: str = "") -> None:
        self.send_response(status)
        if status == 401:
            self.send_header("WWW-Authenticate", 'Basic realm="probe"')
        if kind and body:
            self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


class PackageIndex(Loopback):
    """An index, for as long as the `with` block lasts.

    Args:
        username: The user's name.
        password: The user's password.
    """

    def __init__(self, username: str, password: str) -> None:
        self.encoded = base64.b64encode(f"{username}:{password}".encode()).decode()
        """User and password as they stand in a request."""
        self.seen: list[tuple[str, bool]] = []
        """The path of every request, and whether it was let in."""
        package = wheel()
        digest = hashlib.sha256(package).hexdigest()
        page = f'<a href="/files/{WHEEL}#sha256={digest}">{WHEEL}</a>'.encode()
        self.answers = {
            f"/simple/{PACKAGE}/": (page, "text/html"),
            f"/files/{WHEEL}": (package, "application/octet-stream"),
        }
        """What is answered to whom is let in, by its path."""
        super().__init__(type("Handler", (_Handler,), {"index": self}))

    @property
    def url(self) -> str:
        """The URL of the packages."""
        return f"http://{self.host}/simple/"

    @property
    def upload_url(self) -> str:
        """The URL for uploads."""
        return f"http://{self.host}/legacy/"

    def let_in(self) -> int:
        """Return the number of accepted requests since the last call."""
        count = sum(known for _, known in self.seen)
        self.seen.clear()
        return count


def project(directory: Path) -> Path:
    """Make a project with a built package in `dist`, and return the package's path."""
    directory.mkdir()
    (directory / "pyproject.toml").write_text(
        f'[project]\nname = "{PACKAGE}"\nversion = "1.0"\ndescription = ""\n', encoding="utf-8"
    )
    built = directory / "dist" / WHEEL
    built.parent.mkdir()
    built.write_bytes(wheel())
    return built
