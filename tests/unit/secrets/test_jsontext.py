"""JSON with secrets, compared with the reader and writer of the standard library."""

import contextlib
import json
import math
import sys

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from keylease.errors import RequestError
from keylease.secrets import jsontext
from keylease.secrets.jsontext import (
    MAX_DEPTH,
    MAX_DIGITS,
    all_quoted,
    name,
    opened,
    quoted,
    string,
)
from keylease.secrets.memory import allocate

NUMBERS = st.integers(-(10**15), 10**15) | st.floats(-(10**6), 10**6)
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | st.text(st.characters(codec="utf-8")),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters(codec="utf-8")), inner),
    max_leaves=20,
)
OBJECTS = st.dictionaries(st.text(st.characters(codec="utf-8")), VALUES)


def plain(value):
    """Return a value as the standard library has it."""
    if isinstance(value, memoryview):
        return str(value, "utf-8")
    if isinstance(value, dict):
        return {key: plain(each) for key, each in value.items()}
    return [plain(each) for each in value] if isinstance(value, list) else value


def read(message):
    """Return what a message contains."""
    with opened(bytearray(message)) as members:
        return plain(members)


def refusal(message):
    """Return the error for a message."""
    with pytest.raises(RequestError) as caught:
        read(message)
    return str(caught.value)


@given(OBJECTS, st.booleans(), st.sampled_from([None, 2]))
def test_what_the_standard_library_writes_is_read_alike(members, ascii_only, indent):
    """Any object reads back, whether escaped or not, compact or indented."""
    said = json.dumps(members, ensure_ascii=ascii_only, indent=indent).encode("utf-8")

    assert members == read(said)


@given(st.binary() | st.text('{}[]",:\\u0123dDcC eE+-.truefalsn\n\x00').map(str.encode))
@example(b'{"a":"\\ud800"}')
@example(b'{"a":1e999}')
@example(b'{"a":' * 10_000)
def test_any_bytes_are_an_object_or_are_refused(message):
    """Any bytes are read as the standard library reads them, or refused in our own words."""
    members = None
    with contextlib.suppress(RequestError):
        members = read(message)

    assert members is None or json.loads(message) == members


@given(st.text(st.characters(codec="utf-8")))
def test_what_is_written_is_read_by_everybody(value):
    """A string that we write reads back in the standard library."""
    packed = value.encode("utf-8")

    for written in (quoted(packed), quoted(memoryview(packed)), quoted(value)):
        assert value == json.loads(bytes(written))
        assert bytes(written).isascii() or not value.isascii()


def test_brackets_are_written_as_go_writes_them():
    """`<token>`, the user of an identity token, is written as Docker's own helpers write it."""
    assert b'"\\u003ctoken\\u003e \\u0026\\u000a\\u0022\\u005c"' == quoted(b'<token> &\n"\\')


@pytest.mark.parametrize("value", [b"\xff", b"\xed\xa0\x80", b"a\xc3", b"\xf4\x90\x80\x80"])
def test_what_is_no_text_cannot_be_written(value):
    """Bytes that are not UTF-8 are refused, not replaced, as a server expects the originals."""
    with pytest.raises(RequestError, match="the secret is not UTF-8"):
        quoted(value, "the secret")


def test_a_name_that_is_no_text_cannot_be_written():
    """A user name that is not UTF-8 is refused too."""
    with pytest.raises(RequestError, match="not UTF-8"):
        quoted("\udcff")


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (b"", "expected a value"),
        (b"   ", "expected a value"),
        (b"[]", "the message is not a JSON object"),
        (b'"text"', "the message is not a JSON object"),
        (b"{} {}", "expected nothing more"),
        (b"\xef\xbb\xbf{}", "expected a value"),
        (b'{"a":1,"a":1}', "a member twice"),
        (b'{"a":1,"\\u0061":1}', "a member twice"),
        (b'{"a":{"b":1,"b":1}}', "a member twice"),
        (b'{"a":1,}', "expected the name of a member"),
        (b'{"a" 1}', "expected a colon"),
        (b'{"a":1 "b":2}', "expected a comma"),
        (b"{'a':1}", "expected the name"),
        (b'{"a":[1,]}', "expected a value"),
        (b'{"a":[1 2]}', "expected a comma"),
        (b'{"a":01}', "expected a comma"),
        (b'{"a":NaN}', "expected a value"),
        (b'{"a":"\n"}', "expected the end of the string"),
        (b'{"a":"\xff"}', "expected the end of the string"),
        (b'{"a":"\\x"}', "expected an escape"),
        (b'{"a":"\\u12"}', "expected four hexadecimal digits"),
        (b'{"a":"\\ud800"}', "expected both halves"),
        (b'{"a":"\\ud800\\u0041"}', "expected both halves"),
        (b'{"a":"\\udc00"}', "expected both halves"),
        (b'{"a":"', "expected the end of the string"),
        (b'{"a":"\\', "expected an escape"),
        (b'{"a":' + b"9" * (MAX_DIGITS + 1) + b"}", "at most 32 digits"),
        (b'{"a":' + b"[" * MAX_DEPTH, "at most 16 arrays and objects"),
    ],
)
def test_what_can_be_understood_in_two_ways_is_refused(message, expected):
    """An ambiguous message is refused with its fault named and none of it repeated."""
    assert expected in refusal(message)


def test_hostile_messages_do_not_keep_the_reader_busy():
    """Reading a hostile message takes time in proportion to its length."""
    for pattern in (b'{"a":"' + b"\\n" * 500_000, b'{"' + b"\xc3" * 1_000_000, b"{" + b" " * 10**6):
        refusal(pattern)


def test_strings_are_wiped_when_the_reader_is_done():
    """Every string is wiped when the reader is done, even after a refusal."""
    with opened(bytearray(b'{"Secret":"hunter2","more":["\\u0061bc"]}')) as members:
        secret, (more,) = members["Secret"], members["more"]
        assert (b"hunter2", b"abc") == (secret, more)

    assert (bytes(7), bytes(3)) == (secret, more)


def test_strings_have_no_other_memory_than_that_of_secrets(monkeypatch):
    """Strings exist only in locked memory that is in no core dump."""
    rooms = []

    def spy(size):
        rooms.append(allocate(size))
        return rooms[-1]

    monkeypatch.setattr(jsontext, "allocate", spy)
    message = b'{"a":"hun\\u0074er2","b":["x"]}'

    with opened(message) as members:
        assert [b"ahunter2bx"] == [bytes(room).rstrip(b"\0") for room in rooms]
        written = quoted(members["a"])

    assert [bytes(len(message)), b'"hunter2"'] == rooms
    assert written is rooms[1]


def test_strings_before_one_that_is_no_text_are_wiped(monkeypatch):
    """A failed write wipes the strings that it has already written."""
    rooms = []

    def spy(size):
        rooms.append(allocate(size))
        return rooms[-1]

    monkeypatch.setattr(jsontext, "allocate", spy)
    assert [b'"hunter2"', b'"token"'] == all_quoted((b"hunter2", "a key"), (b"token", "a token"))
    assert [b'"hunter2"', b'"token"'] == rooms, "the control: the caller wipes these"
    rooms.clear()

    with pytest.raises(RequestError, match="the token is not UTF-8"):
        all_quoted((b"hunter2", "the key"), (b"\xff", "the token"))

    assert [bytes(len(b'"hunter2"'))] == rooms


def test_members_are_asked_for_by_their_kind():
    """Asking for a string gives a string or nothing; any other kind is refused."""
    with opened(bytearray(b'{"a":"x","b":1,"c":null,"d":"x\\u007f"}')) as members:
        assert (b"x", "x") == (string(members, "a"), name(members, "a"))
        assert (None, None) == (string(members, "c"), name(members, "z"))
        with pytest.raises(RequestError, match="b is not a string"):
            string(members, "b")
        with pytest.raises(RequestError, match="d has a control character"):
            name(members, "d")


def test_numbers_are_numbers():
    """A number is neither a text nor a truth value."""
    members = read(b'{"v":1,"half":0.5,"big":1e3,"no":false}')

    assert 1 == members["v"]
    assert isinstance(members["v"], int)
    assert math.isclose(0.5, members["half"])
    assert members["no"] is False


def test_the_standard_librarys_reader_is_not_imported():
    """Reading JSON here imports no other JSON reader."""
    assert "json" not in vars(sys.modules["keylease.secrets.jsontext"])
