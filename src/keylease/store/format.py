"""The binary layout of the files: length-prefixed fields and fixed-size records, big-endian.

It converts values to bytes and back, without cryptography or I/O. docs/format.md describes the
layout in prose.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final, NamedTuple

from keylease.errors import UnknownFormatError
from keylease.model import Credential, Moment, Target, name_bytes
from keylease.secrets.memory import allocate, secure_clear
from keylease.secrets.secret import Secret

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

MAGIC: Final = b"KLSF"
VERSION: Final = 1
"""The version of the sealed file."""
TOUCH_VERSION: Final = 2
"""The version of the touch record. A record of version 1 counts as lost."""
SHARES: Final = range(4)
"""The place of a share: 0 none, 1 kernel keyring, 2 runtime directory, 3 Credential Manager."""
DIGEST_BYTES: Final = 32
MAC_BYTES: Final = 32
MARK_GENERATION_BYTES: Final = 8
"""The first bytes of a mark: the generation of its audit key."""
_EXPIRES_BYTES: Final = 8

# magic, version, share, session id, boot, generation, created (wall, boot), idle, cap, salt,
# commitment
_HEADER = struct.Struct(">4sBB16s16sIQQII32s16s")
HEADER_BYTES: Final = _HEADER.size
# version, session id, boot, used (wall, boot), released (wall, boot), header digest, mark
_TOUCH = struct.Struct(">B16s16sQQQQ32s32s")
TOUCH_BYTES: Final = _TOUCH.size + MAC_BYTES
_FIELD = struct.Struct(">BI")

# The fields of the label, in their required order.
_NAMESPACE, _PROTOCOL, _HOST, _PATH, _USERNAME, _AUTHTYPE, _EXPIRES, _ECHO = range(1, 9)
_KNOWN = frozenset(range(1, 9))
_REQUIRED = frozenset({_NAMESPACE, _PROTOCOL, _HOST, _ECHO})
# The fields of the credential: one secret, then a name and a value for each extra field.
_SECRET, _NAME, _VALUE = range(1, 4)


class Header(NamedTuple):
    """The cleartext start of a sealed file. All of it is authenticated."""

    share: int
    """The place of the session's volatile share; see `SHARES`."""
    id: str
    generation: int
    created: Moment
    idle_seconds: int
    cap_seconds: int
    salt: bytes = bytes(32)
    commitment: bytes = bytes(16)

    def pack(self) -> bytes:
        """Return the header's bytes."""
        return _HEADER.pack(
            MAGIC,
            VERSION,
            self.share,
            _sixteen_bytes(self.id),
            _sixteen_bytes(self.created.boot),
            self.generation,
            self.created.wall_ns,
            self.created.boot_ns,
            self.idle_seconds,
            self.cap_seconds,
            self.salt,
            self.commitment,
        )

    @classmethod
    def unpack(cls, sealed: bytes) -> Header:
        """Return the header at the start of `sealed`, unproved until the label is opened.

        Raises:
            UnknownFormatError: it is no sealed file of this version.
        """
        if len(sealed) < HEADER_BYTES or not sealed.startswith(MAGIC):
            msg = f"not a sealed file: expected it to start with {MAGIC.decode()}"
            raise UnknownFormatError(msg)
        _, version, share, session, boot, generation, wall, since, idle, cap, salt, commitment = (
            _HEADER.unpack_from(sealed)
        )
        if version != VERSION or share not in SHARES:
            last = f"{VERSION}.{max(SHARES)}"
            msg = f"a sealed file of version {version}.{share}, expected {VERSION}.0 to {last}"
            raise UnknownFormatError(msg)
        created = Moment(wall, since, boot.hex())
        return cls(share, session.hex(), generation, created, idle, cap, salt, commitment)


class Label(NamedTuple):
    """The sealed part without a secret. It is opened to find and to judge a session."""

    target: Target
    username: str | None
    authtype: str | None
    expires: int | None
    echo: bytes
    """A keyed digest of target, username and secret; see `keylease.store.seal.echo`."""

    def pack(self) -> bytes:
        """Return the label's bytes."""
        if self.expires is not None and not 0 <= self.expires < 1 << 64:
            msg = f"an expiry of {self.expires}, expected Unix seconds in {_EXPIRES_BYTES} bytes"
            raise ValueError(msg)
        expires = None if self.expires is None else self.expires.to_bytes(_EXPIRES_BYTES)
        fields = (
            (_NAMESPACE, name_bytes(self.target.namespace)),
            (_PROTOCOL, name_bytes(self.target.protocol)),
            (_HOST, name_bytes(self.target.host)),
            (_PATH, encode_optional(self.target.path)),
            (_USERNAME, encode_optional(self.username)),
            (_AUTHTYPE, encode_optional(self.authtype)),
            (_EXPIRES, expires),
            (_ECHO, self.echo),
        )
        return b"".join(
            _FIELD.pack(tag, len(value)) + value for tag, value in fields if value is not None
        )

    @classmethod
    def unpack(cls, packed: bytes) -> Label:
        """Return the label in `packed`, which the caller has authenticated.

        Raises:
            UnknownFormatError: a field is missing, unknown, doubled or out of order.
        """
        pairs = [(tag, bytes(value)) for tag, value in _fields(memoryview(packed))]
        fields = dict(pairs)
        if [tag for tag, _ in pairs] != sorted(fields) or not _REQUIRED <= fields.keys() <= _KNOWN:
            msg = "a label with fields that are missing, doubled, out of order or unknown"
            raise UnknownFormatError(msg)
        expires = fields.get(_EXPIRES)
        if len(fields[_ECHO]) != DIGEST_BYTES or (
            expires is not None and len(expires) != _EXPIRES_BYTES
        ):
            msg = "a label with an expiry or an echo of the wrong length"
            raise UnknownFormatError(msg)
        return cls(
            Target(
                _decode(fields[_NAMESPACE]),
                _decode(fields[_PROTOCOL]),
                _decode(fields[_HOST]),
                _decode(fields[_PATH]) if _PATH in fields else None,
            ),
            _decode(fields[_USERNAME]) if _USERNAME in fields else None,
            _decode(fields[_AUTHTYPE]) if _AUTHTYPE in fields else None,
            None if expires is None else int.from_bytes(expires),
            fields[_ECHO],
        )


class Touch(NamedTuple):
    """The last use of a session. The record is kept for as long as an echo may come."""

    id: str
    used: Moment
    released: Moment | None
    header_digest: bytes
    """SHA-256 of the sealed file's header, so that the MAC covers the header too."""
    mark: bytes
    """It recognises the secret after the session's end; see `keylease.store.seal.mark`."""

    def pack(self) -> bytes:
        """Return the record's bytes, without its MAC."""
        released = self.released or Moment(0, 0, self.used.boot)
        return _TOUCH.pack(
            TOUCH_VERSION,
            _sixteen_bytes(self.id),
            _sixteen_bytes(self.used.boot),
            self.used.wall_ns,
            self.used.boot_ns,
            released.wall_ns,
            released.boot_ns,
            self.header_digest,
            self.mark,
        )

    @classmethod
    def unpack(cls, packed: bytes) -> Touch:
        """Return the record in `packed`, whose MAC the caller has checked.

        Raises:
            UnknownFormatError: it has another version.
        """
        version, session, boot, wall, since, released_wall, released, digest, mark = (
            _TOUCH.unpack_from(packed)
        )
        if version != TOUCH_VERSION:
            msg = f"a touch record of version {version}, expected {TOUCH_VERSION}"
            raise UnknownFormatError(msg)
        moment = Moment(released_wall, released, boot.hex()) if released_wall or released else None
        return cls(session.hex(), Moment(wall, since, boot.hex()), moment, digest, mark)


def packed_bytes(credential: Credential) -> int:
    """Return the packed length of the credential, without copying it."""
    return sum(_FIELD.size + len(part) for _, part in _parts(credential))


def pack_credential(credential: Credential) -> memoryview:
    """Return the secret and the extra fields, packed. The caller clears the result."""
    parts = _parts(credential)
    packed = allocate(packed_bytes(credential))
    at = 0
    for tag, part in parts:
        _FIELD.pack_into(packed, at, tag, len(part))
        at += _FIELD.size
        packed[at : at + len(part)] = part
        at += len(part)
    return packed


def unpack_credential(packed: memoryview, label: Label) -> Credential:
    """Return the credential in `packed`, and wipe `packed`.

    Raises:
        UnknownFormatError: the fields are not one secret, then pairs of name and value.
    """
    try:
        parts = list(_fields(packed))
        tags = [tag for tag, _ in parts]
        if tags != [_SECRET, *[_NAME, _VALUE] * (len(parts) // 2)]:
            msg = "a credential with fields that are missing or out of order"
            raise UnknownFormatError(msg)
        (_, secret), *rest = parts
        fields = tuple(
            (_decode(bytes(name)), Secret(value))
            for (_, name), (_, value) in zip(rest[0::2], rest[1::2], strict=True)
        )
        return Credential(label.username, Secret(secret), label.authtype, label.expires, fields)
    finally:
        secure_clear(packed)


def length_prefixed(parts: Iterable[bytes | memoryview | None]) -> Iterator[bytes | memoryview]:
    """Yield the parts with their lengths. Different lists give different bytes; `None` too."""
    for part in parts:
        yield _FIELD.pack(part is not None, 0 if part is None else len(part))
        if part is not None:
            yield part


def encode_optional(name: str | None) -> bytes | None:
    """Return a name's bytes, or `None`."""
    return None if name is None else name_bytes(name)


def _parts(credential: Credential) -> list[tuple[int, memoryview]]:
    parts = [(_SECRET, credential.secret.reveal())]
    for name, value in credential.fields:
        parts += ((_NAME, memoryview(name_bytes(name))), (_VALUE, value.reveal()))
    return parts


def _sixteen_bytes(digits: str) -> bytes:
    """Return an id's bytes. Check the length: `struct` would silently pad or cut."""
    value = bytes.fromhex(digits)
    if len(value) != 16:  # noqa: PLR2004 - the function's name explains it
        msg = f"{digits!a} is not 32 hexadecimal digits"
        raise ValueError(msg)
    return value


def _decode(name: bytes) -> str:
    return name.decode("utf-8", "surrogateescape")


def _fields(packed: memoryview) -> Iterator[tuple[int, memoryview]]:
    at = 0
    while at < len(packed):
        if len(packed) - at < _FIELD.size:
            msg = "a truncated field"
            raise UnknownFormatError(msg)
        tag, length = _FIELD.unpack_from(packed, at)
        at += _FIELD.size
        if length > len(packed) - at:
            msg = "a field that is longer than the rest of its record"
            raise UnknownFormatError(msg)
        yield tag, packed[at : at + length]
        at += length
