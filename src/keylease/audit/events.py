"""The fixed lists of the audit log. What is not in them is a programming error, not a line."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal, NamedTuple, get_args

from keylease.model import Reason

if TYPE_CHECKING:
    from keylease.model import Target

Event = Literal[
    "vault.created",
    "vault.revoked",
    "key.rotated",
    "session.created",
    "session.validated",
    "session.extended",
    "session.released",
    "session.confirmed",
    "session.refused",
    "session.ended",
    "login",
    "logout",
    "request.refused",
    "audit.gap",
    "audit.recovered",
]
"""What can happen. docs/audit.md says what each one means."""

Outcome = Literal["ok", "refused"]

RefusalReason = Literal[
    "not_found",
    "revoked",
    "keychain_unavailable",
    "state",
    "audit",
    "malformed",
    "usage",
    "incomplete",
    "ephemeral",
    "credential_expired",
    "policy",
    "config",
]
"""Why something was not done. Beside them stand the reasons for which a session ended."""

EVENTS: Final[frozenset[str]] = frozenset(get_args(Event))
OUTCOMES: Final[frozenset[str]] = frozenset(get_args(Outcome))
REASONS: Final[frozenset[str]] = frozenset((*get_args(Reason), *get_args(RefusalReason)))


class Entry(NamedTuple):
    """What one line tells. The log adds when, who called, the number and the chain."""

    event: Event
    outcome: Outcome = "ok"
    reason: Reason | RefusalReason | None = None
    session: str | None = None
    target: Target | None = None
    username: str | None = None

    def check(self) -> None:
        """Raise `ValueError` for what is not in the fixed lists: that is a programming error."""
        known = self.event in EVENTS and self.outcome in OUTCOMES
        if not known or (self.reason is not None and self.reason not in REASONS):
            msg = f"not in the audit log's lists: {self.event}, {self.outcome}, {self.reason}"
            raise ValueError(msg)
