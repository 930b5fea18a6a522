"""A packed line reads back whole, and nothing else is taken for a line."""

import hashlib
import hmac
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keylease.audit.line import (
    BEFORE_KEY,
    BEFORE_MAC,
    BEFORE_PREV,
    LINE_PREFIX,
    NO_LINE,
    LineError,
    covered,
    digest,
    key_id,
    mac_of,
    pack,
    parse,
)
from keylease.secrets.secret import Secret

KEY = Secret(b"k" * 32)
FIELDS = {
    "seq": 7,
    "time": "2026-11-22T10:11:12.131415Z",
    "boottime_ns": 16,
    "event": "login",
    "outcome": "ok",
    "session": "ab" * 16,
    "target": {"namespace": "web", "protocol": "https", "host": "h", "path": None},
    "username": "alice",
    "caller": {"pid": 1, "executable": "/bin/git", "parent": None, "terminal": None},
    "prev": NO_LINE,
}
GAP = {name: FIELDS[name] for name in ("seq", "time", "boottime_ns", "outcome", "caller", "prev")}
GAP["event"] = "audit.gap"
LINE = pack(FIELDS, KEY, key_id(KEY))


def test_a_line_is_what_was_packed():
    """A reader gets every field of a line back."""
    record = parse(LINE)

    assert FIELDS | {"reason": None, "extra": {}, "key": key_id(KEY), "mac": mac_of(KEY, LINE)} == (
        record._asdict()
    )
    assert list(json.loads(LINE))[-3:] == ["key", "prev", "mac"]


def test_what_ties_lines_together_stands_at_fixed_places():
    """Number, link and MAC are at fixed positions, so the chain is checked without JSON."""
    assert LINE.startswith(LINE_PREFIX + b'7,"time":"2026-11-22T')
    before = LINE[: LINE.rfind(BEFORE_MAC)]
    assert before == covered(LINE)
    assert before.endswith(BEFORE_PREV + NO_LINE.encode() + b'"')
    assert BEFORE_KEY + f'"{key_id(KEY)}"'.encode() + BEFORE_PREV in before
    assert hashlib.sha256(LINE).hexdigest() == digest(LINE)
    key = bytes(KEY.reveal())
    assert hmac.new(key, before, "sha256").hexdigest() == mac_of(KEY, LINE)
    assert key_id(KEY) == hmac.new(key, b"keylease audit key id", "sha256").hexdigest()[:16]


def test_a_line_without_the_key_has_neither_its_id_nor_a_mac():
    """A line without a key has no key id and no MAC."""
    line = pack(FIELDS, None, None)

    assert line.endswith(b',"key":null,"prev":"' + NO_LINE.encode() + b'","mac":null}\n')
    assert (None, None) == (parse(line).key, parse(line).mac)


def test_two_keys_have_two_ids():
    """Each key has its own id, so a line under another key is no edited line."""
    assert key_id(KEY) != key_id(Secret(bytes(32)))


ANY_TEXT = st.text(st.characters(codec=None))


@given(ANY_TEXT, ANY_TEXT)
def test_any_name_is_printable_ascii_and_comes_back(host, username):
    """Any name becomes printable ASCII and reads back, with control characters and surrogates."""
    fields = FIELDS | {"username": username, "target": FIELDS["target"] | {"host": host}}
    line = pack(fields, KEY, key_id(KEY))

    assert all(0x20 <= byte < 0x7F for byte in line[:-1])
    again = json.loads(json.dumps([host, username]))  # joins surrogate pairs to one character
    assert again == [parse(line).target["host"], parse(line).username]


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"\n",
        b"null\n",
        b"[]\n",
        b"{}\n",
        b"\xff\n",
        b"[" * 100_000 + b"\n",
        LINE[:-1],
        LINE + b"\n",
        b" " + LINE,
        LINE.replace(b":7,", b": 7,"),
        LINE.replace(b":7,", b":7.0,"),
        LINE.replace(b":7,", b":0,"),
        LINE.replace(b":7,", b":true,"),
        LINE.replace(b":7,", b":NaN,"),
        LINE.replace(b":7,", b":" + b"7" * 5000 + b","),
        LINE.replace(b'"alice"', b'"\\u0061lice"'),
        LINE.replace(b'"alice"', b'"al\xc3\xaece"'),
        LINE.replace(b'"alice"', b"5"),
        LINE.replace(b'"username"', b'"user"'),
        LINE.replace(b'"outcome":"ok",', b""),
        LINE.replace(b'"outcome":"ok",', b'"outcome":"ok","outcome":"ok",'),
        LINE.replace(b'"login"', b'"session.stolen"'),
        LINE.replace(b'"ok"', b'"refused"'),
        LINE.replace(b'"reason":null', b'"reason":"idle"'),
        LINE.replace(b',"key"', b',"lost":1,"key"'),
        LINE.replace(b"2026-11-22T", b"2026-11-22 "),
        LINE.replace(b'"host":"h"', b'"host":["h"]'),
        LINE.replace(b',"path":null', b""),
        LINE.replace(b'"mac":"', b'"mac":"A'),
        LINE.replace(b'"key":"' + key_id(KEY).encode() + b'"', b'"key":null'),
        LINE.replace(NO_LINE.encode(), NO_LINE.encode()[1:]),
    ],
    ids=lambda line: repr(line[:40]),
)
def test_what_this_program_never_writes_is_no_line(line):
    """Bytes that keylease never writes are no line."""
    with pytest.raises(LineError):
        parse(line)


@given(ANY_TEXT, st.data())
def test_what_is_taken_for_a_line_is_json_in_the_one_form_that_is_written(username, data):
    """A line changed anywhere is refused, or is exactly the line that it says."""
    line = bytearray(pack(FIELDS | {"username": username}, KEY, key_id(KEY)))
    start = data.draw(st.integers(0, len(line)))
    pieces = st.sampled_from(
        [b"", b'"', b"\\u0041", b"\\u00e9", b"\\/", b"0", b"null,", b" ", b"\x7f"]
    )
    line[start : start + data.draw(st.integers(0, 6))] = data.draw(pieces)

    try:
        record = parse(bytes(line))
    except LineError:
        return
    found = json.loads(line)
    again = json.dumps(found, separators=(",", ":")).replace("\x7f", "\\u007f") + "\n"
    assert again.encode("ascii") == bytes(line)
    assert found | {"extra": {}} == record._asdict()


@pytest.mark.parametrize(
    "own",
    [
        b'"lost":01',
        b'"lost": 1',
        b'"lost":1,"lost":1',
        b'"lost":1},"x":{"y":1',
        b'"lost":"1"',
        b'"lost":' + b"[" * 50_000 + b"]" * 50_000,
        b'"removed":{"files":[],"through":1,"digest":""}',
    ],
    ids=lambda own: repr(own[:40]),
)
def test_an_events_own_fields_have_one_form_too(own):
    """The event's own fields must be in canonical JSON, byte for byte."""
    line = pack({**GAP, "lost": 1}, KEY, key_id(KEY))

    assert {"lost": 1} == parse(line).extra
    with pytest.raises(LineError):
        parse(line.replace(b'"lost":1', own))


def test_what_has_no_mac_field_has_no_mac():
    """A line without a MAC field is refused, not a crash."""
    with pytest.raises(LineError):
        mac_of(KEY, b"{}\n")
