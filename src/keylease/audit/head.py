"""A record of the log's end, of fixed size: beside the log (the head) and outside it (the pin).

Bytes only. The record is rewritten in place after each line, without a sync. Its own MAC, made with
the audit key, protects it.
"""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from keylease.secrets.secret import Secret

_MAGIC: Final = "keylease-audit-head-1"
# The width of each field. A record of fixed size can be overwritten in one write, on a full disk.
_SEQ, _SYNCED, _FILE, _SIZE = 20, 20, 16, 20
_DIGEST, _BOOT, _CONFIGURATION, _KEY, _MAC = 64, 32, 16, 16, 64
_WIDTHS: Final = (_SEQ, _SYNCED, _FILE, _SIZE, _DIGEST, _BOOT, _CONFIGURATION, _KEY, _MAC)
_NONE: Final = "-"
HEAD_BYTES: Final = len(_MAGIC) + sum(1 + width for width in _WIDTHS) + 1
"""Bytes of a head, with its line feed."""


class Head(NamedTuple):
    """The log's last line, as the writer of the head recorded it."""

    seq: int
    synced: int
    """The number of the last line that was synced to the disk."""
    file: str
    """The day file of the line."""
    size: int
    """The size of that file, with the line."""
    digest: str
    boot: str
    """The boot in which it was written."""
    configuration: str
    """The digest of the configuration's files; see docs/audit.md."""
    key: str | None
    """The id of the key of the MAC, or `None` if there is no MAC."""


def pack(head: Head, key: Secret | None) -> bytes:
    """Return the head's bytes, with a MAC if there is a key. `head.key` is that key's id.

    Raises:
        ValueError: a field does not fit: a programming error.
    """
    texts = (
        f"{head.seq:0{_SEQ}d}",
        f"{head.synced:0{_SYNCED}d}",
        head.file,
        f"{head.size:0{_SIZE}d}",
        head.digest,
        head.boot,
        head.configuration,
        head.key or _NONE * _KEY,
    )
    body = " ".join((_MAGIC, *texts)).encode("ascii")
    mac = _hmac(key, body) if key and head.key else _NONE * _MAC
    data = body + f" {mac}\n".encode("ascii")
    if parse(data) != head or (key is None) != (head.key is None):
        msg = "the head of the audit log cannot be written in its form"
        raise ValueError(msg)
    return data


def parse(data: bytes) -> Head | None:
    """Return the head, or `None` if the bytes are not one. `verify` checks the MAC."""
    if len(data) != HEAD_BYTES or not data.endswith(b"\n") or not data.isascii():
        return None
    magic, *texts = data[:-1].decode("ascii").split(" ")
    if magic != _MAGIC or tuple(map(len, texts)) != _WIDTHS:
        return None
    seq, synced, file, size, digest, boot, configuration, key, _ = texts
    if not (seq + synced + size).isdigit():
        return None
    name = None if key == _NONE * _KEY else key
    return Head(int(seq), int(synced), file, int(size), digest, boot, configuration, name)


def verify(data: bytes, key: Secret) -> bool:
    """Return whether `data` is a head with a valid MAC of the audit key."""
    body, _, mac = data.rpartition(b" ")
    return parse(data) is not None and hmac.compare_digest(
        mac, _hmac(key, body).encode("ascii") + b"\n"
    )


def later(head: Head | None, pin: Head | None) -> Head | None:
    """Return the one with the later line. If both name the same line but differ, trust the pin."""
    if head is None or pin is None:
        return head or pin
    return pin if (pin.seq, pin.digest != head.digest) > (head.seq, False) else head


def _hmac(key: Secret, body: bytes) -> str:
    return hmac.digest(key.reveal(), body, "sha256").hex()
