"""The values that travel between the layers. They are immutable and know no rules.

Names (protocol, host, path, username) are opaque: bytes that are not UTF-8 are carried as lone
surrogates (`surrogateescape`), so two names are equal exactly when their bytes are.
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
"""Idle timeout of a session if nobody says otherwise."""
CAP_SECONDS: Final = 8 * 3600
"""Absolute cap of a session if nobody says otherwise."""
MAX_CAP_SECONDS: Final = 12 * 3600
"""The longest absolute cap that can be configured, and so the longest idle timeout too."""

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
"""Why a session ended. The list is closed: an audit line has no other."""


def rfc3339(wall_ns: int) -> str:
    """Return a time of the wall clock as RFC 3339 has it: in UTC, to the second."""
    return strftime("%Y-%m-%dT%H:%M:%SZ", gmtime(wall_ns // NANOSECONDS))


class Moment(NamedTuple):
    """One reading of both clocks."""

    wall_ns: int
    """Nanoseconds since the Unix epoch. A user can set this clock."""
    boot_ns: int
    """Nanoseconds since boot, suspend included. A user cannot set this one."""
    boot: str
    """Which boot it was read in; readings of different boots cannot be compared."""


class Limits(NamedTuple):
    """How long new sessions live.

    New in version 0.1.0.
    """

    idle_seconds: int = IDLE_SECONDS
    cap_seconds: int = CAP_SECONDS

    def check(self) -> Limits:
        """Return the limits if they make sense.

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
    """What a session may be at the most, whoever asked for more."""

    idle_seconds: int = MAX_CAP_SECONDS
    cap_seconds: int = MAX_CAP_SECONDS
    store: Store = "create"
    revoked: bool = False
    """Whether there may be no session at all."""


class Caller(NamedTuple):
    """Who asks: a process, and the one that started it. Advisory: it decides nothing.

    The entrances find it out (`keylease.audit.caller`), and everything below is told.
    """

    pid: int
    executable: str | None
    parent: str | None
    terminal: str | None
    """The terminal that the process can be reached at."""
    began: str = ""
    """When it began, as far as the system tells: process ids are used again."""

    @property
    def process(self) -> str:
        """What names the process and no later one with the same id."""
        return f"{self.pid}:{self.began}"


class Target(NamedTuple):
    """What a credential is for. All four must fit before a secret is released.

    New in version 0.1.0.
    """

    namespace: str
    """The family of tools: `web` for git and everything else that speaks HTTP to that host."""
    protocol: str
    host: str
    """Opaque, with the port if there is one: `example.com:8443` is not `example.com`."""
    path: str | None = None
    """Absent is not empty. A request without a path is answered by any path of that host."""

    @property
    def url(self) -> str:
        """The target as people write it."""
        path = "" if self.path is None else f"/{self.path}"
        return f"{self.protocol}://{self.host}{path}"


class Settings(NamedTuple):
    """What the configuration says about sessions, once everything in it is weighed."""

    limits: Limits = Limits()
    """How long new sessions live, where nothing stricter holds."""
    general: Terms = Terms()
    """What holds for every target."""
    targets: Mapping[str, Terms] = MappingProxyType({})
    """What holds for one, too; by the name that `keylease.origin.origin` gives it."""
    refusal: KeyleaseError | None = None
    """Why nothing may be released at all: the configuration cannot be relied on."""


class Credential(NamedTuple):
    """What a session holds for its target.

    New in version 0.1.0.
    """

    username: str | None
    """Absent is not empty: an empty username is legal (single sign-on)."""
    secret: Secret
    """The password, or the pre-encoded value of the Authorization header if `authtype` is set."""
    authtype: str | None = None
    expires: int | None = None
    """When the credential itself ends, in Unix seconds."""
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
    """A session without its secret: what `status` shows and the rules judge.

    New in version 0.1.0.
    """

    id: str
    """32 lower-case hexadecimal digits, random, in no way derived from the secret."""
    target: Target
    username: str | None
    authtype: str | None
    expires: int | None
    """When the credential itself ends, in Unix seconds."""
    generation: int
    """The generation of the vault key that it is sealed under."""
    created: Moment
    used: Moment
    """The last successful `get` or `extend`; `created` if there was none."""
    released: Moment | None
    """The last time that the secret was handed out."""
    idle_seconds: int
    cap_seconds: int
    erased: bool = False
    """Whether the platform itself destroys what opens the session when it ends; else the end is a
    check that this program makes."""
    weakened: str | None = None
    """Of a new session: why its share could not be kept in the best store of this platform."""


class Options(NamedTuple):
    """What a caller's command line says of sessions, before the peer's own words."""

    timeout: int | None = None
    """The idle timeout of new sessions in seconds."""
    keychain: str | None = None
    """The name of the keychain."""


class Request(NamedTuple):
    """One question of a peer, in no peer's own words."""

    action: Literal["get", "store", "erase", "list", "describe", "ignore"]
    target: Target | None = None
    username: str | None = None
    credential: Credential | None = None
    """What a `store` brings or an `erase` compares with. Its username is `username`."""
    capabilities: frozenset[str] = frozenset()
    """What the peer announced that it understands, of what this side does."""
    echoes: tuple[str, ...] = ()
    """Session ids that the peer was given with an earlier answer and sends back."""
    ephemeral: bool = False
    """The peer asks that the credential is not kept."""
    closest: bool = False
    """Of a `get`: the target's path is that of what is fetched. A session answers for its own path
    and what lies below, the closest first."""
    namespace: str = ""
    """Of a `list`: whose sessions. It has no target."""
    replace_other_users: bool = False
    """Of a `store`: the peer keeps one credential for each target, whoever's it is."""
    is_login: bool = False
    """Of a `store`: the peer sends nothing back by itself, so what an ended session held is a new
    login. What a live one holds still changes nothing: a cap must not move."""

    @property
    def place(self) -> Target | None:
        """The target; where the closest path answers, it is the whole host."""
        return self.target._replace(path=None) if self.target and self.closest else self.target

    def wipe(self) -> None:
        """Wipe the secrets that came with the request."""
        if self.credential is not None:
            self.credential.wipe()


class Gate:
    """What a released secret passes last: entered for the write itself, and left after it.

    This one lets everything out. The gate of a release refuses if the session has ended meanwhile.
    """

    def remaining(self) -> float | None:
        """Return the seconds that are left for the write; `None` for as many as it takes."""
        return None

    def __enter__(self) -> Self:
        """Let the secret out, or raise why not."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Let those go on who end the session."""

    def close(self) -> None:
        """Let nothing out any more. Doing it twice does no harm."""


OPEN_GATE: Final = Gate()
"""For what is handed out already, or was never released."""


class Reply(NamedTuple):
    """The answer to a `get`, in no peer's own words.

    New in version 0.1.0.
    """

    session: Session
    credential: Credential
    ends: int
    """When the session ends if it is not used again, in Unix seconds."""
    gate: Gate = OPEN_GATE
    """What whoever writes the credential enters for the write itself."""

    def wipe(self) -> None:
        """Wipe the credential. Nothing is let out any more."""
        self.credential.wipe()
        self.gate.close()

    @property
    def halfway(self) -> int:
        """When a peer that keeps the answer has to ask again, in Unix seconds.

        Whoever is told the very end asks after it, and an active user's session would be over.
        """
        used = self.session.used.wall_ns // NANOSECONDS
        return used + (self.ends - used) // 2

    @property
    def last(self) -> int:
        """When the session ends however much it is used, in Unix seconds."""
        session = self.session
        cap = session.created.wall_ns // NANOSECONDS + session.cap_seconds
        return cap if session.expires is None else min(cap, session.expires)


class Listing(NamedTuple):
    """The answer to a `list`: what there is, without its secrets.

    New in version 0.1.0.
    """

    sessions: tuple[Session, ...]
    """Live ones of the namespace, oldest first."""


Answer = Reply | Listing | None
"""What a request is answered with; `None` where there is nothing to say."""


class Refusal(NamedTuple):
    """How a peer is told no."""

    reply: bytes
    """For stdout, in the peer's own form. git has none: silence is the answer."""
    message: str
    """For stderr if a person reads it."""
    exit_code: int
    always: bool = False
    """Whether stderr is told whoever reads it: the peer shows it to its user."""


def name_bytes(name: str) -> bytes:
    """Return a name's own bytes.

    Raises:
        UsageError: it has half a character, as an environment of Windows can.
    """
    try:
        return name.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        msg = "a name has half a character (a lone surrogate), and so no bytes"
        raise UsageError(msg, "look at the variable or the word that it comes from") from None
