"""Where the log ends: one record of fixed size, beside the log (the head) and outside it (the pin).

Bytes only. It is rewritten after each line, in place, and nothing waits for the disk. What it
claims is checked by its own MAC, under the same key as the lines'.
"""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from keylease.secrets.secret import Secret

_MAGIC: Final = "keylease-audit-head-1"
# Each with its width. What is of fixed size can be overwritten on a full disk, in one write.
_SEQ, _SYNCED, _FILE, _SIZE = 20, 20, 16, 20
_DIGEST, _BOOT, _CONFIGURATION, _KEY, _MAC = 64, 32, 16, 16, 64
_WIDTHS: Final = (_SEQ, _SYNCED, _FILE, _SIZE, _DIGEST, _BOOT, _CONFIGURATION, _KEY, _MAC)
_NONE: Final = "-"
HEAD_BYTES: Final = len(_MAGIC) + sum(1 + width for width in _WIDTHS) + 1
"""How long a head is, its line feed included."""


class Head(NamedTuple):
    """What the log's last line is, as whoever wrote it says."""

    seq: int
    synced: int
    """The highest number of a line that is known to be on the disk."""
    file: str
    """The day file that the line is in."""
    size: int
    """The size of that file with the line."""
    digest: str
    boot: str
    """The boot of the machine in which it was written."""
    configuration: str
    """What the configuration's files held; see docs/audit.md."""
    key: str | None
    """The id of the key that vouches for this, or `None` if no key does."""


def pack(head: Head, key: Secret | None) -> bytes:
    """Return the head's bytes, with a MAC if there is a key. Its `key` is that key's id.

    Raises:
        ValueError: a field does not fit its place: a programming error.
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
    """Return what a head says, or `None` for bytes that are none. See `verify` for its MAC."""
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
    """Return whether `data` is a head for which the audit key vouches."""
    body, _, mac = data.rpartition(b" ")
    return parse(data) is not None and hmac.compare_digest(
        mac, _hmac(key, body).encode("ascii") + b"\n"
    )


def later(head: Head | None, pin: Head | None) -> Head | None:
    """Return which of the two knows more. Where they differ about one line the pin is believed."""
    if head is None or pin is None:
        return head or pin
    return pin if (pin.seq, pin.digest != head.digest) > (head.seq, False) else head


def _hmac(key: Secret, body: bytes) -> str:
    return hmac.digest(key.reveal(), body, "sha256").hex()
