"""git's credential-helper protocol: gitcredentials(7), git-credential(1) "INPUT/OUTPUT FORMAT".

Bytes in, bytes out: no files, no clock, no sessions. The message is read where it lies: a secret
goes from it straight into a `Secret` and never becomes a `str` or `bytes`. The answer is a list of
views, so the secret that is written is the one in the credential, and no copy of it.

The reader is stricter than git's own (`credential_read` in credential.c), never looser: what it
accepts means to git what it means here, and whatever could be understood in two ways is refused.
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
# What git sends is a few KiB at most. Its own reader has no limit; this one bounds its memory.
MAX_REQUEST = 1 << 20
# What git's own helpers exit with, see usage() in usage.c.
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

# What is done here of what git can announce, and the answer to the operation `capability`.
CAPABILITIES: Final = ("authtype", "state")
DESCRIPTION: Final = b"version 0\ncapability authtype\ncapability state\n"

SECRETS: Final = frozenset({b"password", b"credential", b"oauth_refresh_token"})
# The attributes that have one value. git takes the last of several; here the second is refused,
# because two hosts in one message mean that somebody smuggled one of them in, and a reader that
# takes the first and one that takes the last would then talk about different servers.
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
# The attributes with a list of values. `wwwauth[]` is a third, and means nothing to a session.
LISTS: Final = frozenset({b"capability[]", b"state[]"})
LONGEST_KEY: Final = max(map(len, SINGLE | LISTS))
# git-credential(1): a capability "must precede any value depending on it".
NEEDED: Final = {b"authtype": "authtype", b"credential": "authtype"}

STATE_PREFIX: Final = b"keylease:"
SESSION_ID_LENGTH: Final = 32
HEXADECIMAL: Final = frozenset(b"0123456789abcdef")
# A time of more digits lies 30 thousand million years ahead, and fits in no record.
MAX_DIGITS: Final = 18

# git_config_bool in config.c, without its numbers other than these. git gives up on anything else.
BOOLEANS: Final = {
    **dict.fromkeys(("1", "true", "yes", "on"), True),
    **dict.fromkeys(("", "0", "false", "no", "off"), False),
}

LF: Final = 0x0A
CR: Final = 0x0D
PERCENT: Final = 0x25
# No value can carry these: LF ends it, git's C strings end at NUL, and a CR is how one line was
# made to read as two (CVE-2024-50338, CVE-2024-52006).
BREAKING: Final = frozenset({0x00, LF, CR})
# No name is made of these: they could not be shown, and something may take them for a line's end.
CONTROL: Final = frozenset({*range(0x20), 0x7F})

# A view cannot be searched by itself; a pattern searches it where it lies. Only literals are here,
# so each search takes time in proportion to what is searched.
_LF: Final = re.compile(rb"\n")
_CR_OR_NUL: Final = re.compile(rb"[\r\0]")
_EQUALS: Final = re.compile(rb"=")
_BLANK_LINE: Final = re.compile(rb"\A\r?\n|\n\r?\n")
_SCHEME_END: Final = re.compile(rb"://")
_AUTHORITY_END: Final = re.compile(rb"[/?#]")
_AT: Final = re.compile(rb"@")
_COLON: Final = re.compile(rb":")


def parse(call: Call) -> Request:
    """Return what git asks.

    Raises:
        UsageError: there is not one operation.
        RequestError: the message is not one that git would send.
    """
    action, message = operation(call.arguments), call.message
    if action == "capability":
        return Request("describe")
    if action not in ACTIONS:
        return Request("ignore")
    demand_bounded(message, MAX_REQUEST)
    return _request(ACTIONS[action], memoryview(message))


def complete(call: Call) -> bool:
    """Return whether nothing more has to be read: git may keep its end of the pipe open.

    git-credential(1): "The attributes are terminated by a blank line or end-of-file". An operation
    that is not known has no message.
    """
    return (
        len(call.arguments) != 1
        or call.arguments[0] not in ACTIONS
        or _BLANK_LINE.search(call.message) is not None
    )


def render(request: Request, answer: Answer) -> list[bytes | memoryview]:
    """Return the answer: the description, the credential, or nothing.

    Neither protocol nor host nor path is ever said: git would believe it, and send the secret
    there.

    Raises:
        RequestError: the credential has a value that a line cannot carry, or needs a capability
            that git did not announce.
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
    request: Request | None = None,  # noqa: ARG001 - git hears the same whatever it asked
) -> Refusal:
    """Return silence for git, and the reason for whoever looks at the terminal.

    A plain miss has no reason to give: git goes on and asks its user, as it would without a helper.
    git ignores a helper's exit code; git's own helpers end a miss with 0.
    """
    if type(error) is SessionNotFoundError:
        return Refusal(b"", "", 0)
    if isinstance(error, UsageError):
        return Refusal(b"", f"{explained(error)}{USAGE}\n", USAGE_EXIT)
    return Refusal(b"", explained(error), 0 if isinstance(error, SessionNotFoundError) else 1)


def _request(action: Literal["get", "store", "erase"], text: memoryview) -> Request:
    """Read the attributes and make a request of them."""
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
                    msg = "url comes after other attributes, and git would forget those"
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
    """Yield each line's number, and where it begins and ends.

    A blank line or the end of the text ends the message, and the rest is not looked at.
    """
    # Some peers write in text mode, so each of their lines ends in CRLF; git takes that since 2.29.
    # But a CR can also be the last byte of a value that an attacker chose: the host "github.com\r"
    # is another one than "github.com" and must never be answered as that. So CRLF is a line end
    # only if every line has it, and a message of one line alone proves nothing.
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
                msg = f"line {number} does not end in CRLF, and those before it do"
                raise RequestError(msg)
            end -= 1
        if _find(_CR_OR_NUL, text, start, end) >= 0:
            msg = f"line {number} has a carriage return or NUL inside"
            raise RequestError(msg)
        if start == end:
            return
        yield number, start, end
        start = following


def _attributes(text: memoryview) -> Iterator[tuple[bytes, int, int]]:
    """Yield each attribute that is known here: its key, and where its value begins and ends."""
    for number, start, end in _lines(text):
        key_end = _find(_EQUALS, text, start, end)
        if key_end < 0:
            msg = f"line {number} has no '=': expected key=value"
            raise RequestError(msg)
        key = text[start:key_end]
        if not CONTROL.isdisjoint(key):
            msg = f"the key in line {number} has a control character"
            raise RequestError(msg)
        # What git does not know it ignores too: a later git sends more, and must go on working.
        if len(key) <= LONGEST_KEY and (name := bytes(key)) in SINGLE | LISTS:
            yield name, key_end + 1, end


def _extend(key: bytes, value: memoryview, lists: dict[bytes, list[str]]) -> None:
    """Add a value to its list if it is ours."""
    if not value:
        # git-credential(1): an empty value "resets" the list.
        lists[key].clear()
    elif key == b"capability[]":
        lists[key] += [name for name in CAPABILITIES if bytes(value) == name.encode()]
    elif "state" in lists[b"capability[]"] and bytes(value[: len(STATE_PREFIX)]) == STATE_PREFIX:
        # Others' state may be a secret of theirs (osxkeychain's is): it is not even copied.
        session = value[len(STATE_PREFIX) :]
        if len(session) == SESSION_ID_LENGTH and HEXADECIMAL.issuperset(session):
            lists[key].append(str(session, "ascii"))


def _meaning(
    action: Literal["get", "store", "erase"],
    single: dict[bytes, memoryview],
    lists: dict[bytes, list[str]],
) -> Request:
    """Return the request that the attributes make."""
    username = _name(single, b"username")
    return Request(
        action,
        _target(single),
        username,
        # What a `get` brings is no business of a session.
        None if action == "get" else _credential(action, username, single),
        frozenset(lists[b"capability[]"]),
        tuple(lists[b"state[]"]),
        _boolean(single, b"ephemeral"),
    )


def _target(single: dict[bytes, memoryview]) -> Target:
    """Return what the request is for. No part of it may be missing, for missing would mean any."""
    # git trims the slashes before a URL's path (credential_from_url_1), so the login by URL has no
    # such path. One that was written by hand has to agree with it.
    # An empty one stays: to git's own helpers it is a path that no other path equals, not any path.
    path = _name(single, b"path")
    protocol, host = _required(single, b"protocol"), _required(single, b"host")
    return Target(NAMESPACE, protocol, host, None if path is None else path.lstrip("/"))


def _credential(
    action: Literal["store", "erase"], username: str | None, single: dict[bytes, memoryview]
) -> Credential | None:
    """Return what a `store` brings or an `erase` compares with, if it is whole."""
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
    # git reads it by strtoumax: blanks and a plus before the digits, anything after them. Zero, no
    # number and one too large mean never to git.
    text = (_name(single, b"password_expiry_utc") or "").lstrip(" ").removeprefix("+")
    digits = text[: len(text) - len(text.lstrip("0123456789"))].lstrip("0")
    return int(digits) if 0 < len(digits) <= MAX_DIGITS else None


def _boolean(single: dict[bytes, memoryview], key: bytes) -> bool:
    value = BOOLEANS.get((_name(single, key) or "").lower())
    if value is None:
        msg = f"{key.decode()} is no boolean: expected 1 or 0"
        raise RequestError(msg)
    return value


def _name(single: dict[bytes, memoryview], key: bytes) -> str | None:
    """Return a value that is no secret as text."""
    value = single.get(key)
    if value is None:
        return None
    if not CONTROL.isdisjoint(value):
        msg = f"{key.decode()} has a control character"
        raise RequestError(msg)
    return str(value, "utf-8", "surrogateescape")


def _required(single: dict[bytes, memoryview], key: bytes) -> str:
    # git itself refuses "to work with credential missing host field" ever since a request without
    # one was answered with any credential there was (CVE-2020-11008). An empty one is legal only
    # for client certificates (cert:///path), which have no session.
    value = _name(single, key)
    if not value:
        msg = f"the request has no {key.decode()}"
        raise RequestError(msg)
    return value


def _find(pattern: re.Pattern[bytes], text: memoryview, start: int, end: int) -> int:
    """Return where the pattern is found first; -1 if nowhere."""
    found = pattern.search(text, start, end)
    return -1 if found is None else found.start()


def _url(text: memoryview, start: int, end: int, parts: dict[bytes, memoryview]) -> None:
    """Take a URL apart as git does (`credential_from_url_1` in credential.c).

    git takes `url` only from people and never passes it on; people may type it here as well.
    `parts` gets buffers of their own, which the caller wipes whether this raises or not.
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
    """Return a part of a URL with its percent signs resolved, in a buffer of its own."""
    # NOTE: git leaves what stands before a colon as it is (url_decode_mem in url.c). Whoever means
    # the same thing as git has to do the same.
    colon = _find(_COLON, text, start, end)
    value = allocate(end - start)
    length = 0
    while start < end:
        byte = text[start]
        if byte == PERCENT and start >= colon:
            # A percent sign without two digits stands for itself.
            pair = bytes(text[start + 1 : start + 3]).lower()
            if start + 2 < end and HEXADECIMAL.issuperset(pair):
                byte = int(pair, 16)
                start += 2
        value[length] = byte
        length += 1
        start += 1
    return value[:length]


def _answer(reply: Reply, announced: frozenset[str]) -> Iterator[tuple[bytes, str | memoryview]]:
    """Yield the attributes of an answer, in their order."""
    credential = reply.credential
    # git-credential(1): capabilities come first, and only what was announced is answered.
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
        msg = "the session holds an Authorization header, and authtype was not announced"
        raise RequestError(msg, "git can use it from version 2.46 on")
    expires = _expires(reply, announced)
    if expires is not None:
        yield b"password_expiry_utc", str(expires)
    token = credential.field("oauth_refresh_token")
    if token is not None:
        yield b"oauth_refresh_token", token.reveal()
    if "authtype" in announced:
        # git stores the answer into every other configured helper too. This asks them not to keep
        # it; of git's own helpers only the cache listens.
        yield b"ephemeral", "1"
    if "state" in announced:
        yield b"state[]", f"keylease:{reply.session.id}"


def _expires(reply: Reply, announced: frozenset[str]) -> int | None:
    """Return the end that git is told, in Unix seconds."""
    own = reply.credential.expires
    # Whoever announces capabilities is a git that ignores an expired password. An older one, and a
    # script that compares the answer byte by byte, gets what was stored and no more.
    if not announced:
        return own
    return reply.ends if own is None else min(own, reply.ends)


def _add(lines: list[bytes | memoryview], key: bytes, value: str | memoryview) -> None:
    """Add one line of an answer, checked again: what is in a store may come from anywhere."""
    if isinstance(value, str):
        try:
            value = memoryview(value.encode("utf-8", "surrogateescape"))
        except UnicodeEncodeError:
            msg = f"{key.decode()} has half a character, and git's lines are bytes"
            raise RequestError(msg) from None
    if not BREAKING.isdisjoint(value):
        msg = f"{key.decode()} has a line break, carriage return or NUL, which git cannot be told"
        raise RequestError(msg)
    if len(key) + len(value) + 2 > MAX_LINE:
        msg = f"{key.decode()} is too long: a line for git is at most {MAX_LINE} bytes"
        raise RequestError(msg)
    lines += (key, b"=", value, b"\n")
