"""Cargo's credential-provider protocol, version 1.

The rules are those of the Cargo Book ("Credential Provider Protocol") and, where it is silent, of
github.com/rust-lang/cargo at af373f7 (src/cargo/util/credential/process.rs). Bytes only.

It is a conversation: the provider greets first, and then answers one line with one line until
cargo closes its end. Whatever goes wrong is an answer too, and the exit code stays 0.
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
# A line has a URL, a token, and the header lines that a registry sent with its refusal.
MAX_REQUEST = 1 << 18
OPTIONS = False
GREETING = b'{"v":[1]}\n'
USAGE = "usage: cargo-credential-keylease --cargo-plugin"

_VERSION: Final = 1
CRATES_IO: Final = "https://github.com/rust-lang/crates.io-index"
"""What cargo calls crates.io to its providers, whichever index it reads itself."""
_CRATES_IO_NAMES: Final = frozenset({"crates-io", "crates.io"})

# An index is read from many files (`sparse+`) or with git; the server is the same one.
_INDEX: Final = re.compile(
    r"(?:sparse\+|registry\+)?([A-Za-z][A-Za-z0-9.-]*)://([^/?#\\]+)((?:/.*)?)", re.DOTALL
)
_WEB: Final = frozenset({"https", "http"})
_UNSUPPORTED: Final = "the registry is not one that a session can be for"

_LINE_END: Final = re.compile(rb"\n")
_LOGIN: Final = re.compile(rb"login")
_ON_STDIN: Final = "give the token on stdin"


def complete(call: Call) -> bool:
    """Return whether a whole line is there, or the command line is not one that cargo has."""
    return call.arguments != ("--cargo-plugin",) or _LINE_END.search(call.message) is not None


def parse(call: Call) -> Request:
    """Return what one line asks.

    Raises:
        UsageError: cargo calls its providers in another way.
        RequestError: the line is not one that cargo writes.
    """
    if call.arguments != ("--cargo-plugin",):
        msg = "expected to be run by cargo, with the one argument --cargo-plugin"
        raise UsageError(msg, 'as with: credential-provider = "cargo-credential-keylease"')
    demand_bounded(call.message, MAX_REQUEST)
    with jsontext.opened(call.message) as members:
        return _request(members, call.typed)


def question(call: Call) -> str:
    """Return what a person is asked for: `cargo login` without a token leaves it to the provider.

    The provider's stdin and stdout are not the terminal.
    """
    if call.typed is not None or _LOGIN.search(call.message) is None:
        return ""
    try:
        request = parse(call)
    except (RequestError, UsageError):
        return ""  # there is nothing to ask for; the answer says why
    request.wipe()
    is_open = request.action == "store" and request.credential is None and request.target
    return f"Token for {request.target.url}: " if is_open and request.target else ""


def render(request: Request, answer: Answer) -> list[bytes | memoryview]:
    """Return the line for what was done.

    A token is to be asked for again at the half of what its session has left: cargo keeps it until
    then, and one that asks at the very end finds nothing.

    Raises:
        RequestError: the token is no text, or `cargo login` had none.
    """
    if request.action == "store" and request.credential is None:
        msg = "there is no token, and nobody was asked for it"
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
    """Return cargo's own words for a miss, or the reason, which cargo shows.

    stderr is the terminal of cargo's user. What has ended explains itself there, because cargo says
    only that no token was found; a plain miss has nothing to explain.
    """
    if isinstance(error, UsageError) and request is None:
        return misused(error, USAGE)
    if str(error) == _UNSUPPORTED:
        return Refusal(_error(b"url-not-supported"), "", 0)
    login = "cargo login"
    if isinstance(error, VaultRevokedError):
        error, login = VaultRevokedError(str(error), AFRESH), ""
    if isinstance(error, ENDED) and request is not None and request.action != "store":
        # Another provider may know such a registry: cargo asks the next one.
        plain = type(error) is SessionNotFoundError
        why = "" if plain else explained(error, login)
        return Refusal(_error(b"not-found"), why, 0, always=True)
    # The only arguments that cargo's user can have wrong: there is no terminal to ask on.
    hint = _ON_STDIN if isinstance(error, UsageError) else error.hint
    reply = b'{"Err":{"kind":"other","message":%b,"caused-by":[%b]}}\n' % (
        bytes(jsontext.quoted(printable(f"keylease: {error}"))),
        bytes(jsontext.quoted(printable(hint))) if hint else b"",
    )
    return Refusal(reply, "", 0)


def target(name: str) -> Target:
    """Return the target of a registry: the URL of its index, or `crates-io`.

    Raises:
        UsageError: it is no such URL.
    """
    try:
        return _named(CRATES_IO if name in _CRATES_IO_NAMES else name)
    except RequestError as error:
        hint = (
            "write the index as .cargo/config.toml has it: sparse+https://registry.example/index/"
        )
        raise UsageError(str(error), hint) from None


def _request(members: dict[str, Value], typed: Secret | None) -> Request:
    """Return what an object asks. What it has beside that is for other providers."""
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
        # cargo writes such URLs in this way, people do not always.
        host = one_spelling(protocol, host)
    elif ":" in host.rpartition("@")[0]:
        raise RequestError(_UNSUPPORTED)
    # No path is a path too: the session of a host does not answer for all of its indexes.
    return Target(NAMESPACE, protocol, host, path)


def _error(kind: bytes) -> bytes:
    return b'{"Err":{"kind":"%b"}}\n' % kind
