"""The immutable values that the layers exchange. They contain no rules.

Names (protocol, host, path, username) are opaque. Bytes that are not UTF-8 become lone surrogates
(`surrogateescape`), so two names are equal exactly if their bytes are.
"""

from __future__ import annotations

from time import gmtime, strftime
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

from keylease.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType
    from typing import Self

    from keylease.errors import KeyleaseError
    from keylease.secrets.secret import Secret

NANOSECONDS: Final = 1_000_000_000
"""Nanoseconds in a second."""
IDLE_SECONDS: Final = 900
"""The default idle timeout of a session."""
CAP_SECONDS: Final = 8 * 3600
"""The default absolute cap of a session."""
MAX_CAP_SECONDS: Final = 12 * 3600
"""The longest absolute cap, and so the longest idle timeout, that can be configured."""

Reason = Literal[
    "idle",
    "cap",
    "credential_expired",
    "logout",
    "erased",
    "revoked",
    "reboot",
    "clock",
    "tampered",
    "replaced",
]
"""Why a session ended. Audit lines have no other reason."""


def rfc3339(wall_ns: int) -> str:
    """Return a wall-clock time in the format of RFC 3339: in UTC, to the second."""
    return strftime("%Y-%m-%dT%H:%M:%SZ", gmtime(wall_ns // NANOSECONDS))


class Moment(NamedTuple):
    """One reading of both clocks."""

    wall_ns: int
    """Nanoseconds since the Unix epoch. A user can set this clock."""
    boot_ns: int
    """Nanoseconds since boot, including suspend. A user cannot set this clock."""
    boot: str
    """The id of the boot. `boot_ns` of different boots cannot be compared."""


class Limits(NamedTuple):
    """The lifetimes of new sessions.

    New in version 0.1.0.
    """

    idle_seconds: int = IDLE_SECONDS
    cap_seconds: int = CAP_SECONDS

    def check(self) -> Limits:
        """Return the limits if they are in range.

        Raises:
            UsageError: a limit is out of range.
        """
        if not 1 <= self.cap_seconds <= MAX_CAP_SECONDS:
            msg = f"an absolute cap of {self.cap_seconds} s, expected 1 to {MAX_CAP_SECONDS}"
            raise UsageError(msg)
        if not 1 <= self.idle_seconds <= self.cap_seconds:
            msg = f"an idle timeout of {self.idle_seconds} s, expected 1 to {self.cap_seconds}"
            raise UsageError(msg)
        return self


Store = Literal["never", "update", "create"]
"""What a tool's `store` may do, strictest first: nothing, replace a live session, start one."""


class Terms(NamedTuple):
    """The limits that a session cannot exceed."""

    idle_seconds: int = MAX_CAP_SECONDS
    cap_seconds: int = MAX_CAP_SECONDS
    store: Store = "create"
    revoked: bool = False
    """Whether sessions are forbidden."""


class Caller(NamedTuple):
    """The calling process and its parent. It is advisory and decides nothing.

    The entrances read it (`keylease.audit.caller`) and pass it down.
    """

    pid: int
    executable: str | None
    parent: str | None
    terminal: str | None
    """The process's terminal."""
    began: str = ""
    """The start time of the process, if known, because process ids are used again."""

    @property
    def process(self) -> str:
        """An identifier of the process that stays unique if its id is used again."""
        return f"{self.pid}:{self.began}"


class Target(NamedTuple):
    """What a credential is for. All four fields must fit before a secret is released.

    New in version 0.1.0.
    """

    namespace: str
    """The family of tools: `web` for git and other HTTP tools."""
    protocol: str
    host: str
    """Opaque, with the port if there is one: `example.com:8443` is not `example.com`."""
    path: str | None = None
    """`None` is not empty: a request without a path is answered by any path of the host."""

    @property
    def url(self) -> str:
        """The target as a URL."""
        path = "" if self.path is None else f"/{self.path}"
        return f"{self.protocol}://{self.host}{path}"


class Settings(NamedTuple):
    """The terms of sessions, from all sources of the configuration."""

    limits: Limits = Limits()
    """The lifetimes of new sessions, unless terms are stricter."""
    general: Terms = Terms()
    """The terms of every target."""
    targets: Mapping[str, Terms] = MappingProxyType({})
    """Additional terms of single targets, by the name that `keylease.origin.origin` returns."""
    refusal: KeyleaseError | None = None
    """The error of a broken configuration; then nothing may be released."""


class Credential(NamedTuple):
    """The content of a session.

    New in version 0.1.0.
    """

    username: str | None
    """`None` is not empty: an empty username is legal (single sign-on)."""
    secret: Secret
    """The password, or the pre-encoded value of the Authorization header if `authtype` is set."""
    authtype: str | None = None
    expires: int | None = None
    """When the credential itself expires, in Unix seconds."""
    fields: tuple[tuple[str, Secret], ...] = ()
    """Named extra secrets, such as `oauth_refresh_token`."""

    def field(self, name: str) -> Secret | None:
        """Return the extra secret called `name`, if there is one."""
        return next((value for key, value in self.fields if key == name), None)

    def wipe(self) -> None:
        """Wipe the secret and every extra field."""
        self.secret.wipe()
        for _, value in self.fields:
            value.wipe()


class Session(NamedTuple):
    """A session without its secret, as `status` shows it and the rules judge it.

    New in version 0.1.0.
    """

    id: str
    """32 random lower-case hexadecimal digits; not derived from the secret."""
    target: Target
    username: str | None
    authtype: str | None
    expires: int | None
    """When the credential itself expires, in Unix seconds."""
    generation: int
    """The generation of the vault key that seals it."""
    created: Moment
    used: Moment
    """The last successful `get` or `extend`; `created` if there was none."""
    released: Moment | None
    """The last release of the secret."""
    idle_seconds: int
    cap_seconds: int
    erased: bool = False
    """Whether the platform itself destroys its share when it ends. If not, keylease checks the
    end."""
    weakened: str | None = None
    """For a new session: why its share is not in the best store of this platform."""


class Options(NamedTuple):
    """keylease's own options, which precede the peer's arguments."""

    timeout: int | None = None
    """The idle timeout of new sessions in seconds."""
    keychain: str | None = None
    """The name of the keychain."""


class Request(NamedTuple):
    """One request of a peer, independent of its protocol."""

    action: Literal["get", "store", "erase", "list", "describe", "ignore"]
    target: Target | None = None
    username: str | None = None
    credential: Credential | None = None
    """The credential that a `store` brings or an `erase` compares with."""
    capabilities: frozenset[str] = frozenset()
    """The supported capabilities that the peer announced."""
    echoes: tuple[str, ...] = ()
    """Session ids that the peer received with an earlier answer and sends back."""
    ephemeral: bool = False
    """Whether the peer asks not to store the credential."""
    closest: bool = False
    """For a `get`: the target's path names the resource to fetch. A session answers for its own
    path and every path below it; the closest one wins."""
    namespace: str = ""
    """For a `list`, which has no target: the namespace of the sessions."""
    replace_other_users: bool = False
    """For a `store`: whether the peer keeps one credential for each target, of any user."""
    is_login: bool = False
    """For a `store`: whether the peer never sends back what it received. Then the secret of an
    ended session is a new login. The secret of a live one still starts nothing, because its cap
    must not move."""

    @property
    def place(self) -> Target | None:
        """The target to look up: with `closest`, the whole host."""
        return self.target._replace(path=None) if self.target and self.closest else self.target

    def wipe(self) -> None:
        """Wipe the secrets that came with the request."""
        if self.credential is not None:
            self.credential.wipe()


class Gate:
    """A context manager around the write of a secret. This one always allows it.

    The gate of a release refuses if the session has ended in the meantime.
    """

    def remaining(self) -> float | None:
        """Return how many seconds the write may take; `None` for no limit."""
        return None

    def __enter__(self) -> Self:
        """Allow the write, or raise the reason why not."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the gate; a waiting end of the session continues."""

    def close(self) -> None:
        """Close the gate: it allows no write any more. A second call has no effect."""


OPEN_GATE: Final = Gate()
"""The gate of a secret that the caller already has."""


class Reply(NamedTuple):
    """The answer to a `get`, independent of the peer's protocol.

    New in version 0.1.0.
    """

    session: Session
    credential: Credential
    ends: int
    """When the session ends if it is not used again, in Unix seconds."""
    gate: Gate = OPEN_GATE
    """The gate to enter while the credential is written."""

    def wipe(self) -> None:
        """Wipe the credential and close the gate."""
        self.credential.wipe()
        self.gate.close()

    @property
    def halfway(self) -> int:
        """When a peer that caches the answer has to ask again, in Unix seconds.

        A peer that asked only at the end would let the session of an active user end.
        """
        used = self.session.used.wall_ns // NANOSECONDS
        return used + (self.ends - used) // 2

    @property
    def last(self) -> int:
        """The latest possible end of the session, in Unix seconds."""
        session = self.session
        cap = session.created.wall_ns // NANOSECONDS + session.cap_seconds
        return cap if session.expires is None else min(cap, session.expires)


class Listing(NamedTuple):
    """The answer to a `list`.

    New in version 0.1.0.
    """

    sessions: tuple[Session, ...]
    """The live sessions of the namespace, oldest first."""


Answer = Reply | Listing | None
"""The answer to a request; `None` if it is empty."""


class Refusal(NamedTuple):
    """A refusal in the peer's form."""

    reply: bytes
    """For stdout. It is empty for git."""
    message: str
    """For stderr if a person reads it."""
    exit_code: int
    always: bool = False
    """Whether to write the message even if no person reads stderr: the peer shows it."""


def name_bytes(name: str) -> bytes:
    """Return a name's bytes.

    Raises:
        UsageError: it has half a character, as an environment of Windows can.
    """
    try:
        return name.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        msg = "a name has half a character (a lone surrogate), which has no bytes"
        raise UsageError(msg, "check the variable or the argument that it comes from") from None
