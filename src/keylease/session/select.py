"""Choose: which of the live sessions answers, and what there is to say where none does."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from keylease.errors import SessionEndedError, SessionNotFoundError
from keylease.rules import answers, reach

if TYPE_CHECKING:
    from keylease.model import Reason, Session, Target
    from keylease.session.judge import Judged, Live


class Asked(NamedTuple):
    """Which session is asked for: any that answers, or one that is more like it."""

    target: Target
    username: str | None = None
    """Whose; anybody's if not given."""
    preencoded: bool = False
    """Whether a pre-encoded Authorization value is an answer, too."""
    like: Session | None = None
    """Only a session for the very target and username of this one may answer."""
    closest: bool = False
    """Whether the target's path is that of what is fetched: only a session for it, or for what
    lies above it, may answer, and the closest one does."""

    @property
    def place(self) -> Target:
        """The target; where the closest path answers, it is the whole host."""
        return self.target._replace(path=None) if self.closest else self.target

    def names(self, session: Session) -> bool:
        """Return whether the session, live or not, is for what is asked."""
        return answers(session, self.place, self.username) and self.reach(session) >= 0

    def reach(self, session: Session) -> int:
        """Return how close the session's path comes to what is fetched; -1 if it is for another."""
        return reach(session.target.path, self.target.path or "") if self.closest else 0

    def fits(self, session: Session) -> bool:
        """Return whether a live session is one that is asked for."""
        same = self.like is None or (self.like.target, self.like.username) == (
            session.target,
            session.username,
        )
        usable = self.preencoded or session.authtype is None
        return self.names(session) and usable and same


def newest(asked: Asked, live: list[Live]) -> Live | None:
    """Return the newest of the sessions that come closest to what is fetched."""
    fitting = [pair for pair in live if asked.fits(pair.session)]
    return max(fitting, key=lambda pair: (asked.reach(pair.session), pair.age), default=None)


def absence(asked: Asked, judged: Judged) -> SessionNotFoundError:
    """Return the refusal where nothing fits: that it has ended, if it has just been found to."""
    for session, reason in judged.over:
        if session is None or asked.names(session):
            return ended_error(asked.place, reason)
    whom = f" as {asked.username}" if asked.username else ""
    return SessionNotFoundError(f"there is no session for {asked.place.url}{whom}")


def ended_error(target: Target | None, reason: Reason) -> SessionEndedError:
    """Return the refusal of a session that is over."""
    what = "the session" if target is None else f"the session for {target.url}"
    return SessionEndedError(f"{what} has ended: {reason}", reason)
