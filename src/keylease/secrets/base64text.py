"""Base64 (RFC 4648, section 4) of secrets, written in the memory for secrets.

The standard library returns `bytes`. These cannot be cleared and stay in memory after their end.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from keylease.secrets.memory import allocate

if TYPE_CHECKING:
    from collections.abc import Sequence

DIGITS: Final = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
PADDING: Final = ord("=")
_GROUP: Final = 3
"""Bytes that make four digits."""


def encode(secret: Sequence[int]) -> memoryview:
    """Return the bytes in base64, in new locked memory. The caller clears it.

    NOTE: no intermediate number is above 255. Python keeps one permanent object for each of those,
    so no new object holds a part of the secret.
    """
    missing = -len(secret) % _GROUP
    text = allocate((len(secret) + missing) // _GROUP * 4)
    for at, byte in enumerate(secret):
        group, place = at // _GROUP * 4, at % _GROUP
        if place == 0:
            text[group] = byte >> 2
            text[group + 1] = (byte & 3) << 4
        elif place == 1:
            text[group + 1] |= byte >> 4
            text[group + 2] = (byte & 15) << 2
        else:
            text[group + 2] |= byte >> 6
            text[group + 3] = byte & 63
    end = len(text) - missing
    for at in range(end):
        text[at] = DIGITS[text[at]]
    for at in range(end, len(text)):
        text[at] = PADDING
    return text
