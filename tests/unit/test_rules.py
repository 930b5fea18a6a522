"""The rules of time and of matching, at their limits."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keylease.errors import ForeignBootError
from keylease.model import (
    CAP_SECONDS,
    IDLE_SECONDS,
    MAX_CAP_SECONDS,
    NANOSECONDS,
    Moment,
    Session,
    Settings,
    Store,
    Target,
    Terms,
)
from keylease.rules import (
    ECHO_SECONDS,
    STORES,
    answers,
    echo_may_come,
    ended,
    is_due,
    may_store,
    reach,
    remaining,
    strictest,
    terms_of,
    within,
)

BOOT = "0" * 31 + "1"
START = Moment(1_790_000_000 * NANOSECONDS, 3600 * NANOSECONDS, BOOT)
TARGET = Target("web", "https", "example.com")
SESSION = Session(
    id="ab" * 16,
    target=TARGET,
    username="alice",
    authtype=None,
    expires=None,
    generation=1,
    created=START,
    used=START,
    released=None,
    idle_seconds=IDLE_SECONDS,
    cap_seconds=CAP_SECONDS,
)


def after(seconds: float, moment: Moment = START, *, wall: float = 0.0) -> Moment:
    """Return a later moment, whose wall clock is `wall` further ahead."""
    passed = round(seconds * NANOSECONDS)
    ahead = round(wall * NANOSECONDS)
    return Moment(moment.wall_ns + passed + ahead, moment.boot_ns + passed, moment.boot)


def test_idle_timeout_ends_on_the_second() -> None:
    """A session is live after 899.9 s without use and over at 900 s."""
    assert ended(SESSION, after(899.9)) is None
    assert ended(SESSION, after(900)) == "idle"


def test_cap_ends_however_often_it_was_used() -> None:
    """A session used a second ago ends at 8 hours, with the cap as the reason."""
    used = SESSION._replace(used=after(CAP_SECONDS - 1))

    assert ended(used, after(CAP_SECONDS - 0.1)) is None
    assert ended(used, after(CAP_SECONDS)) == "cap"


def test_credential_that_expires_ends_its_session() -> None:
    """A session never outlives its credential."""
    session = SESSION._replace(expires=START.wall_ns // NANOSECONDS + 10)

    assert ended(session, after(9.9)) is None
    assert ended(session, after(10)) == "credential_expired"


def test_unused_session_of_an_old_credential_ended_by_whichever_came_first() -> None:
    """When two ends have passed, the earlier one is the reason."""
    session = SESSION._replace(expires=START.wall_ns // NANOSECONDS + 10_000)

    assert ended(session, after(20_000)) == "idle"


@pytest.mark.parametrize("wall", [-365 * 86400.0, -1.0, -1_790_000_000.0 + 1])
def test_wall_clock_set_back_ends_the_session(wall: float) -> None:
    """A wall clock before the session's creation was set back, so the session ends."""
    assert ended(SESSION, after(1, wall=wall - 1)) == "clock"


def test_wall_clock_set_forward_ends_the_session() -> None:
    """The earlier deadline of the two clocks applies."""
    assert ended(SESSION, after(1, wall=365 * 86400.0)) == "idle"


def test_wall_clock_set_back_a_little_gives_no_time() -> None:
    """Setting the wall clock back after the creation gains no time: the boot clock still counts."""
    used = SESSION._replace(used=after(100), created=after(0))

    assert ended(used, after(1000, wall=-800)) == "idle"


def test_suspend_counts() -> None:
    """An hour of suspend counts as an hour without use, even with the wall clock set back."""
    awake = Moment(START.wall_ns + 1, START.boot_ns + 3600 * NANOSECONDS, BOOT)

    assert ended(SESSION, awake) == "idle"


@pytest.mark.parametrize("field", ["created", "used", "released"])
def test_record_from_the_future_is_dead(field: str) -> None:
    """A session with a time in the future on either clock is over."""
    ahead_on_wall = Moment(START.wall_ns + NANOSECONDS, START.boot_ns, BOOT)
    ahead_on_boot = Moment(START.wall_ns, START.boot_ns + NANOSECONDS, BOOT)

    assert ended(SESSION._replace(**{field: ahead_on_wall}), START) == "clock"
    assert ended(SESSION._replace(**{field: ahead_on_boot}), START) == "clock"


def rebooted(seconds: float, up: float) -> Moment:
    """Return the moment so long after the start, in a boot that began some time ago."""
    wall = START.wall_ns + int(seconds * NANOSECONDS)
    return Moment(wall, int(up * NANOSECONDS), "0" * 31 + "2")


@pytest.mark.parametrize("up", [1, 59, 59.9])
def test_reboot_ends_the_session(up: float) -> None:
    """A reboot after the last use ends the session, whatever the uptime."""
    assert ended(SESSION, rebooted(60, up)) == "reboot"


@pytest.mark.parametrize("up", [60, 61, 3600, 10**7])
def test_another_boot_that_may_not_be_over_ends_nothing(up: float) -> None:
    """A container with its own boot id, or another machine, refuses and ends nothing."""
    with pytest.raises(ForeignBootError):
        ended(SESSION, rebooted(60, up))


@pytest.mark.parametrize("back", [1, 3600, 10**8])
def test_wall_clock_set_back_in_another_boot_ends_nothing(back: float) -> None:
    """With an empty clock battery the time proves nothing, so nothing is released or ended."""
    with pytest.raises(ForeignBootError):
        ended(SESSION, rebooted(-back, 1))


@pytest.mark.parametrize(
    ("seconds", "reason"), [(900, "idle"), (CAP_SECONDS, "idle"), (10**8, "idle")]
)
def test_session_of_another_boot_ends_by_its_time(seconds: float, reason: str) -> None:
    """A session that is over by the wall clock ends in every boot."""
    assert reason == ended(SESSION, rebooted(seconds, 10**9))


def test_uptime_of_another_machine_ends_nothing() -> None:
    """Boot clocks of two machines are not comparable: a longer uptime is not a later time."""
    with pytest.raises(ForeignBootError):
        ended(SESSION, rebooted(1, 10**8))


@given(seconds=st.floats(-(10**6), 10**6), up=st.floats(0, 10**6), used=st.floats(0, CAP_SECONDS))
def test_no_session_of_another_boot_is_live(seconds: float, up: float, used: float) -> None:
    """A session of another boot is over or refused, whatever the clocks say."""
    session = SESSION._replace(used=after(used), released=after(used))
    try:
        reason = ended(session, rebooted(seconds, up))
    except ForeignBootError:
        return
    assert reason is not None
    assert reason != "clock"


def test_echo_of_another_boot_is_known_until_that_is_over() -> None:
    """A container keeps the machine's echo records; after a reboot no tool can echo."""
    assert echo_may_come(START, rebooted(ECHO_SECONDS - 1, 10**6))
    assert not echo_may_come(START, rebooted(ECHO_SECONDS, 10**6))
    assert not echo_may_come(START, rebooted(10, 1))


@given(
    steps=st.lists(st.tuples(st.floats(0, 5000), st.booleans()), max_size=60),
    idle=st.integers(1, 3600),
    cap=st.integers(3600, 8 * 3600),
)
def test_no_sequence_of_uses_outlives_cap_or_idle(
    steps: list[tuple[float, bool]], idle: int, cap: int
) -> None:
    """No sequence of uses keeps a session live past its cap, or past its last use plus idle."""
    session = SESSION._replace(idle_seconds=idle, cap_seconds=cap)
    now = START
    for seconds, use in steps:
        now = after(seconds, now)
        if ended(session, now) is None:
            assert now.boot_ns < session.created.boot_ns + cap * NANOSECONDS
            assert now.boot_ns < session.used.boot_ns + idle * NANOSECONDS
            if use:
                session = session._replace(used=now, released=now)
        else:
            # Once it is over, no later moment finds it live again.
            assert ended(session, after(1, now)) is not None


@given(st.integers(0, 2**40), st.integers(0, 2**40))
def test_remaining_and_ended_agree(wall: int, boot: int) -> None:
    """The remaining time in `status` and the decision of `get` follow the same rule."""
    now = Moment(START.wall_ns + wall * 1000, START.boot_ns + boot * 1000, BOOT)

    assert (remaining(SESSION, now).ns > 0) == (ended(SESSION, now) is None)


@pytest.mark.parametrize(
    "host",
    [
        "example.com.attacker.example",
        "xexample.com",
        "example.com:8443",
        "example.com:443",
        "EXAMPLE.COM",
        "example.com.",
        "exаmple.com",  # with a Cyrillic letter
        "",
        "example.co",
    ],
)
def test_no_other_host_is_answered(host: str) -> None:
    """A host is an opaque string with its port and must be equal."""
    assert not answers(SESSION, TARGET._replace(host=host), None)


def test_other_protocol_or_namespace_is_not_answered() -> None:
    """A password for https does not answer http, nor one of the web docker."""
    assert not answers(SESSION, TARGET._replace(protocol="http"), None)
    assert not answers(SESSION, TARGET._replace(namespace="docker"), None)


@pytest.mark.parametrize(
    ("held", "asked", "expected"),
    [
        (None, None, True),
        ("a.git", None, True),
        ("a.git", "a.git", True),
        ("a.git", "b.git", False),
        (None, "a.git", False),
        ("a.git", "a", False),
    ],
)
def test_path_rule(held: str | None, asked: str | None, *, expected: bool) -> None:
    """A question without a path matches any path; one with a path matches only that path."""
    session = SESSION._replace(target=TARGET._replace(path=held))

    assert expected == answers(session, TARGET._replace(path=asked), None)


@pytest.mark.parametrize(
    ("held", "asked", "expected"),
    [
        (None, "", 0),
        (None, "a/../b", 0),
        ("", "a", 0),
        ("team", "", -1),
        ("team", "team", 4),
        ("team/", "/team/", 4),
        ("team", "team/x", 4),
        ("team/x", "team/x/y", 6),
        ("team", "team2", -1),
        ("team", "teams/team", -1),
        ("team", "x/team", -1),
        ("team", "TEAM/x", -1),
        ("team/x", "team", -1),
        # Paths that all or some servers resolve to another path.
        ("team", "team/../other", -1),
        ("team", "team/x/..", -1),
        ("team", "team/./x", -1),
        ("team", "team/%2e%2E/other", -1),
        ("team", "team/.%2e/other", -1),
        ("team", "team/..;a/other", -1),
        ("team", "team%2Fx", -1),
        ("team", "team/x%2f..%2fy", -1),
        ("team", "team/..\\other", -1),
        ("team", "team/..%5cother", -1),
        # Controls: dots that change nothing.
        ("team", "team/..x/x../.x", 4),
        ("team", "team/x;y/v1.2...", 4),
    ],
)
def test_a_session_for_a_path_reaches_what_is_below(
    held: str | None, asked: str, expected: int
) -> None:
    """A session for a path answers for everything below it, and for nothing else."""
    assert expected == reach(held, asked)


@pytest.mark.parametrize(
    ("held", "asked", "expected"),
    [
        ("alice", None, True),
        ("alice", "alice", True),
        ("alice", "bob", False),
        ("alice", "", False),
        ("", "", True),
        ("", None, True),
        (None, "alice", False),
    ],
)
def test_username_rule(held: str | None, asked: str | None, *, expected: bool) -> None:
    """A named user must be equal; an empty name is a name, an absent one is not."""
    session = SESSION._replace(username=held)

    assert expected == answers(session, TARGET, asked)


def test_echo_may_come_for_two_minutes() -> None:
    """An echo can come for 119 s after a release, but not after 120 s or from a past boot."""
    assert echo_may_come(START, after(119.9))
    assert not echo_may_come(START, after(120))
    assert not echo_may_come(None, START)
    assert not echo_may_come(START, rebooted(1, 0.5))
    assert not echo_may_come(after(5), START)


TERMS = st.builds(
    Terms,
    st.integers(1, MAX_CAP_SECONDS),
    st.integers(1, MAX_CAP_SECONDS),
    st.sampled_from(STORES),
    st.booleans(),
)


@given(st.lists(TERMS, max_size=4), TERMS)
def test_more_terms_are_never_less_strict(every: list[Terms], another: Terms) -> None:
    """Combining terms never makes them longer or looser."""
    before, after_ = strictest(every), strictest([*every, another])

    assert after_.idle_seconds == min(before.idle_seconds, another.idle_seconds)
    assert after_.cap_seconds == min(before.cap_seconds, another.cap_seconds)
    assert STORES.index(after_.store) <= STORES.index(before.store)
    assert after_.revoked == (before.revoked or another.revoked)
    assert after_ == strictest([another, *reversed(every)])


@given(TERMS, st.integers(1, MAX_CAP_SECONDS), st.integers(1, MAX_CAP_SECONDS))
def test_session_within_its_terms_is_never_longer(terms: Terms, idle: int, cap: int) -> None:
    """Today's terms shorten a session that was sealed yesterday, and lengthen none."""
    session = SESSION._replace(idle_seconds=min(idle, cap), cap_seconds=cap)
    bounded = within(session, terms)

    assert bounded.cap_seconds == min(cap, terms.cap_seconds)
    assert bounded.idle_seconds <= min(session.idle_seconds, terms.idle_seconds)
    assert 1 <= bounded.idle_seconds <= bounded.cap_seconds
    assert bounded == within(bounded, terms)


@pytest.mark.parametrize(
    ("store", "replaces", "expected"),
    [
        ("create", False, True),
        ("create", True, True),
        ("update", False, False),
        ("update", True, True),
        ("never", False, False),
        ("never", True, False),
    ],
)
def test_what_a_tool_may_store(
    store: Store,
    replaces: bool,  # noqa: FBT001 - a column of the table
    expected: bool,  # noqa: FBT001 - a column of the table
) -> None:
    """Each of the three values of `store` says what a tool may store."""
    assert expected == may_store(Terms(store=store), replaces=replaces)


def test_terms_of_a_target_add_to_those_of_all() -> None:
    """A section for one target never loosens the general terms."""
    settings = Settings(
        general=Terms(300, revoked=True), targets={"https://example.com": Terms(600, 900, "never")}
    )

    assert Terms(300, 900, "never", revoked=True) == terms_of(settings, TARGET)
    assert Terms(300, revoked=True) == terms_of(settings, TARGET._replace(host="other.example"))
    assert "never" == terms_of(settings, TARGET._replace(host="EXAMPLE.com:443")).store


def test_cleaning_is_due_once_a_minute() -> None:
    """A sweep is due after a minute, and if the note has a later time than now."""
    now = Moment(0, 100 * NANOSECONDS, "")

    assert is_due(None, now)
    assert is_due(40 * NANOSECONDS, now)
    assert not is_due(41 * NANOSECONDS, now)
    assert not is_due(now.boot_ns, now)
    assert is_due(now.boot_ns + 1, now)
