"""Choose the live session that answers, or the error if none does."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from keylease.errors import SessionEndedError, SessionNotFoundError
from keylease.rules import answers, reach

if TYPE_CHECKING:
    from keylease.model import Reason, Session, Target
    from keylease.session.judge import Judged, Live


class Asked(NamedTuple):
    """The question: which session may answer."""

    target: Target
    username: str | None = None
    """The user; any user if not given."""
    preencoded: bool = False
    """Whether a pre-encoded Authorization value may be the answer."""
    like: Session | None = None
    """If given, only a session with exactly its target and username may answer."""
    closest: bool = False
    """Whether the target's path names the resource to fetch. Then the session with the longest
    path that contains it answers."""

    @property
    def place(self) -> Target:
        """The target to look up: with `closest`, the whole host."""
        return self.target._replace(path=None) if self.closest else self.target

    def names(self, session: Session) -> bool:
        """Return whether the session, live or ended, is for this target and user."""
        return answers(session, self.place, self.username) and self.reach(session) >= 0

    def reach(self, session: Session) -> int:
        """Return how well the session's path fits: longer is closer, -1 is no fit."""
        return reach(session.target.path, self.target.path or "") if self.closest else 0

    def fits(self, session: Session) -> bool:
        """Return whether the live session may answer."""
        same = self.like is None or (self.like.target, self.like.username) == (
            session.target,
            session.username,
        )
        usable = self.preencoded or session.authtype is None
        return self.names(session) and usable and same


def newest(asked: Asked, live: list[Live]) -> Live | None:
    """Return the session that fits best; of several, the newest."""
    fitting = [pair for pair in live if asked.fits(pair.session)]
    return max(fitting, key=lambda pair: (asked.reach(pair.session), pair.age), default=None)


def absence(asked: Asked, judged: Judged) -> SessionNotFoundError:
    """Return the error if no session fits: ended, if this lookup has just ended one that would."""
    for session, reason in judged.over:
        if session is None or asked.names(session):
            return ended_error(asked.place, reason)
    whom = f" as {asked.username}" if asked.username else ""
    return SessionNotFoundError(f"there is no session for {asked.place.url}{whom}")


def ended_error(target: Target | None, reason: Reason) -> SessionEndedError:
    """Return the error for an ended session."""
    what = "the session" if target is None else f"the session for {target.url}"
    return SessionEndedError(f"{what} has ended: {reason}", reason)
