"""The form of one line: values to bytes and back, its digest and its MAC.

No files and no clock. docs/audit.md has the same in prose. A line begins with `{"seq":N,"time":"`
and ends with `,"key":...,"prev":"...","mac":...}` and a line feed, byte for byte, so that a reader
of a million lines can cut these out without parsing the rest.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from keylease.audit import events

if TYPE_CHECKING:
    from collections.abc import Mapping

    from keylease.secret import Secret

LINE_PREFIX: Final = b'{"seq":'
"""How every line begins, and nothing else that can stand in a line."""
BEFORE_TIME: Final = b',"time":"'
BEFORE_KEY: Final = b',"key":'
BEFORE_PREV: Final = b',"prev":"'
BEFORE_MAC: Final = b',"mac":'
"""The last of these in a line is the one that counts: quotation marks in names are escaped."""
NO_LINE: Final = "0" * 64
"""What the first line of all has as `prev`."""
LONGEST_LINE: Final = 128 * 1024
"""Bytes that no line exceeds: a character takes at most 12 in JSON, and names are cut."""
KEY_DIGITS: Final = 16
DIGEST_DIGITS: Final = 64

_FIRST: Final = (
    "seq",
    "time",
    "boottime_ns",
    "event",
    "outcome",
    "reason",
    "session",
    "target",
    "username",
    "caller",
)
"""The fields before those of the event itself."""
_LAST: Final = ("key", "prev", "mac")
_TARGET: Final = ("namespace", "protocol", "host", "path")
_CALLER: Final = ("pid", "executable", "parent", "terminal")
_TIME: Final = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z"
_HEX: Final = frozenset("0123456789abcdef")
_KEY_ID: Final = b"keylease audit key id"


class LineError(ValueError):
    """Bytes that are no line of the audit log, for this program never writes them so."""


class Record(NamedTuple):
    """What one line says. That it is true is another matter: see `mac_of` and `digest`."""

    seq: int
    time: str
    boottime_ns: int
    event: str
    outcome: str
    reason: str | None
    session: str | None
    target: dict[str, Any] | None
    username: str | None
    caller: dict[str, Any]
    extra: dict[str, Any]
    """The event's own fields, such as `lost`."""
    key: str | None
    """Which audit key made the MAC; see `key_id`."""
    prev: str
    mac: str | None


def pack(fields: Mapping[str, object], key: Secret | None, name: str | None) -> bytes:
    """Return one whole line, line feed included.

    Args:
        fields: What it says: `prev`, the fields of every line, which are `null` if they are not
            given, and those of the event.
        key: The audit key, if it is at hand; the line has no MAC without it.
        name: The key's `key_id`.
    """
    line = dict.fromkeys(_FIRST) | dict(fields)
    prev = line.pop("prev")
    line |= {"key": name if key else None, "prev": prev}
    # Without the brace: what the MAC covers ends before its own field.
    packed = _dump(line)[:-1]
    mac = _hmac(key, packed) if key else None
    return packed + BEFORE_MAC + (f'"{mac}"' if mac else "null").encode("ascii") + b"}\n"


def parse(line: bytes) -> Record:
    """Return what a line says.

    Raises:
        LineError: it is not of the form that `pack` gives a line, to the byte.
    """
    # Python's parser takes more than one way of writing the same thing, and of two fields of one
    # name the last. What was written here comes out of it and back to the same bytes.
    try:
        found = json.loads(line)
        whole = type(found) is dict and _dump(found) + b"\n" == line
    except (ValueError, TypeError, RecursionError):
        whole = False
    names = tuple(found) if whole else ()
    if not whole or names[: len(_FIRST)] != _FIRST or names[-len(_LAST) :] != _LAST:
        msg = "not a line of the audit log: expected one JSON object as keylease writes it"
        raise LineError(msg)
    extra = {name: found.pop(name) for name in names[len(_FIRST) : -len(_LAST)]}
    record = Record(extra=extra, **found)
    wrong = _wrong(record)
    if wrong:
        msg = f"not a line of the audit log: {wrong} is not what keylease writes there"
        raise LineError(msg)
    return record


def digest(line: bytes) -> str:
    """Return the SHA-256 of a whole line, line feed included: what the next has as `prev`."""
    return hashlib.sha256(line).hexdigest()


def covered(line: bytes) -> bytes:
    """Return the part of a line that its MAC vouches for: all before `,"mac":`.

    Raises:
        LineError: there is no such place.
    """
    end = line.rfind(BEFORE_MAC)
    if end < 0:
        msg = "not a line of the audit log: it has no field mac"
        raise LineError(msg)
    return line[:end]


def mac_of(key: Secret, line: bytes) -> str:
    """Return the MAC that a line has to have under the audit key `key`.

    Raises:
        LineError: it has no place for one.
    """
    return _hmac(key, covered(line))


def key_id(key: Secret) -> str:
    """Return 16 hexadecimal digits that tell one audit key from another and nothing about it."""
    return _hmac(key, _KEY_ID)[:KEY_DIGITS]


def _hmac(key: Secret, data: bytes) -> str:
    return hmac.digest(key.reveal(), data, "sha256").hex()


def _dump(line: dict[str, object]) -> bytes:
    # Escaped ASCII, DEL too: whatever a name holds, no control character reaches a terminal.
    text = json.dumps(line, separators=(",", ":")).replace("\x7f", "\\u007f")
    return text.encode("ascii")


def _wrong(record: Record) -> str | None:
    """Return the name of a field that holds what it never does, if there is one."""
    import re  # json has it anyway, but only readers need what it is for here

    checks = (
        ("seq", _is_count(record.seq) and record.seq > 0),
        ("time", _is_text(record.time) and re.fullmatch(_TIME, record.time, re.ASCII)),
        ("boottime_ns", _is_count(record.boottime_ns)),
        ("event", _is_text(record.event)),
        ("outcome", _is_text(record.outcome)),
        ("reason", _is_text(record.reason, optional=True)),
        ("session", _is_text(record.session, optional=True)),
        ("target", record.target is None or _has(record.target, _TARGET)),
        ("username", _is_text(record.username, optional=True)),
        ("caller", _has(record.caller, _CALLER)),
        ("key", record.key is None or _is_hex(record.key, KEY_DIGITS)),
        ("prev", _is_hex(record.prev, DIGEST_DIGITS)),
        ("mac", record.mac is None or _is_hex(record.mac, DIGEST_DIGITS)),
        ("key", (record.key is None) == (record.mac is None)),
    )
    wrong = next((name for name, holds in checks if not holds), None)
    if wrong:
        return wrong
    names = (record.session, record.target, record.username)
    known = events.fits(record.event, record.outcome, record.reason, names, record.extra)
    return None if known else "event, with its outcome, reason and fields,"


def _is_count(value: object) -> bool:
    return type(value) is int and value >= 0


def _is_text(value: object, *, optional: bool = False) -> bool:
    return isinstance(value, str) or (optional and value is None)


def _is_hex(value: object, digits: int) -> bool:
    return isinstance(value, str) and len(value) == digits and _HEX.issuperset(value)


def _has(value: object, names: tuple[str, ...]) -> bool:
    """Return whether it is an object of these fields, each a name, a number or `null`."""
    return (
        isinstance(value, dict)
        and tuple(value) == names
        and all(_is_text(each, optional=True) or _is_count(each) for each in value.values())
    )
