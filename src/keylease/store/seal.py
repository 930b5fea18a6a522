"""All cryptography of keylease: what is on the disk is sealed, opened and vouched for here.

It works on values alone and asks nobody: keys and plaintext come as arguments. docs/format.md
describes each byte, and every refusal has its example among tests/vectors/seal.

A sealed file is a header in the clear, a credential box and a label box. The label (target,
username, expiry) is opened to find a session and to judge it; the credential only to release it,
after the audit line is on disk. The label box authenticates every byte before it, so a file whose
label opened is whole, the credential included.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from keylease.errors import InternalError, TamperedError, WrongKeyError
from keylease.faults import border
from keylease.model import name_bytes
from keylease.secrets.memory import allocate, joined, secure_clear
from keylease.secrets.secret import Secret, random_bytes
from keylease.store.format import (
    DIGEST_BYTES,
    HEADER_BYTES,
    MAC_BYTES,
    MARK_GENERATION_BYTES,
    TOUCH_BYTES,
    Header,
    Label,
    Touch,
    encode_optional,
    length_prefixed,
    pack_credential,
    packed_bytes,
    unpack_credential,
)

if TYPE_CHECKING:
    from keylease.model import Credential, Target

KEY_BYTES: Final = 32
_SALT_BYTES: Final = 32
_COMMITMENT_BYTES: Final = 16
# NIST SP 800-38D 8.2.2: a random 96-bit nonce is safe for 2**32 uses of one key. Each key here
# seals exactly one box of one session, so a counter, and the state it needs, would buy nothing.
_NONCE_BYTES: Final = 12
_TAG_BYTES: Final = 16
_LENGTH_BYTES: Final = 4
BUCKET_DIGITS: Final = 32
"""How long a bucket's name is, in lower-case hexadecimal digits."""
_SMALLEST_BOX: Final = _LENGTH_BYTES + _NONCE_BYTES + _TAG_BYTES

Purpose = Literal["commitment", "label", "credential", "bucket", "touch", "echo", "mark"]


class Keys(NamedTuple):
    """What a session key is derived from."""

    vault: Secret
    """The vault key from the keychain, `KEY_BYTES` long."""
    share: Secret | None = None
    """The session's volatile share, `KEY_BYTES` long; `None` where there are no shares."""


class Opened(NamedTuple):
    """A sealed file whose every byte has been authenticated; its credential is still closed."""

    header: Header
    label: Label
    sealed: bytes


def seal(keys: Keys, header: Header, label: Label, credential: Credential) -> bytes:
    """Return the sealed file.

    Args:
        keys: What the session key is derived from.
        header: Its salt and commitment are set here, whatever it brings.
        label: What the session is for.
        credential: What it holds.

    Raises:
        StateError: the system's random generator does not answer.
    """
    if (keys.share is None) != (header.share == 0):
        msg = "the header names a share exactly if there is one"
        raise ValueError(msg)
    salt = random_bytes(_SALT_BYTES)
    header = header._replace(salt=salt, commitment=_commitment(keys, salt))
    clear = header.pack()
    packed = pack_credential(credential)
    try:
        sealed = clear + _box(_derive(keys, "credential", salt, clear), packed, clear)
    finally:
        secure_clear(packed)
    return sealed + _box(_derive(keys, "label", salt, clear), label.pack(), sealed)


def sealed_bytes(label: Label, credential: Credential) -> int:
    """Return how long the sealed file of a credential is, before there is one."""
    return HEADER_BYTES + 2 * _SMALLEST_BOX + packed_bytes(credential) + len(label.pack())


def open_label(keys: Keys, sealed: bytes) -> Opened:
    """Authenticate the whole of `sealed` and return what it is for.

    Raises:
        UnknownFormatError: it is no sealed file of this version.
        WrongKeyError: it was sealed under another vault key or share.
        TamperedError: it was changed since.
    """
    header = Header.unpack(sealed)
    # Without this, one file could be made to open under two keys: AES-GCM does not commit to its
    # key (Dodis, Grubbs, Ristenpart, Woodage: Fast Message Franking, CRYPTO 2018).
    if not hmac.compare_digest(_commitment(keys, header.salt), header.commitment):
        msg = "a sealed file of another key"
        raise WrongKeyError(msg)
    start = _label_start(sealed)
    key = _derive(keys, "label", header.salt, sealed[:HEADER_BYTES])
    packed = _unbox(key, sealed[start:], sealed[:start])
    return Opened(header, Label.unpack(bytes(packed)), sealed)


def open_credential(keys: Keys, opened: Opened) -> Credential:
    """Return the credential of a file whose label has been opened. The caller wipes it.

    Raises:
        TamperedError: the credential box does not belong to this file.
    """
    clear = opened.sealed[:HEADER_BYTES]
    box = opened.sealed[HEADER_BYTES : _label_start(opened.sealed)]
    packed = _unbox(_derive(keys, "credential", opened.header.salt, clear), box, clear)
    return unpack_credential(packed, opened.label)


def session_keys(keys: Keys, clear: bytes) -> list[Secret]:
    """Return the keys of a sealed file's boxes, for who searches memory for them.

    Args:
        keys: What they are derived from.
        clear: The file's header.

    Raises:
        UnknownFormatError: it is not the header of a sealed file.
    """
    salt = Header.unpack(clear).salt
    return [Secret(_derive(keys, purpose, salt, clear)) for purpose in ("credential", "label")]


def bucket(vault_key: Secret, target: Target) -> str:
    """Return the name of the directory for the target's namespace, protocol and host."""
    names = (name_bytes(target.namespace), name_bytes(target.protocol), name_bytes(target.host))
    return _mac(vault_key, "bucket", b"".join(length_prefixed(names))).hex()[:BUCKET_DIGITS]


def echo(vault_key: Secret, target: Target, username: str | None, secret: Secret) -> bytes:
    """Return the digest by which a live session recognises its own secret.

    The path is left out: git asks without one, is answered from a session that has one, and sends
    the credential back without one.
    """
    return _echo(vault_key, "echo", target, username, secret)


def _echo(
    key: Secret, purpose: Purpose, target: Target, username: str | None, secret: Secret
) -> bytes:
    names = (target.namespace, target.protocol, target.host, username)
    parts = list(length_prefixed((*map(encode_optional, names), secret.reveal())))
    # In one piece: hmac.new() takes its key as bytes only, and hmac.digest() takes no parts.
    message = joined(parts)
    try:
        return _mac(key, purpose, message)
    finally:
        secure_clear(message)


def mark(
    audit_key: Secret, generation: int, target: Target, username: str | None, secret: Secret
) -> bytes:
    """Return what recognises a secret that comes back after its session has ended.

    It hangs on the audit key: that one outlives what a rotation or a revocation ends.

    Args:
        audit_key: The audit key.
        generation: Its generation, which the mark begins with.
        target: What the secret is for.
        username: Whose it is.
        secret: The secret.
    """
    digest = _echo(audit_key, "mark", target, username, secret)
    number = generation.to_bytes(MARK_GENERATION_BYTES)
    return number + digest[: DIGEST_BYTES - MARK_GENERATION_BYTES]


def header_digest(sealed: bytes) -> bytes:
    """Return the digest that ties a touch record to a sealed file's header."""
    return hashlib.sha256(sealed[:HEADER_BYTES]).digest()


def mac_touch(vault_key: Secret, touch: Touch) -> bytes:
    """Return the touch record with its MAC. The MAC hangs on the vault key alone."""
    packed = touch.pack()
    return packed + _mac(vault_key, "touch", packed)


def check_touch(vault_key: Secret, record: bytes) -> Touch:
    """Return the touch record in `record`.

    Raises:
        TamperedError: its length or its MAC is wrong.
        UnknownFormatError: it is of another version.
    """
    packed, mac = record[:-MAC_BYTES], record[-MAC_BYTES:]
    if len(record) != TOUCH_BYTES or not hmac.compare_digest(mac, _mac(vault_key, "touch", packed)):
        msg = "a touch record that does not belong to this vault"
        raise TamperedError(msg)
    return Touch.unpack(packed)


def _derive(
    keys: Keys, purpose: Purpose, salt: bytes = b"", header: bytes = b"", length: int = KEY_BYTES
) -> memoryview:
    """Derive a key (RFC 5869). Two purposes, headers, salts or shares never give the same one."""
    material = joined([each.reveal() for each in keys if each is not None])
    size = KEY_BYTES if keys.share is None else 2 * KEY_BYTES
    key = allocate(length)
    # A wiped key is all zeros, and anyone can open what is sealed under that.
    if len(material) != size or not (any(material[:KEY_BYTES]) and any(material[-KEY_BYTES:])):
        secure_clear(material)
        msg = f"a key that is not {KEY_BYTES} bytes long, or that was wiped before its use"
        raise ValueError(msg)
    info = b"keylease sealed file 1: " + purpose.encode() + b"\0" + header
    try:
        # The library leaves the key that it derived on the stack (seen by a scan). The same call in
        # the same place, without a secret, puts something else there.
        for source, target in ((material, key), (bytes(size), bytearray(length))):
            with border(_unforeseen):
                HKDF(SHA256(), length, salt, info).derive_into(source, target)
    finally:
        secure_clear(material)
    return key


def _commitment(keys: Keys, salt: bytes) -> bytes:
    return bytes(_derive(keys, "commitment", salt, length=_COMMITMENT_BYTES))


def _mac(key: Secret, purpose: Purpose, message: bytes | memoryview) -> bytes:
    derived = _derive(Keys(key), purpose)
    try:
        return hmac.digest(derived, message, "sha256")
    finally:
        secure_clear(derived)


def _box(key: memoryview, plaintext: bytes | memoryview, authenticated: bytes) -> bytes:
    """Encrypt under `key`, which is wiped: no key seals twice."""
    # In a forked child it is zeros, and everybody can open what is sealed under that.
    if not any(key):
        msg = "a key that was wiped before its use, or is of another process"
        raise ValueError(msg)
    try:
        nonce = random_bytes(_NONCE_BYTES)
        with border(_unforeseen):
            sealed = nonce + AESGCM(key).encrypt(nonce, plaintext, authenticated)
    finally:
        secure_clear(key)
        _overwrite_stack(key)
    return len(sealed).to_bytes(_LENGTH_BYTES) + sealed


def _unbox(key: memoryview, box: bytes, authenticated: bytes) -> memoryview:
    """Decrypt under `key`, which is wiped, into memory that the caller wipes."""
    nonce = box[_LENGTH_BYTES : _LENGTH_BYTES + _NONCE_BYTES]
    ciphertext = memoryview(box)[_LENGTH_BYTES + _NONCE_BYTES :]
    plaintext = allocate(len(ciphertext) - _TAG_BYTES)
    whole = False
    try:
        with border(_unforeseen):
            whole = _decrypt(key, nonce, ciphertext, authenticated, plaintext)
        if not whole:
            msg = "a sealed file that was changed since it was sealed"
            raise TamperedError(msg)
    finally:
        if not whole:
            secure_clear(plaintext)
        secure_clear(key)
        _overwrite_stack(key)
    return plaintext


def _decrypt(
    key: memoryview,
    nonce: bytes,
    ciphertext: memoryview,
    authenticated: bytes,
    plaintext: memoryview,
) -> bool:
    """Return whether the tag is right."""
    try:
        AESGCM(key).decrypt_into(nonce, ciphertext, authenticated, plaintext)
    except InvalidTag:
        return False
    return True


def _unforeseen(fault: BaseException) -> InternalError:
    """Return the refusal for a fault of the library: it says nothing about the file."""
    msg = f"internal error: the cryptography library failed with {type(fault).__name__}"
    return InternalError(msg)


def _overwrite_stack(zeros: memoryview) -> None:
    """Put another key where the library has left the last one on the stack: see `_derive`.

    In this interpreter a call of a Python function moves the stack of C no further.
    """
    AESGCM(zeros).encrypt(bytes(_NONCE_BYTES), b"", None)


def _label_start(sealed: bytes) -> int:
    """Return where the label box starts, once the lengths are known to fit the file."""
    start = HEADER_BYTES + _box_bytes(sealed, HEADER_BYTES)
    if start + _box_bytes(sealed, start) != len(sealed):
        msg = "a sealed file with something after its end"
        raise TamperedError(msg)
    return start


def _box_bytes(sealed: bytes, at: int) -> int:
    """Return how long the box at `at` is, its length field included."""
    size = _LENGTH_BYTES + int.from_bytes(sealed[at : at + _LENGTH_BYTES])
    if not _SMALLEST_BOX <= size <= len(sealed) - at:
        msg = "a sealed file that is cut off or whose lengths were changed"
        raise TamperedError(msg)
    return size
