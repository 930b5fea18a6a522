"""What tools that speak HTTP have in common: the server in a URL, and the Authorization header.

Text and bytes only. A URL that could name two servers to two readers is refused, and none is ever
repeated: it may have a password in it.
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

# RFC 3986, section 3. No user, no percent sign and no backslash in the host: each of them has made
# two readers see two servers.
_URL: Final = re.compile(
    r"(?P<scheme>https?)://"
    r"(?P<host>(?:\[[0-9A-Fa-f:.]+\]|[^:/?#@%\\\[\]\s\x00-\x20\x7f]+)(?::[0-9]{1,5})?)"
    r"(?:/(?P<path>[^?#\s\x00-\x20\x7f]*))?"
    r"(?:[?#][^\s\x00-\x20\x7f]*)?"
)
# RFC 9110, sections 5.5 and 11.4: what may be said in a header is visible, and a scheme is a token.
_TOKEN: Final = re.compile(rb"[\x21-\x7e]+")
_VALUE: Final = re.compile(rb"[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?")
_SCHEME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
# RFC 7617, section 2: a colon ends the user name, and control characters are in neither part.
_UNFIT: Final = re.compile(rb"[\x00-\x1f\x7f]")


WEB: Final = "web"
"""The namespace of the servers that git clones from, and of others that HTTP leads to."""


class Url(NamedTuple):
    """What a URL names."""

    scheme: str
    host: str
    """With the port if there is one, as it is written."""
    path: str
    """Without the slashes around it."""


def split(url: str) -> Url:
    """Return what a URL of HTTP names.

    Raises:
        UsageError: it is none, or has a user in it.
    """
    found = _URL.fullmatch(url)
    if found is None:
        msg = "what is given is no URL of a server, or has a user, a blank or a control character"
        raise UsageError(msg, "write it as https://server.example")
    return Url(found["scheme"], found["host"], (found["path"] or "").strip("/"))


def https_target(name: str) -> Target:
    """Return the target of a server, as in git's URLs; `https://` may be left out.

    Raises:
        UsageError: it is no server, or one that no credential may be sent to.
    """
    url = split(name if "://" in name else f"https://{name}")
    if url.scheme != "https":
        msg = "a credential is sent by https alone"
        raise UsageError(msg, "write the URL as https://server.example")
    return Target(WEB, url.scheme, url.host, url.path or None)


def authorization(credential: Credential) -> memoryview:
    """Return the value of the Authorization header in memory of its own, which the caller clears.

    That is what was stored if it was stored encoded, a bearer token (RFC 6750, section 2.1) where
    there is no user, and user and password (RFC 7617) otherwise.

    Raises:
        RequestError: no header can say it.
    """
    secret = credential.secret.reveal()
    if credential.authtype is not None:
        if _SCHEME.fullmatch(credential.authtype) is None or _VALUE.fullmatch(secret) is None:
            msg = "the session holds an Authorization header that cannot be said"
            raise RequestError(msg)
        return joined((credential.authtype.encode("ascii"), b" ", secret))
    if credential.username is None:
        if _TOKEN.fullmatch(secret) is None:
            msg = "the token has a blank, a control character or a letter that no header can say"
            raise RequestError(msg)
        return joined((b"Bearer ", secret))
    username = credential.username.encode("utf-8", "surrogateescape")
    if b":" in username or _UNFIT.search(username) or _UNFIT.search(secret):
        msg = "the user name has a colon, or it or the password a control character"
        raise RequestError(msg, "basic authentication cannot say that")
    parts = [joined((username, b":", secret))]
    try:
        parts.append(base64text.encode(parts[0]))
        return joined((b"Basic ", parts[1]))
    finally:
        for part in parts:
            secure_clear(part)
