"""The rules: when a session is over, and which question it answers.

These are functions of a session and one clock reading. Nothing here reads a clock, a file or a key.
Every release of a secret asks these functions, and no other code decides.
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
"""How long after its release a credential that comes back counts as an echo."""
STORES: Final[tuple[Store, ...]] = get_args(Store)
"""What a tool's `store` may do, strictest first."""
# RFC 3986, 5.2.4 and 6.2.2.2: these segments lead out of the path, escaped or not. Some servers
# take an escaped slash for a slash, and ignore what follows a semicolon.
_WANDERING: Final = re.compile(r"(?:\A|/)(?:\.|%2e){1,2}(?:[/;]|\Z)|%2f|%5c|\\", re.IGNORECASE)

SWEEP_SECONDS: Final = 60
"""Minimum interval between full sweeps."""


class Remaining(NamedTuple):
    """The time left of a session, in nanoseconds; zero or less if it is over.

    New in version 0.1.0.
    """

    idle_ns: int
    """Until the idle timeout, if the session is not used again."""
    cap_ns: int
    """Until the cap or the end of the credential itself, however often it is used."""

    @property
    def ns(self) -> int:
        """The shorter of the two."""
        return min(self)


def remaining(session: Session, now: Moment) -> Remaining:
    """Return the time left of the session, by the clock that is ahead."""
    idle = _left(session.used, session.idle_seconds, now)
    cap = _left(session.created, session.cap_seconds, now)
    if session.expires is not None:
        cap = min(cap, session.expires * NANOSECONDS - now.wall_ns)
    return Remaining(idle, cap)


def boot_is_over(moment: Moment, now: Moment) -> bool:
    """Return whether the boot of that moment is over for certain.

    A different boot id alone proves nothing: some containers have their own, and so has another
    machine with the same home directory. But if this machine started after that moment, that boot
    is over. The two clocks together give the time of the start.
    """
    return moment.boot != now.boot and now.wall_ns - now.boot_ns > moment.wall_ns


def left_over(header: Header | None, now: Moment) -> bool:
    """Return whether a sealed file is useless without the vault key of its boot.

    Raises:
        ForeignBootError: its boot may still run elsewhere.
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
        ForeignBootError: the session is of another boot. It is not live here but may be there.
    """
    if session.created.boot != now.boot:
        return _ended_elsewhere(session, now)
    # A record from the future was written before a clock was set back, or is forged.
    moments = (session.created, session.used, session.released or session.created)
    if any(_later(moment, now) for moment in moments):
        return "clock"
    return _run_out(session, now)


def _ended_elsewhere(session: Session, now: Moment) -> Reason:
    """Return why a session of another boot is over. Only the wall clock can be compared."""
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
    """Return why a sealed file that cannot be opened is no live session.

    Its share may be destroyed, and then only its times give the reason. The touch record
    authenticates them. Without one the header is only a claim, and only selects the reason. The
    target is unknown, too, so `terms` are the strictest of all targets.

    Raises:
        ForeignBootError: the file is of another boot, and may be opened there.
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
    # A share that is missing early was destroyed with its session, so this file was put back.
    return ended(within(session, terms), now) or "tampered"


def strictest(terms: Iterable[Terms]) -> Terms:
    """Return terms as strict as all of these together; without any, the default terms."""
    every = (Terms(), *terms)
    return Terms(
        min(each.idle_seconds for each in every),
        min(each.cap_seconds for each in every),
        min((each.store for each in every), key=STORES.index),
        any(each.revoked for each in every),
    )


def terms_of(settings: Settings, target: Target) -> Terms:
    """Return the terms of a target. Its own section can only make the general ones stricter."""
    if not settings.targets:
        return strictest((settings.general,))
    own = settings.targets.get(origin(target.protocol, target.host), settings.general)
    return strictest((settings.general, own))


def within(session: Session, terms: Terms) -> Session:
    """Return the session with its times shortened to the present terms.

    It was sealed with the times of its creation, and the terms may be stricter now.
    """
    cap = min(session.cap_seconds, terms.cap_seconds)
    idle = min(session.idle_seconds, terms.idle_seconds, cap)
    return session._replace(idle_seconds=idle, cap_seconds=cap)


def may_store(terms: Terms, *, replaces: bool) -> bool:
    """Return whether a tool may store a credential: a new one, or one that replaces a session."""
    return terms.store == "create" or (terms.store == "update" and replaces)


def answers(session: Session, target: Target, username: str | None) -> bool:
    """Return whether the session matches the question exactly.

    gitcredentials(7), CREDENTIAL CONTEXTS: a path or username that the question leaves out matches
    any; one that it names must be equal. `example.com` is not `example.com:443`.
    """
    held = session.target
    same_host = held[:3] == target[:3]
    return same_host and target.path in {None, held.path} and username in {None, session.username}


def reach(held: str | None, asked: str) -> int:
    """Return how many characters of a path a session's path covers; -1 if it does not match.

    A session for `team` covers everything below `team`, but not `team2`. A session without a path
    covers every path of its host.

    Args:
        held: The session's path.
        asked: The path of the resource. If a server may read it as another path, only a session
            without a path covers it.
    """
    held, asked = (held or "").strip("/"), asked.strip("/")
    if not held:
        return 0
    if _WANDERING.search(asked):
        return -1
    return len(held) if f"{asked}/".startswith(f"{held}/") else -1


def echo_may_come(released: Moment | None, now: Moment) -> bool:
    """Return whether a tool that received the credential may still send it back."""
    if released is None or boot_is_over(released, now) or _later(released, now):
        return False
    return _left(released, ECHO_SECONDS, now) > 0


def awaits_echo(now: Moment) -> Callable[[Touch], bool]:
    """Return a function that says whether a touch record without a session is still needed."""
    return lambda touch: not _is_past(touch.released, now)


def _is_past(released: Moment | None, now: Moment) -> bool:
    """Return whether no echo can come any more, in this boot or in another one on these files.

    A container has its own boot id, and must not remove what the host may need.
    """
    if released is None or released.boot == now.boot:
        return not echo_may_come(released, now)
    return abs(now.wall_ns - released.wall_ns) >= ECHO_SECONDS * NANOSECONDS


def is_due(swept_ns: int | None, now: Moment) -> bool:
    """Return whether a sweep is due, from the time of the last one in this boot."""
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
