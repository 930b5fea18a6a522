"""New sessions: their values. Other modules decide whether a session may begin."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from keylease.model import NANOSECONDS, Session
from keylease.rules import remaining, terms_of, within
from keylease.secrets.secret import random_bytes

if TYPE_CHECKING:
    from keylease.model import Credential, Moment, Settings, Target
    from keylease.session.judge import Live

_ID_BYTES: Final = 16


def begun(
    settings: Settings, target: Target, credential: Credential, generation: int, now: Moment
) -> Session:
    """Return a session that begins at `now` and lives as long as the terms for its target allow.

    Args:
        settings: The terms, and the lifetimes of sessions.
        target: What the session is for.
        credential: What it holds.
        generation: The generation of the vault key.
        now: When it begins.

    Raises:
        StateError: the system's random generator does not answer.
    """
    session = Session(
        id=_new_id(),
        target=target,
        username=credential.username,
        authtype=credential.authtype,
        expires=credential.expires,
        generation=generation,
        created=now,
        used=now,
        released=None,
        idle_seconds=settings.limits.idle_seconds,
        cap_seconds=settings.limits.cap_seconds,
    )
    return within(session, terms_of(settings, target))


def renamed(session: Session) -> Session:
    """Return the session under a new id, for a new file.

    Raises:
        StateError: the system's random generator does not answer.
    """
    return session._replace(id=_new_id())


def replaces(live: list[Live], target: Target, credential: Credential) -> bool:
    """Return whether a new session would replace a live one."""
    names = (target, credential.username)
    return any((session.target, session.username) == names for _, session in live)


def whole_seconds(session: Session, now: Moment) -> int:
    """Return how many seconds the session's share has to live, rounded up."""
    return max(1, -(-remaining(session, now).ns // NANOSECONDS))


def _new_id() -> str:
    return random_bytes(_ID_BYTES).hex()
