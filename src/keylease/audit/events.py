"""The fixed lists of the audit log. Any other value is a programming error."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, get_args

from keylease.model import Reason

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from keylease.model import Target

Event = Literal[
    "vault.created",
    "vault.revoked",
    "key.rotated",
    "key.deleted",
    "key.exported",
    "session.created",
    "session.validated",
    "session.extended",
    "session.released",
    "session.confirmed",
    "session.refused",
    "session.ended",
    "session.weakened",
    "login",
    "logout",
    "request.refused",
    "config.changed",
    "audit.gap",
    "audit.recovered",
    "audit.rotated",
    "audit.truncated",
    "audit.unvouched",
]
"""All events. docs/audit.md explains each."""

Outcome = Literal["ok", "refused"]

RefusalReason = Literal[
    "not_found",
    "revoked",
    "keychain_unavailable",
    "state",
    "audit",
    "malformed",
    "asked_again",
    "usage",
    "incomplete",
    "ephemeral",
    "credential_expired",
    "policy",
    "config",
    "internal",
]
"""Why something was refused. The reasons for the end of a session are valid, too."""

EVENTS: Final[frozenset[str]] = frozenset(get_args(Event))
OUTCOMES: Final[frozenset[str]] = frozenset(get_args(Outcome))
ENDS: Final[frozenset[str]] = frozenset(get_args(Reason))
REASONS: Final[frozenset[str]] = ENDS | frozenset(get_args(RefusalReason))
NAMES: Final = ("session", "target", "username")
"""The fields that identify the credential of a line."""


class Shape(NamedTuple):
    """The allowed values of one event's lines, beside the fields of every line."""

    outcomes: Mapping[str, frozenset[str | None]]
    """The valid reasons of each outcome; `None` for a line without one."""
    names: bool = False
    """Whether it can have `NAMES`; otherwise they are `null`."""
    extra: tuple[str, ...] = ()
    """The event's own fields; each line has all of them."""


_NO_REASON: Final[frozenset[str | None]] = frozenset({None})
_DONE: Final = {"ok": _NO_REASON}
_SESSION: Final = Shape(_DONE, names=True)

FIELDS: Final[Mapping[str, Shape]] = {
    "vault.created": Shape(_DONE),
    "vault.revoked": Shape(_DONE),
    "key.rotated": Shape({**_DONE, "refused": frozenset({"keychain_unavailable", "state"})}),
    "key.deleted": Shape(
        {**_DONE, "refused": frozenset({"keychain_unavailable", "not_found", "state"})}
    ),
    "key.exported": Shape(_DONE),
    "session.created": _SESSION,
    "session.validated": _SESSION,
    "session.extended": _SESSION,
    "session.released": _SESSION,
    "session.confirmed": Shape({**_DONE, "refused": _NO_REASON}, names=True),
    "session.refused": Shape({"refused": frozenset[str | None](REASONS)}, names=True),
    "session.ended": Shape({"ok": frozenset[str | None](ENDS)}, names=True),
    "session.weakened": _SESSION,
    "login": _SESSION,
    "logout": Shape({**_DONE, "refused": frozenset({"not_found"})}, names=True),
    "request.refused": Shape({"refused": frozenset({"malformed"})}, names=True),
    "config.changed": Shape(_DONE, extra=("configuration", "files")),
    "audit.gap": Shape(_DONE, extra=("lost",)),
    "audit.recovered": Shape(_DONE, extra=("lost",)),
    "audit.rotated": Shape(_DONE, extra=("removed",)),
    "audit.truncated": Shape(_DONE, extra=("lost",)),
    "audit.unvouched": Shape(_DONE),
}
"""The shape of every event."""


def _is_count(value: object) -> bool:
    return type(value) is int and value >= 0


def _is_texts(value: object) -> bool:
    return isinstance(value, list | tuple) and all(isinstance(each, str) for each in value)


def _is_removal(value: object) -> bool:
    return (
        isinstance(value, dict)
        and tuple(value) == ("files", "through", "digest")
        and _is_texts(value["files"])
        and _is_count(value["through"])
        and isinstance(value["digest"], str)
    )


_FITS: Final[Mapping[str, Callable[[object], bool]]] = {
    "lost": lambda value: value is None or _is_count(value),
    "configuration": lambda value: isinstance(value, str),
    "files": _is_texts,
    "removed": _is_removal,
}


class Entry(NamedTuple):
    """The content of one line. The log adds the time, the caller, the number and the chain."""

    event: Event
    outcome: Outcome = "ok"
    reason: Reason | RefusalReason | None = None
    session: str | None = None
    target: Target | None = None
    username: str | None = None
    extra: Mapping[str, Any] = MappingProxyType({})
    """The event's own fields."""

    def check(self) -> None:
        """Raise `ValueError` for a value that is not in the fixed lists: a programming error."""
        names = (self.session, self.target, self.username)
        if not fits(self.event, self.outcome, self.reason, names, self.extra):
            own = ", ".join(map(str, self.extra)) or "no field of its own"
            msg = (
                f"not in the audit log's lists: {self.event}, {self.outcome}, {self.reason},"
                f" with {own}"
            )
            raise ValueError(msg)


def fits(
    event: str,
    outcome: str,
    reason: str | None,
    names: tuple[object, ...],
    extra: Mapping[str, object],
) -> bool:
    """Return whether a line can have these values; `names` are the values of `NAMES`."""
    shape = FIELDS.get(event)
    return (
        shape is not None
        and reason in shape.outcomes.get(outcome, ())
        and (shape.names or all(name is None for name in names))
        and tuple(extra) == shape.extra
        and all(_FITS[name](value) for name, value in extra.items())
    )
