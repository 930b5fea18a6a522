"""A git server on loopback that really checks passwords: `git http-backend` behind basic auth.

It serves tests and the demo: it records each request and whether it was authorised, and closing it
raises any fault of the server. It listens only on 127.0.0.1, never records a password, and holds
each message whole in memory, so it is for small repositories. It needs only the standard library
and git.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import os
import secrets
import shutil
import subprocess
import sys
import threading
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, NamedTuple, Self
from urllib.parse import quote, unquote, urlsplit

from support.waiting import WAIT_SECONDS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from email.message import Message
    from pathlib import Path

CONNECTION_SECONDS = 30
"""How long a connection may say nothing before its thread gives it up."""
# The only variables of the tests' environment that git gets. Windows programs need SYSTEMROOT to
# start.
_KEPT = ("PATH", "SYSTEMROOT")
# Fixed dates, so that equal commits have equal ids at any time.
_AUTHOR = "Ada <ada@example.com> 1700000000 +0000"


def find_git() -> str | None:
    """Return the first git on PATH that can serve and speak HTTP, or None.

    A git from a Python package may lack the transport, and Debian's may lack the server.
    """
    for directory in os.get_exec_path():
        git = shutil.which("git", path=directory)
        if git is not None:
            told = subprocess.run(
                [git, "--exec-path"],
                capture_output=True,
                check=False,
                text=True,
                timeout=WAIT_SECONDS,
            )
            parts = ("git-http-backend", "git-remote-http")
            if all(shutil.which(part, path=told.stdout.strip()) for part in parts):
                return git
    return None


class Seen(NamedTuple):
    """One request and the server's verdict on it, without a secret."""

    method: str
    path: str
    """With the query, which says what git wants: `/a.git/info/refs?service=git-upload-pack`."""
    encoding: str
    """How the body came if not plainly: `chunked` or `gzip`."""
    scheme: str
    """`basic`, `bearer`, or empty where the request brought no credential at all."""
    username: str
    """The name that was claimed with `basic`; empty with `bearer` and with nothing."""
    authorised: bool


class _Account(NamedTuple):
    password: bytes
    repositories: frozenset[str] | None
    """The repositories that it may see; `None` is all of them."""


class GitServer:
    """Repositories and accounts behind one port. Use it in a `with` block.

    Args:
        root: An empty directory for the repositories.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._program = find_git()
        self._accounts: dict[str, _Account] = {}
        self._tokens: set[bytes] = set()
        self._lock = threading.Lock()
        self._seen: list[Seen] = []
        self._faults: list[BaseException] = []
        self._http = _Server(self)
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.05,))

    def __enter__(self) -> Self:
        """Start serving."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop, and raise any fault of the server."""
        self._http.shutdown()
        self._thread.join(WAIT_SECONDS)
        self._http.server_close()
        if self._faults:
            raise self._faults[0]

    @property
    def host(self) -> str:
        """The host and port, as git writes them in `host=`."""
        return f"127.0.0.1:{self._http.server_address[1]}"

    def url(self, repository: str = "", username: str = "") -> str:
        """Return the URL of a repository, or of the server without one."""
        user = f"{quote(username, safe='')}@" if username else ""
        return f"http://{user}{self.host}/{repository}"

    def allow(
        self, username: str, password: str, repositories: Iterable[str] | None = None
    ) -> None:
        """Make an account, or change its password from the next request on.

        Args:
            username: Any text without a colon, which basic authentication does not allow.
            password: Any text.
            repositories: The repositories that the account may see; all if not given.
        """
        names = None if repositories is None else frozenset(repositories)
        with self._lock:
            self._accounts[username] = _Account(password.encode(), names)

    def allow_bearer(self, token: str) -> None:
        """Accept this token in `Authorization: Bearer`."""
        with self._lock:
            self._tokens.add(token.encode())

    def deny(self, username: str) -> None:
        """Delete an account."""
        with self._lock:
            del self._accounts[username]

    def add_repository(self, name: str, files: Mapping[str, str]) -> str:
        """Make a bare repository with one commit and return the commit's id.

        Args:
            name: A name such as `project.git`.
            files: Text by file name.
        """
        self._git("init", "--quiet", "--bare", "--initial-branch=main", str(self._root / name))
        return self.commit(name, files)

    def commit(self, name: str, files: Mapping[str, str], message: str = "Change") -> str:
        """Add a commit to the repository's branch and return its id."""
        repository = f"--git-dir={self._root / name}"
        stream = bytearray(b"commit refs/heads/main\n")
        stream += f"author {_AUTHOR}\ncommitter {_AUTHOR}\n".encode()
        stream += _counted(message)
        if self._git(repository, "for-each-ref", "refs/heads/main"):
            stream += b"from refs/heads/main^0\n"
        for path, text in files.items():
            stream += f"M 100644 inline {path}\n".encode() + _counted(text)
        self._git(repository, "fast-import", "--quiet", stdin=bytes(stream))
        return self.head(name)

    def head(self, name: str) -> str:
        """Return the id of the last commit on the repository's branch."""
        repository = f"--git-dir={self._root / name}"
        return self._git(repository, "rev-parse", "refs/heads/main").decode().strip()

    def seen(self) -> list[Seen]:
        """Return every request so far, in the order of the answers."""
        with self._lock:
            return list(self._seen)

    def forget(self) -> None:
        """Clear the record of requests."""
        with self._lock:
            self._seen.clear()

    def _judge(self, method: str, path: str, headers: Message) -> Seen:
        scheme, username, secret = _read_authorization(headers.get("Authorization", ""))
        encoding = headers.get("Content-Encoding", headers.get("Transfer-Encoding", ""))
        name = unquote(urlsplit(path).path).lstrip("/").partition("/")[0]
        with self._lock:
            # An unknown name costs one comparison too, in case people copy this server.
            unknown = _Account(secrets.token_bytes(32), frozenset())
            account = self._accounts.get(username, unknown)
            known = hmac.compare_digest(account.password, secret)
            may_see = account.repositories is None or name in account.repositories
            token = any(hmac.compare_digest(token, secret) for token in self._tokens)
            authorised = {"basic": known and may_see, "bearer": token}.get(scheme, False)
            seen = Seen(method, path, encoding, scheme, username, authorised)
            self._seen.append(seen)
        return seen

    def _git(self, *words: str, stdin: bytes = b"") -> bytes:
        done = subprocess.run(
            self._command(*words),
            input=stdin,
            env=self._environment(),
            capture_output=True,
            check=False,
            timeout=WAIT_SECONDS,
        )
        if done.returncode != 0:
            msg = f"git {words} failed: {done.stderr.decode(errors='replace')}"
            raise RuntimeError(msg)
        return done.stdout

    def _command(self, *words: str) -> list[str]:
        if self._program is None:
            msg = "no git here can serve HTTP: `git http-backend` is missing"
            raise RuntimeError(msg)
        return [self._program, *words]

    def _environment(self) -> dict[str, str]:
        kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
        # HOME is the directory of the repositories, so git reads no configuration of the user.
        return kept | {"HOME": str(self._root), "GIT_CONFIG_NOSYSTEM": "1", "LC_ALL": "C"}


class _Server(ThreadingHTTPServer):
    """The listening socket; port 0 lets the kernel choose a free port."""

    def __init__(self, owner: GitServer) -> None:
        self.owner = owner
        super().__init__(("127.0.0.1", 0), _Handler)

    def handle_error(self, _request: Any, _address: Any) -> None:
        """Keep a fault for the end; a client that disconnects, as a killed git does, is none."""
        error = sys.exception()
        if error is not None and not isinstance(error, ConnectionError | TimeoutError):
            self.owner._faults.append(error)


class _Handler(BaseHTTPRequestHandler):
    """One connection: judge each request, then run `git http-backend` by CGI (RFC 3875)."""

    server: _Server
    protocol_version = "HTTP/1.1"  # for Expect: 100-continue, chunked bodies and kept connections
    server_version = "rig"
    sys_version = ""
    timeout = CONNECTION_SECONDS

    def do_GET(self) -> None:
        """Answer `info/refs`, which starts every exchange, and files of the dumb protocol."""
        self._answer()

    def do_POST(self) -> None:
        """Answer `git-upload-pack` (clone, fetch) and `git-receive-pack` (push)."""
        self._answer()

    def log_message(self, *_: object) -> None:
        """Print nothing; `GitServer.seen` has the requests."""

    def _answer(self) -> None:
        # Always read the body, or the next request on this connection would start inside it.
        body = self._body()
        seen = self.server.owner._judge(self.command, self.path, self.headers)
        if not seen.authorised:
            self._send(HTTPStatus.UNAUTHORIZED, [("WWW-Authenticate", 'Basic realm="rig"')], b"")
            return
        done = subprocess.run(
            self.server.owner._command("http-backend"),
            input=body,
            env=self._variables(seen, len(body)),
            capture_output=True,
            check=False,
            timeout=WAIT_SECONDS,
        )
        status, headers, answer = _read_cgi(done.stdout)
        self._send(status, headers, answer)

    def _variables(self, seen: Seen, length: int) -> dict[str, str]:
        split = urlsplit(self.path)
        owner = self.server.owner
        variables = owner._environment() | {
            "GIT_PROJECT_ROOT": str(owner._root),
            "GIT_HTTP_EXPORT_ALL": "1",
            "REQUEST_METHOD": self.command,
            "PATH_INFO": unquote(split.path),
            "QUERY_STRING": split.query,
            "CONTENT_TYPE": self.headers.get("Content-Type", ""),
            "CONTENT_LENGTH": str(length),
            "REMOTE_ADDR": str(self.client_address[0]),
            # git-http-backend(1): without REMOTE_USER a push is refused.
            "REMOTE_USER": seen.username or seen.scheme,
        }
        # git compresses a large request; http-backend unpacks it if this variable says so.
        if encoding := self.headers.get("Content-Encoding"):
            variables["HTTP_CONTENT_ENCODING"] = encoding
        if protocol := self.headers.get("Git-Protocol"):
            variables["GIT_PROTOCOL"] = protocol
        return variables

    def _body(self) -> bytes:
        # RFC 9112, 6.3: chunked overrides a length. git sends chunks above http.postBuffer.
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            return b"".join(iter(self._chunk, b""))
        return self.rfile.read(int(self.headers.get("Content-Length", "0")))

    def _chunk(self) -> bytes:
        size = int(self.rfile.readline().partition(b";")[0], 16)
        data = self.rfile.read(size)
        # An empty line ends the data. Trailers may follow the last chunk, but git sends none.
        self.rfile.readline()
        return data

    def _send(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def _counted(text: str) -> bytes:
    """Encode `text` for git-fast-import(1), preceded by its length in bytes."""
    data = text.encode()
    return b"data %d\n%s\n" % (len(data), data)


def _read_authorization(header: str) -> tuple[str, str, bytes]:
    """Return the scheme, the claimed name and the secret of an Authorization header."""
    scheme, _, value = header.partition(" ")
    if scheme.lower() == "bearer":
        return "bearer", "", value.encode("latin-1")
    if scheme.lower() != "basic":
        return "", "", b""
    try:
        name, _, password = base64.b64decode(value, validate=True).partition(b":")
    except binascii.Error:
        return "basic", "", b""
    return "basic", name.decode(errors="replace"), password


def _read_cgi(output: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
    """Split a CGI answer into status, headers and body (RFC 3875, section 6)."""
    head, _, body = output.partition(b"\r\n\r\n")
    status = 200
    headers = []
    for line in head.decode("latin-1").split("\r\n"):
        name, _, value = line.partition(": ")
        if name == "Status":
            status = int(value.split()[0])
        elif name:
            headers.append((name, value))
    return status, headers, body
