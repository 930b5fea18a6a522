"""Read and write JSON texts (RFC 8259) that may contain a secret.

The standard library's reader makes a `str` of each string, which cannot be wiped. Here a string is
a view of UTF-8 in locked memory (`keylease.secrets.memory`), and the reader clears it at the end.
The names of members are not secret, and are `str`.

The reader is strict, because two readers of one message must see the same: no member twice, no half
of a surrogate pair, nothing after the end, bounded depth and number length.
"""

from __future__ import annotations

import re
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, NoReturn

from keylease.errors import RequestError
from keylease.secrets.memory import allocate, secure_clear

if TYPE_CHECKING:
    from collections.abc import Iterator

    # Strings are views, the names of members are `str`.
    Value = dict[str, "Value"] | list["Value"] | memoryview | int | float | bool | None

MAX_DEPTH: Final = 16
"""Maximum nesting of arrays and objects. No protocol here goes beyond four."""
MAX_DIGITS: Final = 32
"""Maximum characters of a number."""

_BLANKS: Final = re.compile(rb"[ \t\n\r]*+")
_NUMBER: Final = re.compile(rb"-?(?:0|[1-9][0-9]*+)(?:\.[0-9]++)?(?:[eE][+-]?[0-9]++)?")
_LITERALS: Final = ((b"true", True), (b"false", False), (b"null", None))
# RFC 8259, section 7, and RFC 3629, section 4: what a string may contain unescaped.
_UTF_8: Final = (
    rb"[\xc2-\xdf][\x80-\xbf]|\xe0[\xa0-\xbf][\x80-\xbf]|[\xe1-\xec\xee\xef][\x80-\xbf]{2}"
    rb"|\xed[\x80-\x9f][\x80-\xbf]|\xf0[\x90-\xbf][\x80-\xbf]{2}|[\xf1-\xf3][\x80-\xbf]{3}"
    rb"|\xf4[\x80-\x8f][\x80-\xbf]{2}"
)
_PLAIN: Final = re.compile(rb"(?:[\x20\x21\x23-\x5b\x5d-\x7f]|%b)*+" % _UTF_8)
_ANY: Final = re.compile(rb"(?:[\x00-\x7f]|%b)*+" % _UTF_8)
_SHORT: Final = {
    b'"': b'"',
    b"\\": b"\\",
    b"/": b"/",
    b"b": b"\b",
    b"f": b"\f",
    b"n": b"\n",
    b"r": b"\r",
    b"t": b"\t",
}
_CODE_UNIT: Final = re.compile(rb"[0-9a-fA-F]{4}")
# RFC 8259, section 7: a character beyond the first 65,536 is a pair of these.
_HIGH: Final = range(0xD800, 0xDC00)
_LOW: Final = range(0xDC00, 0xE000)
_PAIR: Final = "both halves of a surrogate pair"
# Escaped on writing. Go's encoder also escapes the brackets, and tools compare with its output.
_ESCAPED: Final = re.compile(rb'[\x00-\x1f"\\\x7f<>&]')
# Refused in names: they cannot be shown, and some programs take them for the end of a line.
_CONTROL: Final = re.compile(rb"[\x00-\x1f\x7f]")


@contextmanager
def opened(message: bytearray | memoryview) -> Iterator[dict[str, Value]]:
    """Yield the message's JSON object, and clear its strings afterwards.

    Raises:
        RequestError: the message is not JSON, not an object, or ambiguous.
    """
    reader = _JsonReader(memoryview(message))
    try:
        value = reader.read()
        if not isinstance(value, dict):
            msg = "the message is not a JSON object"
            raise RequestError(msg)
        yield value
    finally:
        reader.clear()


def string(members: dict[str, Value], key: str) -> memoryview | None:
    """Return a member that is a string, valid as long as the object; `None` if absent or null.

    Raises:
        RequestError: the member is not a string.
    """
    value = members.get(key)
    if value is not None and not isinstance(value, memoryview):
        msg = f"{key} is not a string"
        raise RequestError(msg)
    return value


def name(members: dict[str, Value], key: str) -> str | None:
    """Return a member that is a string and not secret; `None` if absent or null.

    Raises:
        RequestError: the member is not a string, or has a control character.
    """
    value = string(members, key)
    if value is None:
        return None
    if _CONTROL.search(value):
        msg = f"{key} has a control character"
        raise RequestError(msg)
    return str(value, "utf-8")


def quoted(value: str | bytes | memoryview, what: str = "a value") -> memoryview:
    """Return a JSON string in new locked memory. The caller clears it.

    Args:
        value: UTF-8, or a name as `keylease.model` has it.
        what: What the value is, for the message of the refusal.

    Raises:
        RequestError: the value is not UTF-8.
    """
    if isinstance(value, str):
        value = value.encode("utf-8", "surrogatepass")
    if _ANY.fullmatch(value) is None:
        msg = f"{what} is not UTF-8, which JSON requires"
        raise RequestError(msg)
    escapes = [found.start() for found in _ESCAPED.finditer(value)]
    text = allocate(len(value) + 2 + 5 * len(escapes))
    view, at, start = memoryview(value), 1, 0
    for escape in escapes:
        following = at + escape - start
        text[at:following] = view[start:escape]
        text[following : following + 6] = b"\\u%04x" % view[escape]
        at, start = following + 6, escape + 1
    text[at:-1] = view[start:]
    text[0] = text[-1] = ord('"')
    return text


def all_quoted(*values: tuple[str | bytes | memoryview, str]) -> list[memoryview]:
    """Return JSON strings as `quoted` does. If one fails, clear those that were made.

    Args:
        values: Each value, and what the value is.

    Raises:
        RequestError: one of them is not UTF-8.
    """
    texts: list[memoryview] = []
    try:
        for value, what in values:
            texts.append(quoted(value, what))
    except RequestError:
        for text in texts:
            secure_clear(text)
        raise
    return texts


class _JsonReader:
    """Read one text, once."""

    def __init__(self, text: memoryview) -> None:
        self._text = text
        self._at = 0
        # All strings fit: an escape is longer than the bytes it stands for.
        self._room = allocate(len(text))
        self._used = 0

    def read(self) -> Value:
        """Return the whole text's value."""
        value = self._value(0)
        if self._at != len(self._text):
            self._refuse("nothing more")
        return value

    def clear(self) -> None:
        """Overwrite every string that was read."""
        secure_clear(self._room)

    def _value(self, depth: int) -> Value:
        self._blanks()
        value: Value
        if self._next(b"{"):
            value = self._object(self._deeper(depth))
        elif self._next(b"["):
            value = self._array(self._deeper(depth))
        elif self._next(b'"'):
            value = self._string()
        else:
            value = self._literal()
        self._blanks()
        return value

    def _object(self, depth: int) -> dict[str, Value]:
        members: dict[str, Value] = {}
        self._blanks()
        if self._next(b"}"):
            return members
        while True:
            self._blanks()
            self._expect(b'"', "the name of a member")
            key = str(self._string(), "utf-8")
            if key in members:
                msg = "the message has a member twice"
                raise RequestError(msg)
            self._blanks()
            self._expect(b":", "a colon")
            members[key] = self._value(depth)
            if self._next(b"}"):
                return members
            self._expect(b",", "a comma or the end of the object")

    def _array(self, depth: int) -> list[Value]:
        values: list[Value] = []
        self._blanks()
        if self._next(b"]"):
            return values
        while True:
            values.append(self._value(depth))
            if self._next(b"]"):
                return values
            self._expect(b",", "a comma or the end of the array")

    def _string(self) -> memoryview:
        """Return the string after the opening quotation mark."""
        begin = self._used
        while True:
            start, self._at = self._at, self._end(_PLAIN)
            self._keep(self._text[start : self._at])
            if not self._next(b"\\"):
                break
            self._keep(self._escaped())
        self._expect(b'"', "the end of the string")
        return self._room[begin : self._used]

    def _keep(self, piece: bytes | memoryview) -> None:
        """Append a piece to the string that is being read."""
        start, self._used = self._used, self._used + len(piece)
        self._room[start : self._used] = piece

    def _escaped(self) -> bytes:
        """Return the escaped character after the backslash."""
        mark = self._text[self._at : self._at + 1].tobytes()
        self._at += 1
        if mark in _SHORT:
            return _SHORT[mark]
        if mark != b"u":
            self._at -= 1
            self._refuse("an escape that JSON has")
        code = self._code_unit()
        if code in _HIGH:
            self._expect(b"\\", _PAIR)
            self._expect(b"u", _PAIR)
            low = self._code_unit()
            if low not in _LOW:
                self._refuse(_PAIR)
            code = 0x10000 + (_HIGH.index(code) << 10 | _LOW.index(low))
        elif code in _LOW:
            self._refuse(_PAIR)
        return chr(code).encode("utf-8")

    def _code_unit(self) -> int:
        start, self._at = self._at, self._end(_CODE_UNIT)
        if start == self._at:
            self._refuse("four hexadecimal digits")
        return int(self._text[start : self._at].tobytes(), 16)

    def _literal(self) -> int | float | bool | None:
        for literal, value in _LITERALS:
            if self._next(literal):
                return value
        start, self._at = self._at, self._end(_NUMBER)
        digits = self._text[start : self._at].tobytes()
        if not 0 < len(digits) <= MAX_DIGITS:
            self._refuse(f"a value, or a number of at most {MAX_DIGITS} digits")
        return int(digits) if digits.lstrip(b"-").isdigit() else float(digits)

    def _blanks(self) -> None:
        self._at = self._end(_BLANKS)

    def _deeper(self, depth: int) -> int:
        if depth == MAX_DEPTH:
            self._refuse(f"at most {MAX_DEPTH} arrays and objects in each other")
        return depth + 1

    def _end(self, pattern: re.Pattern[bytes]) -> int:
        """Return where the match of the pattern ends; the current place if nothing matches."""
        found = pattern.match(self._text, self._at)
        return self._at if found is None else found.end()

    def _next(self, mark: bytes) -> bool:
        """Return whether `mark` comes next, and skip it if so."""
        if self._text[self._at : self._at + len(mark)] != mark:
            return False
        self._at += len(mark)
        return True

    def _expect(self, mark: bytes, what: str) -> None:
        if not self._next(mark):
            self._refuse(what)

    def _refuse(self, expected: str) -> NoReturn:
        # Any part of the message may be secret, so the refusal repeats none of it.
        msg = f"the message is not JSON at byte {self._at + 1}: expected {expected}"
        raise RequestError(msg)
