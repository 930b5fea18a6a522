"""Ask a git server whether it accepts a password, before a session starts with it.

The request is the first one of a clone: GET URL/info/refs?service=git-upload-pack with Basic
authentication (gitprotocol-http(5), RFC 7617). The password goes only to the host of the URL:
redirects to other hosts are not followed, TLS certificates are verified, and plain HTTP is used
only for this machine.

NOTE: the HTTP library makes copies of the password that cannot be wiped.
"""

from __future__ import annotations

import base64
import http.client
import ipaddress
import re
import ssl
import urllib.error
import urllib.request
from http import HTTPStatus
from typing import TYPE_CHECKING, Final
from urllib.parse import quote, urljoin, urlsplit

from keylease import __version__
from keylease.errors import CredentialRefusedError, UsageError
from keylease.secrets.memory import secure_clear

if TYPE_CHECKING:
    from typing import IO

    from keylease.model import Target
    from keylease.secrets.secret import Secret

SECONDS: Final = 15.0
"""Maximum time for one answer of the server."""
_SERVICE: Final = "/info/refs?service=git-upload-pack"
# Some servers speak git's smart protocol only to a user agent named git.
_AGENT: Final = f"git/2.0 (keylease {__version__})"
# RFC 3986, 3.2.2, without percent signs: a host is opaque to git. The HTTP library could read an
# unusual one as another host, or as a host and a path.
_HOST: Final = re.compile(r"(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?")


def check(target: Target) -> None:
    """Check that the server can be asked. Send nothing.

    Raises:
        UsageError: it cannot, or the password would go over the network unencrypted.
    """
    without = "leave out --verify"
    if target.protocol not in {"http", "https"}:
        msg = f"--verify needs a URL with https, found {target.protocol}"
        raise UsageError(msg, without)
    if not _HOST.fullmatch(target.host):
        msg = "--verify needs a plain host name or IP address in the URL"
        raise UsageError(msg, without)
    if target.protocol == "http" and not _is_loopback(target.host):
        msg = "--verify would send the password unencrypted, because the URL has http"
        raise UsageError(msg, f"use https, or {without}")


def verify(target: Target, username: str, password: Secret) -> str | None:
    """Ask the server. Return `None` if it accepts the password, else why this is unknown.

    Raises:
        CredentialRefusedError: the server answered 401 Unauthorized.
        UsageError: as `check`, or the user name cannot be sent.
    """
    check(target)
    if ":" in username:
        # RFC 7617, 2: "a user-id containing a colon character is invalid".
        msg = "--verify cannot send a user name with a colon"
        raise UsageError(msg, "leave out --verify")
    url = f"{target.protocol}://{target.host}{_path(target.path)}{_SERVICE}"
    status = _ask(url, _basic(username, password))
    if isinstance(status, str):
        return status
    if status == HTTPStatus.UNAUTHORIZED:
        msg = f"{target.host} refuses the password: 401 Unauthorized"
        raise CredentialRefusedError(msg)
    if status != HTTPStatus.OK:
        return f"{target.host} answered {_called(status)}"
    # A public repository answers without a password, so it proves nothing about this one.
    if _ask(url, None) == HTTPStatus.OK:
        return f"{target.host} answers the same without a password"
    return None


def _ask(url: str, authorization: str | None) -> int | str:
    """Return the status of the server's answer, or why there is no answer."""
    headers = {"User-Agent": _AGENT, "Accept": "*/*"}
    # `check` allows only http and https, and the opener below knows no other scheme.
    request = urllib.request.Request(url, headers=headers)  # noqa: S310
    if authorization is not None:
        # "Unredirected": not sent to a proxy, and not copied into the request after a redirect.
        request.add_unredirected_header("Authorization", authorization)
    # A proxy cannot read TLS. Requests to this machine (http) use no proxy.
    proxies = urllib.request.getproxies() if url.startswith("https:") else {}
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(proxies),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(context=ssl.create_default_context()),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(),
        _SameHostRedirects(),
    ):
        opener.add_handler(handler)
    try:
        with opener.open(request, timeout=SECONDS) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code
    except urllib.error.URLError as error:
        return f"the server did not answer: {_reason(error.reason)}"
    except (OSError, http.client.HTTPException, ValueError) as error:
        return f"the server did not answer: {_reason(error)}"


class _SameHostRedirects(urllib.request.HTTPRedirectHandler):
    """Follow a redirect only to the same scheme, host and port."""

    max_redirections = 3

    def redirect_request(  # noqa: PLR0913, PLR0917 - the signature of the standard library
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: http.client.HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        """Return the next request; `None` leaves the redirect as the answer."""
        here, there = urlsplit(req.full_url), urlsplit(urljoin(req.full_url, newurl))
        if (here.scheme, here.netloc) != (there.scheme, there.netloc):
            return None
        following = super().redirect_request(req, fp, code, msg, headers, newurl)
        authorization = req.get_header("Authorization")
        if following is not None and authorization is not None:
            following.add_unredirected_header("Authorization", authorization)
        return following


def _basic(username: str, password: Secret) -> str:
    """Return the value of the Authorization header (RFC 7617)."""
    name = username.encode("utf-8", "surrogateescape")
    plain = bytearray(name + b":")
    plain += password.reveal()
    try:
        return "Basic " + base64.b64encode(plain).decode("ascii")
    finally:
        secure_clear(plain)


def _path(path: str | None) -> str:
    if path is None:
        return ""
    return "/" + quote(path.encode("utf-8", "surrogateescape").rstrip(b"/"), safe="/~")


def _is_loopback(host: str) -> bool:
    # RFC 6761, 6.3: localhost is always this machine.
    name = urlsplit(f"//{host}").hostname or ""
    try:
        return name == "localhost" or ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def _called(status: int) -> str:
    if HTTPStatus.MULTIPLE_CHOICES <= status < HTTPStatus.BAD_REQUEST:
        return f"{status}, a redirect that is not followed"
    try:
        return f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        return str(status)


def _reason(error: object) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not valid: {error.verify_message}"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    # The text of an exception may repeat the request.
    return error if isinstance(error, str) else type(error).__name__
