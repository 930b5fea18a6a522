"""A session bus that answers every client with the same bytes and then stays silent."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

_PATIENCE_SECONDS = 60.0
REPLY, TO_SERIAL, SIGNATURE = 2, 5, 8


class HostileBus:
    """Listens on a socket and accepts every client.

    Args:
        path: The path of the socket.
        answer: The bytes sent after each client's first call; empty means silence.
    """

    def __init__(self, path: Path, answer: bytes) -> None:
        self._answer = answer
        self._listening = socket.socket(socket.AF_UNIX)
        self._listening.bind(str(path))
        self._listening.listen()
        self._clients: list[socket.socket] = []
        self.asked = threading.Event()
        """Set when the first client has asked something."""
        self.address = f"unix:path={path}"

    def __enter__(self) -> Self:
        """Start accepting clients."""
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Disconnect all clients."""
        # shutdown(2) wakes a thread that waits in accept(2); close(2) does not.
        self._listening.shutdown(socket.SHUT_RDWR)
        self._thread.join(_PATIENCE_SECONDS)
        for each in (self._listening, *self._clients):
            each.close()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listening.accept()
                client.settimeout(_PATIENCE_SECONDS)
                self._clients.append(client)
                with contextlib.suppress(OSError):
                    self._greet(client)

    def _greet(self, client: socket.socket) -> None:
        """Authenticate a client (D-Bus Specification, "Authentication Protocol"), and answer it."""
        said = b""
        while b"BEGIN\r\n" not in said:
            got = client.recv(4096)
            if not got:
                return
            said += got
            if b"AUTH" in said and b"BEGIN" not in said:
                client.sendall(b"OK 0123456789abcdef0123456789abcdef\r\n")
        if said.endswith(b"BEGIN\r\n"):
            client.recv(4096)
        client.sendall(self._answer)
        self.asked.set()


def reply(signature: bytes, body: bytes, *, to: int = 1, fields: bytes = b"") -> bytes:
    """Return a method's reply with that signature and any body."""
    head = struct.pack("<BBBBI", TO_SERIAL, 1, ord("u"), 0, to)
    head += struct.pack("<BBBBB", SIGNATURE, 1, ord("g"), 0, len(signature)) + signature + b"\0"
    head += fields
    start = struct.pack("<4sIII", bytes((ord("l"), REPLY, 0, 1)), len(body), 9, len(head))
    return start + head + bytes(-len(head) % 8) + body


def nested(depth: int) -> bytes:
    """Return a reply of nested variants."""
    return reply(b"v", b"\1v\0" * depth + b"\1y\0\7")


def nested_arrays(depth: int) -> bytes:
    """Return a reply whose variant has a signature of nested arrays."""
    signature = b"a" * min(depth, 254) + b"y"
    return reply(b"v", bytes((len(signature),)) + signature + b"\0" + bytes(64))
