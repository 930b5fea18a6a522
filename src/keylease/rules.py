"""The rules of time and of fit, as functions of a session and one clock reading.

Nothing here reads a clock, a file or a key. Whatever releases a secret asks these functions, and
nothing else decides.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NamedTuple, get_args

from keylease.errors import ForeignBootError
from keylease.model import NANOSECONDS, Session, Store, Target, Terms
from keylease.origin import origin

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from keylease.model import Moment, Reason, Settings
    from keylease.store.format import Header, Touch

ECHO_SECONDS: Final = 120
"""How long after its release the credential of an ended session still counts as an echo."""
STORES: Final[tuple[Store, ...]] = get_args(Store)
"""What a tool's `store` may do, strictest first."""
# RFC 3986, 5.2.4 and 6.2.2.2: such segments lead out of the path, and may be written in escapes. To
# some servers an escaped slash is one, and what stands behind a semicolon is nothing.
_WANDERING: Final = re.compile(r"(?:\A|/)(?:\.|%2e){1,2}(?:[/;]|\Z)|%2f|%5c|\\", re.IGNORECASE)

SWEEP_SECONDS: Final = 60
"""How long nobody looks for what is over elsewhere, once somebody has looked at everything."""


class Remaining(NamedTuple):
    """How long a session still lives, in nanoseconds; zero or less if it is over.

    New in version 0.1.0.
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


def boot_is_over(moment: Moment, now: Moment) -> bool:
    """Return whether the boot that a moment was read in is over for certain.

    Another boot id proves nothing: some containers have one of their own, and so has another
    machine over the same home. But a machine that was started after that moment was not running
    then. When this one was started is told by both clocks together.
    """
    return moment.boot != now.boot and now.wall_ns - now.boot_ns > moment.wall_ns


def left_over(header: Header | None, now: Moment) -> bool:
    """Return whether a sealed file is of no use without a vault key of its own boot.

    Raises:
        ForeignBootError: that cannot be told.
    """
    if header is None or boot_is_over(header.created, now):
        return True
    if header.created.boot == now.boot:
        return False
    if _left(header.created, header.cap_seconds, now) > 0:
        raise _foreign()
    return True


def ended(session: Session, now: Moment) -> Reason | None:
    """Return why the session is over at `now`; `None` if it is live.

    Raises:
        ForeignBootError: it is of another boot, so it is not live here; but it may be there.
    """
    if session.created.boot != now.boot:
        return _ended_elsewhere(session, now)
    # A record from the future was written before a clock was set back, or by somebody else.
    moments = (session.created, session.used, session.released or session.created)
    if any(_later(moment, now) for moment in moments):
        return "clock"
    return _run_out(session, now)


def _ended_elsewhere(session: Session, now: Moment) -> Reason:
    """Return why a session of another boot is over. Of the two clocks only one can be compared."""
    if boot_is_over(max(session.created, session.used), now):
        return "reboot"
    reason = _run_out(session, now)
    if reason is None:
        raise _foreign()
    return reason


def _run_out(session: Session, now: Moment) -> Reason | None:
    left = remaining(session, now)
    if left.ns > 0:
        return None
    if left.idle_ns <= left.cap_ns:
        return "idle"
    expired = session.expires is not None and session.expires * NANOSECONDS <= now.wall_ns
    return "credential_expired" if expired else "cap"


def ended_unopened(
    header: Header | None,
    touch: Touch | None,
    generation: int,
    now: Moment,
    terms: Terms = Terms(),  # noqa: B008 - a tuple of numbers, made once and never changed
) -> Reason:
    """Return why a file that could not be opened is no session.

    Its share may have died with it, and then only its times tell why: those that the touch record
    vouches for. Without one the header is a claim, and only chooses the word. Whose session it was
    is not known either, so `terms` are the strictest that there are for any target.

    Raises:
        ForeignBootError: it is of another boot, and it may be opened there.
    """
    if header is None:
        return "tampered"
    if boot_is_over(header.created, now):
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
    return ended(within(session, terms), now) or "tampered"


def strictest(terms: Iterable[Terms]) -> Terms:
    """Return the terms that keep to all of the others; of none, those that forbid nothing."""
    every = (Terms(), *terms)
    return Terms(
        min(each.idle_seconds for each in every),
        min(each.cap_seconds for each in every),
        min((each.store for each in every), key=STORES.index),
        any(each.revoked for each in every),
    )


def terms_of(settings: Settings, target: Target) -> Terms:
    """Return what holds for a target. A section of its own only ever adds to what holds for all."""
    if not settings.targets:
        return strictest((settings.general,))
    own = settings.targets.get(origin(target.protocol, target.host), settings.general)
    return strictest((settings.general, own))


def within(session: Session, terms: Terms) -> Session:
    """Return the session with no longer a life than the terms allow it now.

    It was sealed under the terms of its creation. Those may have become stricter since.
    """
    cap = min(session.cap_seconds, terms.cap_seconds)
    idle = min(session.idle_seconds, terms.idle_seconds, cap)
    return session._replace(idle_seconds=idle, cap_seconds=cap)


def may_store(terms: Terms, *, replaces: bool) -> bool:
    """Return whether a tool may bring a credential, in place of a live session or as a new one."""
    return terms.store == "create" or (terms.store == "update" and replaces)


def answers(session: Session, target: Target, username: str | None) -> bool:
    """Return whether the session is for what is asked, exactly.

    gitcredentials(7), CREDENTIAL CONTEXTS: what the question leaves open (path, username) is
    answered by anything; what it names must be equal. `example.com` is not `example.com:443`.
    """
    held = session.target
    same_host = held[:3] == target[:3]
    return same_host and target.path in {None, held.path} and username in {None, session.username}


def reach(held: str | None, asked: str) -> int:
    """Return how much of a path a session's path covers, or -1 if the session is for another.

    A session for `team` is good for what lies below it, but not for `team2`. One without a path is
    good for every path of its host.

    Args:
        held: The session's path.
        asked: That of one resource. If it leads somewhere else to one reader or another, no
            session with a path covers it.
    """
    held, asked = (held or "").strip("/"), asked.strip("/")
    if not held:
        return 0
    if _WANDERING.search(asked):
        return -1
    return len(held) if f"{asked}/".startswith(f"{held}/") else -1


def echo_may_come(released: Moment | None, now: Moment) -> bool:
    """Return whether a tool that was handed the credential may still send it back."""
    if released is None or boot_is_over(released, now) or _later(released, now):
        return False
    return _left(released, ECHO_SECONDS, now) > 0


def awaits_echo(now: Moment) -> Callable[[Touch], bool]:
    """Return what tells whether a touch record without a session can still be of use."""
    return lambda touch: not _is_past(touch.released, now)


def _is_past(released: Moment | None, now: Moment) -> bool:
    """Return whether no echo can come any more, here or in another boot over the same files.

    A container has a boot id of its own, and takes nothing away that the host may need.
    """
    if released is None or released.boot == now.boot:
        return not echo_may_come(released, now)
    return abs(now.wall_ns - released.wall_ns) >= ECHO_SECONDS * NANOSECONDS


def is_due(swept_ns: int | None, now: Moment) -> bool:
    """Return whether it is time to look for what is over, by when it was last done in this boot."""
    return swept_ns is None or not 0 <= now.boot_ns - swept_ns < SWEEP_SECONDS * NANOSECONDS


def _later(moment: Moment, now: Moment) -> bool:
    ahead = moment.boot == now.boot and moment.boot_ns > now.boot_ns
    return ahead or moment.wall_ns > now.wall_ns


def _left(since: Moment, seconds: int, now: Moment) -> int:
    passed = now.wall_ns - since.wall_ns
    if since.boot == now.boot:
        passed = max(passed, now.boot_ns - since.boot_ns)
    return seconds * NANOSECONDS - passed


def _foreign() -> ForeignBootError:
    return ForeignBootError("the session")
