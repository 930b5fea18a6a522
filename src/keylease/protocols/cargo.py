"""Cargo's credential-provider protocol, version 1.

The rules are those of the Cargo Book ("Credential Provider Protocol") and, where it is silent, of
github.com/rust-lang/cargo at af373f7 (src/cargo/util/credential/process.rs). Bytes only.

It is a conversation: the provider greets first, then answers each line with one line until cargo
closes its end. A failure is an answer too, and the exit code stays 0.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from keylease.errors import (
    RequestError,
    SessionNotFoundError,
    UsageError,
    VaultRevokedError,
    printable,
)
from keylease.model import Credential, Refusal, Reply, Request, Target
from keylease.protocols.base import (
    AFRESH,
    ENDED,
    UNFIT,
    demand_bounded,
    explained,
    misused,
    one_spelling,
)
from keylease.secrets import jsontext
from keylease.secrets.secret import Secret

if TYPE_CHECKING:
    from keylease.errors import KeyleaseError
    from keylease.model import Answer
    from keylease.protocols.base import Call
    from keylease.secrets.jsontext import Value

NAMESPACE = "cargo"
# A line contains a URL, a token, and the header lines of a registry's refusal.
MAX_REQUEST = 1 << 18
OPTIONS = False
GREETING = b'{"v":[1]}\n'
USAGE = "usage: cargo-credential-keylease --cargo-plugin"

_VERSION: Final = 1
CRATES_IO: Final = "https://github.com/rust-lang/crates.io-index"
"""Cargo's name for crates.io in its requests, whichever index it reads itself."""
_CRATES_IO_NAMES: Final = frozenset({"crates-io", "crates.io"})

# `sparse+` and `registry+` choose how cargo reads the index; the server is the same.
_INDEX: Final = re.compile(
    r"(?:sparse\+|registry\+)?([A-Za-z][A-Za-z0-9.-]*)://([^/?#\\]+)((?:/.*)?)", re.DOTALL
)
_WEB: Final = frozenset({"https", "http"})
_UNSUPPORTED: Final = "the URL of the registry's index is not supported"

_LINE_END: Final = re.compile(rb"\n")
_LOGIN: Final = re.compile(rb"login")
_ON_STDIN: Final = "give the token on stdin"


def complete(call: Call) -> bool:
    """Return whether a whole line was read, or the command line is not cargo's."""
    return call.arguments != ("--cargo-plugin",) or _LINE_END.search(call.message) is not None


def parse(call: Call) -> Request:
    """Return the request of one line.

    Raises:
        UsageError: the command line is not cargo's.
        RequestError: the line is not valid.
    """
    if call.arguments != ("--cargo-plugin",):
        msg = "expected to be run by cargo, with the only argument --cargo-plugin"
        raise UsageError(msg, 'as with: credential-provider = "cargo-credential-keylease"')
    demand_bounded(call.message, MAX_REQUEST)
    with jsontext.opened(call.message) as members:
        return _request(members, call.typed)


def question(call: Call) -> str:
    """Return the question of `cargo login` without a token, which the provider has to ask.

    The provider's stdin and stdout are not the terminal.
    """
    if call.typed is not None or _LOGIN.search(call.message) is None:
        return ""
    try:
        request = parse(call)
    except (RequestError, UsageError):
        return ""  # `serve` reports the error
    request.wipe()
    is_open = request.action == "store" and request.credential is None and request.target
    return f"Token for {request.target.url}: " if is_open and request.target else ""


def render(request: Request, answer: Answer) -> list[bytes | memoryview]:
    """Return the answer line.

    A token expires halfway to the end of its session. Cargo keeps it until then; at the very end,
    it would find no session.

    Raises:
        RequestError: the token is not text, or `cargo login` sent none.
    """
    if request.action == "store" and request.credential is None:
        msg = "cargo login sent no token"
        raise RequestError(msg, _ON_STDIN)
    if isinstance(answer, Reply):
        return [
            b'{"Ok":{"kind":"get","token":',
            jsontext.quoted(answer.credential.secret.reveal(), "the token"),
            b',"cache":"expires","expiration":%d,"operation_independent":true}}\n' % answer.halfway,
        ]
    kind = {"store": b"login", "erase": b"logout"}.get(request.action)
    return [
        _error(b"operation-not-supported") if kind is None else b'{"Ok":{"kind":"%b"}}\n' % kind
    ]


def refuse(error: KeyleaseError, request: Request | None = None) -> Refusal:
    """Return cargo's own form of a miss; else the reason, which cargo shows.

    stderr is the terminal of cargo's user. The end of a session is explained there, because cargo
    only reports that it found no token. A plain miss needs no explanation.
    """
    if isinstance(error, UsageError) and request is None:
        return misused(error, USAGE)
    if str(error) == _UNSUPPORTED:
        return Refusal(_error(b"url-not-supported"), "", 0)
    login = "cargo login"
    if isinstance(error, VaultRevokedError):
        error, login = VaultRevokedError(str(error), AFRESH), ""
    if isinstance(error, ENDED) and request is not None and request.action != "store":
        # This answer lets cargo ask the next provider.
        plain = type(error) is SessionNotFoundError
        why = "" if plain else explained(error, login)
        return Refusal(_error(b"not-found"), why, 0, always=True)
    # With a valid request, a usage error means that there is no terminal to ask on.
    hint = _ON_STDIN if isinstance(error, UsageError) else error.hint
    reply = b'{"Err":{"kind":"other","message":%b,"caused-by":[%b]}}\n' % (
        bytes(jsontext.quoted(printable(f"keylease: {error}"))),
        bytes(jsontext.quoted(printable(hint))) if hint else b"",
    )
    return Refusal(reply, "", 0)


def target(name: str) -> Target:
    """Return the target of a registry: the URL of its index, or `crates-io`.

    Raises:
        UsageError: the URL is not supported.
    """
    try:
        return _named(CRATES_IO if name in _CRATES_IO_NAMES else name)
    except RequestError as error:
        hint = (
            "write the index as .cargo/config.toml has it: sparse+https://registry.example/index/"
        )
        raise UsageError(str(error), hint) from None


def _request(members: dict[str, Value], typed: Secret | None) -> Request:
    """Return the request of a JSON object. Ignore members for other providers."""
    version = members.get("v")
    if type(version) is not int or version != _VERSION:
        msg = f"the request is not of version {_VERSION} of the protocol"
        raise RequestError(msg)
    kind, registry = jsontext.name(members, "kind"), members.get("registry")
    if kind not in {"get", "login", "logout"}:
        # The Cargo Book: "Providers should be prepared to handle unknown kinds".
        return Request("ignore")
    if not isinstance(registry, dict):
        msg = "the request has no registry"
        raise RequestError(msg)
    index = _named(jsontext.name(registry, "index-url") or "")
    if kind == "get":
        return Request("get", index)
    if kind == "logout":
        return Request("erase", index)
    login = Request("store", index, replace_other_users=True, is_login=True)
    token = jsontext.string(members, "token")
    if token is None:
        return login if typed is None else login._replace(credential=Credential(None, typed))
    if not token:
        msg = "the token is empty"
        raise RequestError(msg)
    return login._replace(credential=Credential(None, Secret(token)))


def _named(index_url: str) -> Target:
    found = _INDEX.fullmatch(index_url)
    if found is None or UNFIT.search(index_url):
        raise RequestError(_UNSUPPORTED)
    protocol, host, path = found[1].lower(), found[2], found[3][1:].rstrip("/")
    if protocol in _WEB:
        if "@" in host:
            raise RequestError(_UNSUPPORTED)
        # Cargo normalises its URLs; people may not.
        host = one_spelling(protocol, host)
    elif ":" in host.rpartition("@")[0]:
        raise RequestError(_UNSUPPORTED)
    # No path is an empty path: a session for the host does not answer for all of its indexes.
    return Target(NAMESPACE, protocol, host, path)


def _error(kind: bytes) -> bytes:
    return b'{"Err":{"kind":"%b"}}\n' % kind
