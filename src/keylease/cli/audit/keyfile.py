"""The file of an exported audit key: comments, and one line of 64 digits for each key.

All buffers that hold a key are wiped.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from keylease.audit.line import key_id
from keylease.errors import UsageError
from keylease.keystores.base import KEY_BYTES
from keylease.secrets.memory import secure_clear
from keylease.secrets.secret import Secret

if TYPE_CHECKING:
    from typing import BinaryIO

NOTICE: Final = (
    "# Audit key of keylease. Whoever has it can verify the audit log, and can write lines that",
    "# verify. It opens no session. Keep it where the log's writer cannot reach it.",
)
_DIGITS: Final = b"0123456789abcdef"
_COMMENT: Final = ord("#")
# Larger than Python's own buffer, so the bytes go straight into this one.
_LONGEST_FILE: Final = 1 << 14


def write_key(key: Secret, buffer: bytearray) -> None:
    """Append a key to a text that begins with `NOTICE`. The caller wipes the buffer."""
    buffer += f"# key {key_id(key)}\n".encode("ascii")
    for byte in key.reveal():
        buffer.append(_DIGITS[byte >> 4])
        buffer.append(_DIGITS[byte & 15])
    buffer += b"\n"


def read_keys(file: BinaryIO) -> list[Secret]:
    """Return the keys of an exported file.

    Raises:
        UsageError: it is not an exported key file.
    """
    buffer = bytearray(_LONGEST_FILE)
    keys: list[Secret] = []
    try:
        length = 0
        while length < len(buffer):
            with memoryview(buffer) as view:
                count = file.readinto(view[length:])  # type: ignore[attr-defined]  # typing.BinaryIO lacks it
            if not count:
                break
            length += count
        start = 0
        while start < length:
            end = buffer.find(b"\n", start, length)
            end = length if end < 0 else end
            if start < end and buffer[start] != _COMMENT:
                keys.append(_key(buffer, start, end))
            start = end + 1
    except OSError as error:
        msg = f"cannot read the key file: {error.strerror}"
        raise UsageError(msg) from None
    finally:
        secure_clear(buffer)
    if not keys:
        msg = "there is no key in the key file"
        raise UsageError(msg, "make one with: keylease audit key export")
    return keys


def _key(buffer: bytearray, start: int, end: int) -> Secret:
    while end > start and buffer[end - 1] in b"\r ":
        end -= 1
    digits = [_DIGITS.find(buffer[place]) for place in range(start, end)]
    if len(digits) != 2 * KEY_BYTES or min(digits) < 0:
        # Do not repeat the line: it may contain a key.
        msg = f"a line of the key file is not an audit key: expected {2 * KEY_BYTES} digits 0-f"
        raise UsageError(msg, "make one with: keylease audit key export")
    packed = bytearray(high << 4 | low for high, low in zip(digits[::2], digits[1::2], strict=True))
    try:
        return Secret(packed)
    finally:
        secure_clear(packed)
