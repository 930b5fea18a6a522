"""Messages that git sends, or almost or never sends, and a model of how git reads them.

The model copies `credential_read` and `credential_from_url_1` of git's credential.c in Python,
including their leniency. `tests/integration/test_git_reads_alike.py` compares it with real gits, so
fuzzing can use it a million times without starting git.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import unquote_to_bytes

from hypothesis import strategies as st

if TYPE_CHECKING:
    from random import Random

NAMES = (b"protocol", b"host", b"path", b"username", b"password")
"""The attributes that say where a secret goes, and the secret."""
# git_config_bool: a word, nothing, or a number with a unit. These messages have no large numbers.
BOOLEAN = re.compile(
    rb"|true|yes|on|false|no|off|[ \t\n\v\f\r]*[+-]?(0x[0-9a-f]+|0[0-7]*|[1-9][0-9]{0,9})[kmg]?",
    re.IGNORECASE,
)


def git_reads(message: bytes, *, modern: bool = True) -> dict[bytes, bytes] | None:
    """Return what git reads of the attributes in `NAMES`, or `None` if it gives up.

    This is git with `credential.protectProtocol=false`, as every git before 2.48 behaves. A git is
    modern from 2.46 on.
    """
    fields: dict[bytes, bytes] = {}
    for line in _lines(message):
        if not line:
            break
        # C strings end at NUL.
        key, equals, value = line.partition(b"=")
        if not equals or b"\0" in key:
            return None
        value = value.partition(b"\0")[0]
        if key == b"url":
            parts = _url(value)
            if parts is None:
                return None
            fields = parts
        elif key == b"ephemeral" and modern and not BOOLEAN.fullmatch(value):
            return None
        elif key in NAMES:
            fields[key] = value
    if b"protocol" not in fields or b"host" not in fields:
        return None
    return fields


def _lines(message: bytes) -> list[bytes]:
    lines = message.split(b"\n")
    last = lines.pop()
    # A CR before LF belongs to the line's end; a CR at the end of the text does not.
    lines = [line.removesuffix(b"\r") for line in lines]
    return [*lines, last] if last else lines


def _url(url: bytes) -> dict[bytes, bytes] | None:
    scheme, separator, rest = url.partition(b"://")
    if not separator or not scheme:
        return None
    authority = re.split(rb"[/?#]", rest, maxsplit=1)[0]
    path = rest[len(authority) :].lstrip(b"/")
    parts = {b"protocol": scheme}
    user, at, host = authority.partition(b"@")
    if at:
        name, colon, password = user.partition(b":")
        parts[b"username"] = _decoded(name)
        if colon:
            parts[b"password"] = _decoded(password)
    else:
        host = authority
    parts[b"host"] = _decoded(host)
    if path:
        path = _decoded(path)
        parts[b"path"] = path[:1] + path[1:].rstrip(b"/")
    return None if any(b"\n" in value for value in parts.values()) else parts


def _decoded(text: bytes) -> bytes:
    # Neither the part before a colon nor a NUL is decoded.
    before, colon, after = text.partition(b":")
    if not colon:
        before, after = b"", text
    return before + colon + unquote_to_bytes(after.replace(b"%00", b"%2500"))


KEYS = (
    b"protocol",
    b"host",
    b"path",
    b"username",
    b"password",
    b"url",
    b"capability[]",
    b"state[]",
    b"wwwauth[]",
    b"authtype",
    b"credential",
    b"password_expiry_utc",
    b"oauth_refresh_token",
    b"ephemeral",
    b"unknown",
    b"unknown[]",
    b"Host",
    b"host ",
    b"host[]",
    b"ho\0st",
    b"host\x85",
    b"",
)
VALUES = (
    b"",
    b"https",
    b"github.com",
    b"evil.example",
    b"github.com:8443",
    b"bob",
    b"hunter2=",
    b"authtype",
    b"state",
    b"keylease:0123456789abcdef0123456789abcdef",
    b"1999999999",
    b"github.com\r",
    b"evil.example\rhost=github.com",
    b"evil.example\nhost=github.com",
    b"evil.example\r\nhost=github.com",
    b"github.com\0.evil.example",
    b"evil\xe2\x80\xa8host=github.com",
    b"evil\x0bhost=github.com",
    b"//a.git",
    b"\xff\xfe\x80",
)
URL_PARTS = (
    b"https://",
    b"http:/",
    b"bob",
    b"p%40ss",
    b":",
    b"@",
    b"/",
    b"//",
    b"?",
    b"#",
    b"github.com",
    b"evil.example",
    b"%2f",
    b"%41",
    b"%zz",
    b"%",
    b"%0a",
    b"%0d",
    b"%00",
    b"%ff",
    b"8443",
    b"[::1]",
)
GOOD = (
    b"protocol=https",
    b"host=github.com",
    b"username=bob",
    b"password=hunter2",
    b"path=a.git",
    b"capability[]=authtype",
    b"capability[]=state",
)
NOISE = (b"host", b"\r", b"", b"\0=a", b"=")

_values = st.one_of(
    st.sampled_from(VALUES),
    st.binary(max_size=12),
    st.lists(st.sampled_from(URL_PARTS), max_size=8).map(b"".join),
    st.lists(st.sampled_from(URL_PARTS), max_size=8).map(
        lambda parts: b"https://" + b"".join(parts)
    ),
)
_pairs = st.tuples(st.sampled_from(KEYS), _values).map(b"=".join)
_good = st.sampled_from(GOOD)
_noise = st.one_of(st.binary(max_size=8), st.sampled_from(NOISE))


@st.composite
def messages(draw: st.DrawFn) -> bytes:
    """Draw a message that git could have sent, or almost."""
    line = st.one_of(_good, _good, _good, _pairs, _pairs, _noise)
    if draw(st.booleans()):
        # Whole attributes in any order, each at most once: git understands most of these.
        lines = draw(st.lists(st.one_of(_good, _pairs), max_size=7, unique_by=_key))
        lines += [b"protocol=https", b"host=example.com"]
        lines = list({_key(one): one for one in lines}.values())
    else:
        lines = draw(st.lists(line, max_size=9))
    end = draw(st.sampled_from((b"\n", b"\n", b"\n", b"\r\n")))
    text = b"".join(one + end for one in lines)
    odd = draw(st.sampled_from((b"", b"", b"", b"\n", b"\r\n", b"\r", b"\0", b"cut", b"more")))
    if odd == b"cut":
        return text[: draw(st.integers(0, len(text)))]
    if odd == b"more":
        return text + end + draw(st.binary(max_size=20))
    return text + odd


def any_message(random: Random) -> bytes:
    """Return a message like those that `messages` draws, fifty times as fast."""
    lines = [
        (
            random.choice((*GOOD, *GOOD, *GOOD, *NOISE))
            if random.random() < 0.5
            else random.choice(KEYS) + b"=" + _any_value(random)
        )
        for _ in range(random.randrange(6))
    ]
    if random.random() < 0.6:
        lines = list({_key(line): line for line in lines}.values())
    if random.random() < 0.6:
        lines += [b"protocol=https", b"host=" + random.choice(VALUES)]
        random.shuffle(lines)
    end = random.choice((b"\n", b"\n", b"\n", b"\r\n"))
    text = bytearray().join(line + end for line in lines)
    text += random.choice((b"", b"", b"\n", b"\r\n", b"\r", b"\n\r\nhost=x", b"\nhost=x\n"))
    while text and random.random() < 0.2:
        # Insert ends of lines, of C strings and of keys anywhere.
        at = random.randrange(len(text))
        text[at : at + random.randrange(2)] = random.choice(
            (b"\r", b"\n", b"\0", b"=", b"%", b"\xc2")
        )
    return bytes(text)


def _any_value(random: Random) -> bytes:
    if random.random() < 0.5:
        return random.choice(VALUES)
    scheme = random.choice((b"https://", b"https://", b""))
    return scheme + b"".join(random.choices(URL_PARTS, k=random.randrange(8)))


def _key(line: bytes) -> bytes:
    return line.partition(b"=")[0]
