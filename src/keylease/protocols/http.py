"""HTTP: the server in a URL, and the Authorization header.

An ambiguous URL, which two readers could read as two servers, is refused. No message repeats a URL,
because it may contain a password.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NamedTuple

from keylease.errors import RequestError, UsageError
from keylease.model import Target
from keylease.secrets import base64text
from keylease.secrets.memory import joined, secure_clear

if TYPE_CHECKING:
    from keylease.model import Credential

# RFC 3986, section 3. The host has no user, percent sign or backslash: parsers have disagreed about
# each of them.
_URL: Final = re.compile(
    r"(?P<scheme>https?)://"
    r"(?P<host>(?:\[[0-9A-Fa-f:.]+\]|[^:/?#@%\\\[\]\s\x00-\x20\x7f]+)(?::[0-9]{1,5})?)"
    r"(?:/(?P<path>[^?#\s\x00-\x20\x7f]*))?"
    r"(?:[?#][^\s\x00-\x20\x7f]*)?"
)
# RFC 9110, sections 5.5 and 11.4: a header value has visible characters, and a scheme is a token.
_TOKEN: Final = re.compile(rb"[\x21-\x7e]+")
_VALUE: Final = re.compile(rb"[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?")
_SCHEME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
# RFC 7617, section 2: a colon ends the user name, and control characters are not allowed.
_UNFIT: Final = re.compile(rb"[\x00-\x1f\x7f]")


WEB: Final = "web"
"""The namespace of git and of other tools for HTTP servers."""


class Url(NamedTuple):
    """The parts of a URL."""

    scheme: str
    host: str
    """With the port, if there is one."""
    path: str
    """Without the slashes around it."""


def split(url: str) -> Url:
    """Return the parts of an HTTP URL.

    Raises:
        UsageError: it is not valid, or contains a user.
    """
    found = _URL.fullmatch(url)
    if found is None:
        msg = "the URL is not valid, or has a user, a blank or a control character"
        raise UsageError(msg, "write it as https://server.example")
    return Url(found["scheme"], found["host"], (found["path"] or "").strip("/"))


def https_target(name: str) -> Target:
    """Return the target of a server, as in git's URLs. The `https://` is optional.

    Raises:
        UsageError: the URL is not valid, or is not https.
    """
    url = split(name if "://" in name else f"https://{name}")
    if url.scheme != "https":
        msg = "credentials are sent only by https"
        raise UsageError(msg, "write the URL as https://server.example")
    return Target(WEB, url.scheme, url.host, url.path or None)


def authorization(credential: Credential) -> memoryview:
    """Return the value of the Authorization header. The caller clears it.

    The stored value if it was stored pre-encoded; a bearer token (RFC 6750, section 2.1) if there
    is no user; else user and password (RFC 7617).

    Raises:
        RequestError: the credential does not fit into a header.
    """
    secret = credential.secret.reveal()
    if credential.authtype is not None:
        if _SCHEME.fullmatch(credential.authtype) is None or _VALUE.fullmatch(secret) is None:
            msg = "the session holds an Authorization header that is not valid"
            raise RequestError(msg)
        return joined((credential.authtype.encode("ascii"), b" ", secret))
    if credential.username is None:
        if _TOKEN.fullmatch(secret) is None:
            msg = "the token has a character that is not allowed in a header"
            raise RequestError(msg)
        return joined((b"Bearer ", secret))
    username = credential.username.encode("utf-8", "surrogateescape")
    if b":" in username or _UNFIT.search(username) or _UNFIT.search(secret):
        msg = "the user name has a colon, or the user name or password has a control character"
        raise RequestError(msg, "basic authentication does not allow that")
    parts = [joined((username, b":", secret))]
    try:
        parts.append(base64text.encode(parts[0]))
        return joined((b"Basic ", parts[1]))
    finally:
        for part in parts:
            secure_clear(part)
