"""git's credential-helper protocol: gitcredentials(7), git-credential(1) "INPUT/OUTPUT FORMAT".

The message is parsed in place: a secret goes straight into a `Secret` and never becomes a `str` or
`bytes`. The answer is a list of views, so the secret is written without another copy.

The parser is never looser than git's own (`credential_read` in credential.c): an accepted message
means the same to git. An ambiguous message is refused.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from keylease.errors import RequestError, SessionNotFoundError, UsageError
from keylease.model import Credential, Refusal, Reply, Request, Target
from keylease.protocols.base import demand_bounded, explained, operation
from keylease.secrets.memory import allocate, secure_clear
from keylease.secrets.secret import Secret

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Literal

    from keylease.errors import KeyleaseError
    from keylease.model import Answer
    from keylease.protocols.base import Call

NAMESPACE = "web"
OPTIONS = True
GREETING = b""
USAGE = "usage: git-credential-keylease [--timeout SECONDS] [--keychain NAME] OPERATION"
# A message of git has a few KiB at most. git's own reader has no limit; this one bounds its memory.
MAX_REQUEST = 1 << 20
# The exit code of git's own helpers, see usage() in usage.c.
USAGE_EXIT: Final = 129
# git-credential(1): a line is no longer than 65535 bytes, its newline included.
MAX_LINE: Final = 65_535

# gitcredentials(7), "CUSTOM HELPERS": a helper that gets any other operation "should silently
# ignore the request. This leaves room for future operations to be added".
ACTIONS: Final[dict[str, Literal["get", "store", "erase"]]] = {
    "get": "get",
    "store": "store",
    "erase": "erase",
}

# The supported capabilities, and the answer to the operation `capability`.
CAPABILITIES: Final = ("authtype", "state")
DESCRIPTION: Final = b"version 0\ncapability authtype\ncapability state\n"

SECRETS: Final = frozenset({b"password", b"credential", b"oauth_refresh_token"})
# The attributes with one value. git takes the last of several. Here a second one is refused: two
# hosts in one message are an injection, and readers that take the first or the last would disagree
# about the server.
SINGLE: Final = SECRETS | {
    b"protocol",
    b"host",
    b"path",
    b"username",
    b"authtype",
    b"password_expiry_utc",
    b"ephemeral",
    b"url",
}
# The attributes with a list of values. `wwwauth[]` is not needed.
LISTS: Final = frozenset({b"capability[]", b"state[]"})
LONGEST_KEY: Final = max(map(len, SINGLE | LISTS))
# git-credential(1): a capability "must precede any value depending on it".
NEEDED: Final = {b"authtype": "authtype", b"credential": "authtype"}

STATE_PREFIX: Final = b"keylease:"
SESSION_ID_LENGTH: Final = 32
HEXADECIMAL: Final = frozenset(b"0123456789abcdef")
# A time with more digits is 30 thousand million years ahead, and fits into no record.
MAX_DIGITS: Final = 18

# git_config_bool in config.c, without its numbers other than these. git gives up on anything else.
BOOLEANS: Final = {
    **dict.fromkeys(("1", "true", "yes", "on"), True),
    **dict.fromkeys(("", "0", "false", "no", "off"), False),
}

LF: Final = 0x0A
CR: Final = 0x0D
PERCENT: Final = 0x25
# Not allowed in a value: LF ends it, NUL ends git's C strings, and a CR has made one line read as
# two (CVE-2024-50338, CVE-2024-52006).
BREAKING: Final = frozenset({0x00, LF, CR})
# Not allowed in a name: they cannot be displayed, and a reader may take them for a line end.
CONTROL: Final = frozenset({*range(0x20), 0x7F})

# A memoryview has no `find`, but a pattern searches it in place. All patterns are literals, so a
# search takes linear time.
_LF: Final = re.compile(rb"\n")
_CR_OR_NUL: Final = re.compile(rb"[\r\0]")
_EQUALS: Final = re.compile(rb"=")
_BLANK_LINE: Final = re.compile(rb"\A\r?\n|\n\r?\n")
_SCHEME_END: Final = re.compile(rb"://")
_AUTHORITY_END: Final = re.compile(rb"[/?#]")
_AT: Final = re.compile(rb"@")
_COLON: Final = re.compile(rb":")


def parse(call: Call) -> Request:
    """Return git's request.

    Raises:
        UsageError: there is not exactly one operation.
        RequestError: the message is not valid.
    """
    action, message = operation(call.arguments), call.message
    if action == "capability":
        return Request("describe")
    if action not in ACTIONS:
        return Request("ignore")
    demand_bounded(message, MAX_REQUEST)
    return _request(ACTIONS[action], memoryview(message))


def complete(call: Call) -> bool:
    """Return whether stdin needs no more reading: git may keep its end of the pipe open.

    git-credential(1): "The attributes are terminated by a blank line or end-of-file". The message
    of an unknown operation is not read.
    """
    return (
        len(call.arguments) != 1
        or call.arguments[0] not in ACTIONS
        or _BLANK_LINE.search(call.message) is not None
    )


def render(request: Request, answer: Answer) -> list[bytes | memoryview]:
    """Return the description, the credential, or nothing.

    The answer never has a protocol, host or path: git would send the secret there.

    Raises:
        RequestError: a value of the credential does not fit into a line, or needs a capability that
            git did not announce.
    """
    if request.action == "describe":
        return [DESCRIPTION]
    if request.action != "get" or not isinstance(answer, Reply):
        return []
    lines: list[bytes | memoryview] = []
    for key, value in _answer(answer, request.capabilities):
        _add(lines, key, value)
    return lines


def refuse(
    error: KeyleaseError,
    request: Request | None = None,  # noqa: ARG001 - the refusal is the same for every request
) -> Refusal:
    """Return an empty answer for git, and the reason for a terminal.

    A plain miss needs no reason: git asks its user, as without a helper. git ignores a helper's
    exit code; git's own helpers end a miss with 0.
    """
    if type(error) is SessionNotFoundError:
        return Refusal(b"", "", 0)
    if isinstance(error, UsageError):
        return Refusal(b"", f"{explained(error)}{USAGE}\n", USAGE_EXIT)
    return Refusal(b"", explained(error), 0 if isinstance(error, SessionNotFoundError) else 1)


def _request(action: Literal["get", "store", "erase"], text: memoryview) -> Request:
    """Return the request of the message's attributes."""
    single: dict[bytes, memoryview] = {}
    lists: dict[bytes, list[str]] = {key: [] for key in LISTS}
    decoded: dict[bytes, memoryview] = {}
    try:
        for key, start, end in _attributes(text):
            value = text[start:end]
            if key in LISTS:
                _extend(key, value, lists)
            elif key == b"url":
                if single:
                    msg = "url comes after other attributes, which git would forget"
                    raise RequestError(msg)
                _url(text, start, end, decoded)
                single = {key: value, **decoded}
            elif key in single:
                msg = f"the request has more than one {key.decode()}"
                raise RequestError(msg)
            elif key in NEEDED and NEEDED[key] not in lists[b"capability[]"]:
                msg = f"{key.decode()} comes without its capability before it"
                raise RequestError(msg, f"send capability[]={NEEDED[key]} first")
            else:
                single[key] = value
        return _meaning(action, single, lists)
    finally:
        for part in decoded.values():
            secure_clear(part)


def _lines(text: memoryview) -> Iterator[tuple[int, int, int]]:
    """Yield each line's number, start and end.

    A blank line or the end of the text ends the message; the rest is ignored.
    """
    # Some peers write in text mode, with CRLF after each line; git accepts that since 2.29. But a
    # CR can also be the last byte of a value that an attacker chose: the host "github.com\r" is not
    # "github.com". So CRLF counts as a line end only if every line has it, and a message of a
    # single line proves nothing.
    first = _find(_LF, text, 0, len(text))
    text_mode = first > 0 and text[first - 1] == CR
    if text_mode and first + 1 == len(text):
        msg = "the only line ends in CRLF, and the CR may belong to its value"
        raise RequestError(msg, "end the message with an empty line")
    start = number = 0
    while start < len(text):
        number += 1
        newline = _find(_LF, text, start, len(text))
        end = len(text) if newline < 0 else newline
        following = end + 1
        if following - start > MAX_LINE:
            msg = f"line {number} is longer than {MAX_LINE} bytes"
            raise RequestError(msg)
        if text_mode:
            if newline < 0 or text[end - 1] != CR:
                msg = f"line {number} does not end in CRLF, but the lines before it do"
                raise RequestError(msg)
            end -= 1
        if _find(_CR_OR_NUL, text, start, end) >= 0:
            msg = f"line {number} has a carriage return or NUL"
            raise RequestError(msg)
        if start == end:
            return
        yield number, start, end
        start = following


def _attributes(text: memoryview) -> Iterator[tuple[bytes, int, int]]:
    """Yield each known attribute: its key, and the start and end of its value."""
    for number, start, end in _lines(text):
        key_end = _find(_EQUALS, text, start, end)
        if key_end < 0:
            msg = f"line {number} has no '=': expected key=value"
            raise RequestError(msg)
        key = text[start:key_end]
        if not CONTROL.isdisjoint(key):
            msg = f"the key in line {number} has a control character"
            raise RequestError(msg)
        # Ignore unknown attributes, as git does: a later git sends more.
        if len(key) <= LONGEST_KEY and (name := bytes(key)) in SINGLE | LISTS:
            yield name, key_end + 1, end


def _extend(key: bytes, value: memoryview, lists: dict[bytes, list[str]]) -> None:
    """Add a supported value to its list."""
    if not value:
        # git-credential(1): an empty value "resets" the list.
        lists[key].clear()
    elif key == b"capability[]":
        lists[key] += [name for name in CAPABILITIES if bytes(value) == name.encode()]
    elif "state" in lists[b"capability[]"] and bytes(value[: len(STATE_PREFIX)]) == STATE_PREFIX:
        # Another helper's state may be secret (osxkeychain's is), so it is not copied.
        session = value[len(STATE_PREFIX) :]
        if len(session) == SESSION_ID_LENGTH and HEXADECIMAL.issuperset(session):
            lists[key].append(str(session, "ascii"))


def _meaning(
    action: Literal["get", "store", "erase"],
    single: dict[bytes, memoryview],
    lists: dict[bytes, list[str]],
) -> Request:
    """Return the request of the attributes."""
    username = _name(single, b"username")
    return Request(
        action,
        _target(single),
        username,
        # A `get` needs no credential.
        None if action == "get" else _credential(action, username, single),
        frozenset(lists[b"capability[]"]),
        tuple(lists[b"state[]"]),
        _boolean(single, b"ephemeral"),
    )


def _target(single: dict[bytes, memoryview]) -> Target:
    """Return the target. Protocol and host are required: a missing one would match any."""
    # git trims the slashes before a URL's path (credential_from_url_1). Trim those of `path` too,
    # so that both forms name the same session.
    # Keep an empty path: to git's own helpers it equals only an empty path.
    path = _name(single, b"path")
    protocol, host = _required(single, b"protocol"), _required(single, b"host")
    return Target(NAMESPACE, protocol, host, None if path is None else path.lstrip("/"))


def _credential(
    action: Literal["store", "erase"], username: str | None, single: dict[bytes, memoryview]
) -> Credential | None:
    """Return the credential of a `store` or an `erase`, if it is complete."""
    authtype = _name(single, b"authtype") or None
    encoded = single.get(b"credential")
    # git-credential(1), authtype: "If this value is specified, username and password are unused".
    if encoded and (authtype or action == "erase"):
        return Credential(username, Secret(encoded), authtype, _expiry(single), _fields(single))
    password = single.get(b"password")
    if password is None or (username is None and action == "store"):
        return None
    return Credential(username, Secret(password), None, _expiry(single), _fields(single))


def _fields(single: dict[bytes, memoryview]) -> tuple[tuple[str, Secret], ...]:
    token = single.get(b"oauth_refresh_token")
    return (("oauth_refresh_token", Secret(token)),) if token else ()


def _expiry(single: dict[bytes, memoryview]) -> int | None:
    """Return when the credential ends, in Unix seconds."""
    # git parses it with strtoumax: blanks and a plus may precede the digits, and any text may
    # follow. To git, zero, no number and one too large mean never.
    text = (_name(single, b"password_expiry_utc") or "").lstrip(" ").removeprefix("+")
    digits = text[: len(text) - len(text.lstrip("0123456789"))].lstrip("0")
    return int(digits) if 0 < len(digits) <= MAX_DIGITS else None


def _boolean(single: dict[bytes, memoryview], key: bytes) -> bool:
    value = BOOLEANS.get((_name(single, key) or "").lower())
    if value is None:
        msg = f"{key.decode()} is not a boolean: expected 1 or 0"
        raise RequestError(msg)
    return value


def _name(single: dict[bytes, memoryview], key: bytes) -> str | None:
    """Return a value without a secret as text."""
    value = single.get(key)
    if value is None:
        return None
    if not CONTROL.isdisjoint(value):
        msg = f"{key.decode()} has a control character"
        raise RequestError(msg)
    return str(value, "utf-8", "surrogateescape")


def _required(single: dict[bytes, memoryview], key: bytes) -> str:
    # git itself refuses "to work with credential missing host field", because helpers answered a
    # request without a host with any credential (CVE-2020-11008). An empty host is legal only for
    # client certificates (cert:///path), which have no session.
    value = _name(single, key)
    if not value:
        msg = f"the request has no {key.decode()}"
        raise RequestError(msg)
    return value


def _find(pattern: re.Pattern[bytes], text: memoryview, start: int, end: int) -> int:
    """Return the position of the first match; -1 if there is none."""
    found = pattern.search(text, start, end)
    return -1 if found is None else found.start()


def _url(text: memoryview, start: int, end: int, parts: dict[bytes, memoryview]) -> None:
    """Parse a URL as git does (`credential_from_url_1` in credential.c).

    git accepts `url` from people, and never sends it to a helper. People may type it here too.
    `parts` gets buffers of their own, which the caller wipes even if this raises.
    """
    scheme_end = _find(_SCHEME_END, text, start, end)
    if scheme_end <= start:
        msg = "the url has no scheme: expected one like https://example.com"
        raise RequestError(msg)
    first = scheme_end + 3
    slash = _find(_AUTHORITY_END, text, first, end)
    slash = end if slash < 0 else slash
    at = _find(_AT, text, first, slash)
    colon = _find(_COLON, text, first, at) if at >= 0 else -1
    parts[b"protocol"] = allocate(scheme_end - start)
    parts[b"protocol"][:] = text[start:scheme_end]
    if at >= 0:
        parts[b"username"] = _decoded(text, first, at if colon < 0 else colon)
    if colon >= 0:
        parts[b"password"] = _decoded(text, colon + 1, at)
    parts[b"host"] = _decoded(text, first if at < 0 else at + 1, slash)
    while slash < end and text[slash] == ord("/"):
        slash += 1
    if slash < end:
        path = _decoded(text, slash, end)
        length = len(path)
        while length > 1 and path[length - 1] == ord("/"):
            length -= 1
        parts[b"path"] = path[:length]
    if not BREAKING.isdisjoint(parts.get(b"password", b"")):
        msg = "the url's password has a line break or NUL"
        raise RequestError(msg)


def _decoded(text: memoryview, start: int, end: int) -> memoryview:
    """Return a part of a URL, percent-decoded, in a buffer of its own."""
    # NOTE: git does not decode the text before a colon (url_decode_mem in url.c). Decode the same
    # bytes as git, so that both read the same name.
    colon = _find(_COLON, text, start, end)
    value = allocate(end - start)
    length = 0
    while start < end:
        byte = text[start]
        if byte == PERCENT and start >= colon:
            # Keep a percent sign without two hexadecimal digits.
            pair = bytes(text[start + 1 : start + 3]).lower()
            if start + 2 < end and HEXADECIMAL.issuperset(pair):
                byte = int(pair, 16)
                start += 2
        value[length] = byte
        length += 1
        start += 1
    return value[:length]


def _answer(reply: Reply, announced: frozenset[str]) -> Iterator[tuple[bytes, str | memoryview]]:
    """Yield the attributes of an answer in order."""
    credential = reply.credential
    # git-credential(1): capabilities come first, and only announced ones are answered.
    for name in CAPABILITIES:
        if name in announced:
            yield b"capability[]", name
    if credential.username is not None:
        yield b"username", credential.username
    if credential.authtype is None:
        yield b"password", credential.secret.reveal()
    elif "authtype" in announced:
        yield b"authtype", credential.authtype
        yield b"credential", credential.secret.reveal()
    else:
        msg = "the session holds an Authorization header, but git did not announce authtype"
        raise RequestError(msg, "use git 2.46 or later")
    expires = _expires(reply, announced)
    if expires is not None:
        yield b"password_expiry_utc", str(expires)
    token = credential.field("oauth_refresh_token")
    if token is not None:
        yield b"oauth_refresh_token", token.reveal()
    if "authtype" in announced:
        # git stores the answer in every other configured helper too. This asks them not to keep
        # it; of git's own helpers, only the cache obeys.
        yield b"ephemeral", "1"
    if "state" in announced:
        yield b"state[]", f"keylease:{reply.session.id}"


def _expires(reply: Reply, announced: frozenset[str]) -> int | None:
    """Return the expiry for git, in Unix seconds."""
    own = reply.credential.expires
    # A git that announces capabilities ignores expired passwords, so it gets the session's end. An
    # older git, or a script that compares the answer byte by byte, gets only the stored expiry.
    if not announced:
        return own
    return reply.ends if own is None else min(own, reply.ends)


def _add(lines: list[bytes | memoryview], key: bytes, value: str | memoryview) -> None:
    """Add one line of an answer. Check the value again: another protocol may have stored it."""
    if isinstance(value, str):
        try:
            value = memoryview(value.encode("utf-8", "surrogateescape"))
        except UnicodeEncodeError:
            msg = f"{key.decode()} has half a character (a lone surrogate), which has no bytes"
            raise RequestError(msg) from None
    if not BREAKING.isdisjoint(value):
        msg = f"{key.decode()} has a line break, carriage return or NUL, which git does not allow"
        raise RequestError(msg)
    if len(key) + len(value) + 2 > MAX_LINE:
        msg = f"{key.decode()} is too long: expected a line of at most {MAX_LINE} bytes"
        raise RequestError(msg)
    lines += (key, b"=", value, b"\n")
