"""The rules of time and of fit, as functions of a session and one clock reading.

Nothing here reads a clock, a file or a key. Whatever releases a secret asks these functions, and
nothing else decides.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from keylease.clock import NANOSECONDS
from keylease.model import Session, Target

if TYPE_CHECKING:
    from keylease.clock import Moment
    from keylease.model import Reason
    from keylease.record import Header, Touch

ECHO_SECONDS: Final = 120
"""How long after its release a credential of an ended session is still taken for an echo."""


class Remaining(NamedTuple):
    """How long a session still lives, in nanoseconds; zero or less if it is over.

    New in version 0.2.0.
    """

    idle_ns: int
    """If it is not used again."""
    cap_ns: int
    """However often it is used: until the cap or the end of the credential itself."""

    @property
    def ns(self) -> int:
        """Whichever comes first."""
        return min(self)


def remaining(session: Session, now: Moment) -> Remaining:
    """Return how long the session lives, each by whichever of the two clocks is ahead."""
    idle = _left(session.used, session.idle_seconds, now)
    cap = _left(session.created, session.cap_seconds, now)
    if session.expires is not None:
        cap = min(cap, session.expires * NANOSECONDS - now.wall_ns)
    return Remaining(idle, cap)


def ended(session: Session, now: Moment) -> Reason | None:
    """Return why the session is over at `now`; `None` if it is live."""
    if session.created.boot != now.boot:
        return "reboot"
    # A record from the future was written before a clock was set back, or by somebody else.
    moments = (session.created, session.used, session.released or session.created)
    if any(_later(moment, now) for moment in moments):
        return "clock"
    left = remaining(session, now)
    if left.ns > 0:
        return None
    if left.idle_ns <= left.cap_ns:
        return "idle"
    expired = session.expires is not None and session.expires * NANOSECONDS <= now.wall_ns
    return "credential_expired" if expired else "cap"


def ended_unopened(
    header: Header | None, touch: Touch | None, generation: int, now: Moment
) -> Reason:
    """Return why a file that could not be opened is no session.

    Its share may have died with it, and then only its times tell why: those that the touch record
    vouches for. Without one the header is a claim, and only chooses the word.
    """
    if header is None:
        return "tampered"
    if header.created.boot != now.boot:
        return "reboot"
    if header.generation != generation:
        return "revoked"
    if touch is None:
        return "tampered"
    session = Session(
        id=header.id,
        target=Target("", "", ""),
        username=None,
        authtype=None,
        expires=None,
        generation=header.generation,
        created=header.created,
        used=touch.used,
        released=touch.released,
        idle_seconds=header.idle_seconds,
        cap_seconds=header.cap_seconds,
    )
    # A share that is gone before its time was destroyed with its session: this file was put back.
    return ended(session, now) or "tampered"


def answers(session: Session, target: Target, username: str | None) -> bool:
    """Return whether the session is for what is asked, exactly.

    gitcredentials(7), CREDENTIAL CONTEXTS: what the question leaves open (path, username) is
    answered by anything; what it names must be equal. `example.com` is not `example.com:443`.
    """
    held = session.target
    same_host = held[:3] == target[:3]
    return same_host and target.path in {None, held.path} and username in {None, session.username}


def echo_may_come(released: Moment | None, now: Moment) -> bool:
    """Return whether a tool that was handed the credential may still send it back."""
    if released is None or released.boot != now.boot or _later(released, now):
        return False
    return _left(released, ECHO_SECONDS, now) > 0


def _later(moment: Moment, now: Moment) -> bool:
    return moment.wall_ns > now.wall_ns or moment.boot_ns > now.boot_ns


def _left(since: Moment, seconds: int, now: Moment) -> int:
    passed = max(now.wall_ns - since.wall_ns, now.boot_ns - since.boot_ns)
    return seconds * NANOSECONDS - passed
