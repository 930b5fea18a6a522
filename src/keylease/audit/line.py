"""The format of one line: values to bytes and back, its digest and its MAC.

No files and no clock. docs/audit.md describes the format. A line begins with `{"seq":N,"time":"`
and ends with `,"key":...,"prev":"...","mac":...}` and a line feed, byte for byte, so that a reader
of a million lines can extract these fields without parsing the rest.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from functools import cache
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from keylease.audit import events
from keylease.model import NANOSECONDS, rfc3339

if TYPE_CHECKING:
    from collections.abc import Mapping

    from keylease.secrets.secret import Secret

LINE_PREFIX: Final = b'{"seq":'
"""The beginning of every line. It cannot occur anywhere else in a line."""
BEFORE_KEY: Final = b',"key":'
BEFORE_PREV: Final = b',"prev":"'
BEFORE_MAC: Final = b',"mac":'
"""The last one in a line counts. Names cannot contain it: their quotation marks are escaped."""
NO_LINE: Final = "0" * 64
"""The `prev` of line 1."""
LONGEST_LINE: Final = 128 * 1024
"""Maximum bytes of a line: a character takes at most 12 in JSON, and names are cut."""
KEY_DIGITS: Final = 16

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
_TARGET: Final = ("namespace", "protocol", "host", "path")
_KEY_ID: Final = b"keylease audit key id"

# The grammar of a line, to the byte. Any other JSON, even of the same meaning, was not written by
# this program. A text is as `_dump` writes it: printable ASCII, with only the necessary escapes, in
# the one way that Python's json uses. Each byte alone decides the next step, so matching takes time
# linear in the length of the line.
_NUMBER: Final = "(0|[1-9][0-9]{0,18})"
_PLAIN: Final = r"[ !#-\[\]-~]*"
_ESCAPE: Final = (
    r'\\(?:["\\bfnrt]|u(?:00(?:0[0-7bef]|1[0-9a-f]|7f|[89a-f][0-9a-f])'
    r"|0[1-9a-f][0-9a-f]{2}|[1-9a-f][0-9a-f]{3}))"
)
_TEXT: Final = f'"({_PLAIN}(?:{_ESCAPE}{_PLAIN})*)"'
_TEXT_OR_NULL: Final = f"(?:null|{_TEXT})"
TIME: Final = r"([0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{6}Z)"
BEGINNING: Final = rf'\{{"seq":([1-9][0-9]{{0,18}}),"time":"{TIME}",'
"""The beginning of every line as a regular expression: number and time."""
END: Final = (
    r',"key":(?:null|"(?P<key>[0-9a-f]{16})"),"prev":"([0-9a-f]{64})"'
    r',"mac":(?(key)"([0-9a-f]{64})"|null)\}\n'
)
"""The end of every line: the key's id, `prev`, and the MAC, if there is a key."""
_NAMES: Final = slice(6, 16)
"""The groups of the grammar that are free texts, from the session to the terminal."""


class LineError(ValueError):
    """The bytes are not a line as this program writes it."""


class Record(NamedTuple):
    """The content of one line, not verified: see `mac_of` and `digest`."""

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
    """The id of the audit key of the MAC; see `key_id`."""
    prev: str
    mac: str | None


def format_time(wall_ns: int) -> str:
    """Return a time in the format of a line: RFC 3339, UTC, microseconds."""
    return f"{rfc3339(wall_ns)[:-1]}.{wall_ns % NANOSECONDS // 1000:06d}Z"


def pack(fields: Mapping[str, object], key: Secret | None, name: str | None) -> bytes:
    """Return one complete line with its line feed.

    Args:
        fields: `prev`, the fields of every line (`null` if not given), and those of the event.
        key: The audit key, if available; without it the line has no MAC.
        name: The key's `key_id`.
    """
    line = dict.fromkeys(_FIRST) | dict(fields)
    prev = line.pop("prev")
    line |= {"key": name if key else None, "prev": prev}
    # Without the closing brace: the MAC covers everything before its own field.
    packed = _dump(line)[:-1]
    mac = _hmac(key, packed) if key else None
    return packed + BEFORE_MAC + (f'"{mac}"' if mac else "null").encode("ascii") + b"}\n"


def parse(line: bytes) -> Record:
    """Return the content of a line.

    Raises:
        LineError: `pack` does not write such a line.
    """
    found = _grammar().fullmatch(_text(line))
    if found is None:
        msg = "not a line of the audit log: expected one JSON object as keylease writes it"
        raise LineError(msg)
    values = found.groups()
    names: tuple[Any, ...] = values[_NAMES]
    if b"\\" in line:
        names = tuple(map(_unescaped, names))
    session, *target, username, pid, executable, parent, terminal = names
    own, key, prev, mac = values[_NAMES.stop :]
    about = None if target[0] is None else dict(zip(_TARGET, target, strict=True))
    extra = _own_fields(own) if own else {}
    seq, written, boottime, event, outcome, reason = values[: _NAMES.start]
    if not events.fits(event, outcome, reason, (session, about, username), extra):
        msg = "not a line of the audit log: no event has that outcome, that reason and those fields"
        raise LineError(msg)
    caller = {"pid": int(pid), "executable": executable, "parent": parent, "terminal": terminal}
    return Record(
        *(int(seq), written, int(boottime), event, outcome, reason, session, about, username),
        *(caller, extra, key, prev, mac),
    )


def digest(line: bytes) -> str:
    """Return the SHA-256 of a line with its line feed: the `prev` of the next line."""
    return hashlib.sha256(line).hexdigest()


def covered(line: bytes) -> bytes:
    """Return the part of a line that its MAC covers: everything before `,"mac":`.

    Raises:
        LineError: there is no such field.
    """
    end = line.rfind(BEFORE_MAC)
    if end < 0:
        msg = "not a line of the audit log: it has no field mac"
        raise LineError(msg)
    return line[:end]


def mac_of(key: Secret, line: bytes) -> str:
    """Return the MAC that a line must have with the audit key `key`.

    Raises:
        LineError: the line has no field for it.
    """
    return _hmac(key, covered(line))


def key_id(key: Secret) -> str:
    """Return 16 hexadecimal digits that identify an audit key and reveal nothing about it."""
    return _hmac(key, _KEY_ID)[:KEY_DIGITS]


def _hmac(key: Secret, data: bytes) -> str:
    return hmac.digest(key.reveal(), data, "sha256").hex()


def _dump(line: dict[str, object]) -> bytes:
    # Escaped ASCII, DEL too, so no control character of a name reaches a terminal.
    text = json.dumps(line, separators=(",", ":")).replace("\x7f", "\\u007f")
    return text.encode("ascii")


@cache
def _grammar() -> re.Pattern[str]:
    """Return the grammar of a line, compiled at its first use: a writer does not need it."""
    return re.compile(
        f'{BEGINNING}"boottime_ns":{_NUMBER},"event":"([a-z.]+)","outcome":"([a-z]+)"'
        f',"reason":(?:null|"([a-z_]+)"),"session":{_TEXT_OR_NULL},"target":(?:null'
        rf'|\{{"namespace":{_TEXT},"protocol":{_TEXT},"host":{_TEXT},"path":{_TEXT_OR_NULL}\}})'
        rf',"username":{_TEXT_OR_NULL},"caller":\{{"pid":{_NUMBER},"executable":{_TEXT_OR_NULL}'
        rf',"parent":{_TEXT_OR_NULL},"terminal":{_TEXT_OR_NULL}\}}'
        # Few events have their own fields; the JSON parser reads these.
        rf'((?:,"[a-z_]+":.*)??){END}'
    )


def _text(line: bytes) -> str:
    try:
        return line.decode("ascii")
    except UnicodeDecodeError:
        return ""


def _unescaped(value: str | None) -> str | None:
    if value is None or "\\" not in value:
        return value
    text: str = json.loads(f'"{value}"')
    return text


def _own_fields(packed: str) -> dict[str, Any]:
    """Return the event's own fields."""
    # Python's parser accepts different notations, and the last of two fields of one name. Writing
    # the result again must give the same bytes.
    text = f"{{{packed[1:]}}}"
    try:
        found: dict[str, Any] = json.loads(text)
        same = _dump(found) == text.encode("ascii")
    except (ValueError, RecursionError):
        same = False
    if not same:
        msg = "not a line of the audit log: its last fields are not as keylease writes them"
        raise LineError(msg)
    return found
