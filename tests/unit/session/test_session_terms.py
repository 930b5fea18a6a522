"""What a configuration does to sessions: shorter ones, none, or a refusal if it is invalid."""

from __future__ import annotations

import pytest
from support.rig import EXAMPLE, PASSWORD, Rig, bring, credential, text
from support.shares import MemoryShares

from keylease.errors import (
    ConfigError,
    KeychainUnavailableError,
    PolicyError,
    SessionEndedError,
    SessionNotFoundError,
)
from keylease.model import IDLE_SECONDS, Limits, Settings, Target, Terms
from keylease.shares.base import ShareUnavailableError
from keylease.shares.policy import PolicyShares
from keylease.testing import FrozenClock, MemoryKeyStore

OTHER = Target("web", "https", "other.example")
NAME = "https://example.com"


@pytest.fixture
def rig(tmp_path):
    """Return a service on an empty state directory, without a configuration."""
    return Rig(tmp_path / "keylease")


def under(rig, **terms):
    """Return the next process, with terms for all targets."""
    return rig.again(settings=Settings(general=Terms(**terms)))


def under_own(rig, **terms):
    """Return the next process, with terms for this target alone."""
    return rig.again(settings=Settings(targets={NAME: Terms(**terms)}))


def test_new_session_keeps_to_the_terms(rig):
    """Five minutes in the policy override an hour in the user's configuration."""
    settings = Settings(Limits(3600, 7200), Terms(300, 600))

    session = rig.again(settings=settings).session.store(bring())

    assert (300, 600) == (session.idle_seconds, session.cap_seconds)


def test_terms_of_one_target_are_its_own(rig):
    """Terms of one host change nothing for another."""
    rig = under_own(rig, idle_seconds=60)

    assert 60 == rig.session.create(EXAMPLE, credential()).idle_seconds
    assert IDLE_SECONDS == rig.session.create(OTHER, credential()).idle_seconds


@pytest.mark.parametrize("bounded", [under, under_own])
def test_terms_that_became_stricter_end_a_session_that_is_older(rig, bounded):
    """A shorter time in the policy also ends sessions that are older than the policy."""
    rig.session.store(bring())
    rig.clock.advance(300)
    rig = bounded(rig, idle_seconds=300)

    with pytest.raises(SessionEndedError, match="idle"):
        rig.session.get(EXAMPLE)
    assert [] == rig.sealed()


@pytest.mark.parametrize("bounded", [under, under_own])
def test_cap_that_became_stricter_ends_a_session_in_use(rig, bounded):
    """A shorter cap counts from the session's creation, whenever the cap was set."""
    rig.session.store(bring())
    rig.clock.advance(300)
    rig.again().session.get(EXAMPLE)
    rig.clock.advance(300)

    with pytest.raises(SessionEndedError, match="cap"):
        bounded(rig, cap_seconds=600).session.get(EXAMPLE)


def test_terms_that_became_stricter_show_in_what_is_left(rig):
    """`status` shows the time that really remains."""
    rig.session.store(bring())
    rig.clock.advance(100)

    ((session, left),) = under(rig, idle_seconds=300).session.sessions()

    assert (300, 300) == (session.idle_seconds, IDLE_SECONDS - 600)
    assert 200 * 10**9 == left.idle_ns


def test_terms_that_became_looser_lengthen_nothing(rig):
    """Looser terms do not lengthen a session beyond its sealed limits."""
    under(rig, idle_seconds=300).session.store(bring())
    rig.clock.advance(300)

    with pytest.raises(SessionEndedError, match="idle"):
        rig.again(settings=Settings(Limits(3600))).session.get(EXAMPLE)


def test_option_of_another_process_does_not_end_a_session(rig):
    """A process's option for its own new sessions does not limit those of other processes."""
    rig.again(limits=Limits(3600)).session.store(bring())
    rig.clock.advance(1800)

    assert PASSWORD == text(rig.session.get(EXAMPLE).credential.secret)


@pytest.mark.parametrize("bounded", [under, under_own])
def test_revoked_target_releases_nothing_at_once(rig, bounded):
    """The first request after a revocation by policy finds nothing, and the file is gone."""
    rig.session.store(bring())
    rig = bounded(rig, revoked=True)

    for ask in (rig.session.get, rig.session.extend, rig.session.validate):
        with pytest.raises(PolicyError, match="the policy of this machine has revoked every"):
            ask(EXAMPLE)
    assert [] == rig.sealed()
    events = rig.events()
    assert events.index(("session.ended", "revoked")) < events.index(("session.refused", "policy"))
    assert ("session.released", None) not in events


@pytest.mark.parametrize("bounded", [under, under_own])
def test_nobody_starts_a_session_for_what_is_revoked(rig, bounded):
    """A revoked target gets no session from a tool or a person, and no vault is made for it."""
    rig = bounded(rig, revoked=True)

    with pytest.raises(PolicyError):
        rig.session.store(bring())
    with pytest.raises(PolicyError):
        rig.session.create(EXAMPLE, credential())
    assert rig.vault.record() is None


@pytest.mark.parametrize("bounded", [under, under_own])
def test_revocation_by_policy_lasts_as_long_as_the_policy(rig, bounded):
    """After the policy is lifted a login starts a new session under the same vault key."""
    rig.session.store(bring())
    with pytest.raises(PolicyError):
        bounded(rig, revoked=True).session.get(EXAMPLE)

    with pytest.raises(SessionNotFoundError):
        rig.again().session.get(EXAMPLE)
    session = rig.again().session.create(EXAMPLE, credential())
    assert 1 == session.generation


@pytest.mark.parametrize("bounded", [under, under_own])
def test_echo_after_a_revocation_that_was_lifted_starts_nothing(rig, bounded):
    """After the policy is lifted git's echo revives nothing."""
    rig.session.store(bring())
    rig.again().session.get(EXAMPLE)
    with pytest.raises(PolicyError):
        bounded(rig, revoked=True).session.get(EXAMPLE)

    assert rig.again().session.store(bring()) is None
    assert [] == rig.sealed()


def test_revocation_of_everything_needs_no_keychain(rig):
    """A locked keychain does not delay a revocation by policy."""
    rig.session.store(bring())
    rig.session.store(bring(OTHER))
    locked = MemoryKeyStore()
    locked.lock()

    with pytest.raises(PolicyError):
        under(rig.again(keystore=locked), revoked=True).session.get(EXAMPLE)
    assert [] == rig.sealed()


def test_revocation_of_one_leaves_the_others(rig):
    """Revoking one host does not affect the sessions of another."""
    rig.session.store(bring())
    rig.session.store(bring(OTHER))
    rig = under_own(rig, revoked=True)

    assert PASSWORD == text(rig.session.get(OTHER).credential.secret)
    ((session, _),) = rig.session.sessions()
    assert OTHER == session.target


@pytest.mark.parametrize(
    "host",
    [
        "EXAMPLE.com",
        "example.com:443",
        "example.com.",
        "example.com.:443",
        "example.com:0443",
        "example.com:",
        "ｅxample.com",
        "example。com",
        "EXAMPLE．COM.:00443",
    ],
)
def test_another_spelling_leads_nobody_around_the_policy(rig, host):
    """The policy applies to every spelling of the same server."""
    with pytest.raises(PolicyError):
        under_own(rig, revoked=True).session.create(EXAMPLE._replace(host=host), credential())


@pytest.mark.parametrize("store", ["never", "update"])
@pytest.mark.parametrize("bounded", [under, under_own])
def test_tool_starts_no_session_where_it_may_not(rig, bounded, store):
    """A tool's `store` is refused without output, and the log says why."""
    rig.session.create(OTHER, credential())
    rig = bounded(rig, store=store)

    assert rig.session.store(bring()) is None
    assert ("session.refused", "policy") == rig.events()[-1]
    assert 1 == len(rig.sealed())


@pytest.mark.parametrize("store", ["never", "update"])
def test_forbidden_store_makes_no_vault(rig, store):
    """A forbidden store puts no key into a keychain."""
    assert under(rig, store=store).session.store(bring()) is None
    assert rig.vault.record() is None
    assert [("session.refused", "policy")] == rig.events()


def test_forbidden_store_after_a_reboot_is_refused_by_the_policy_too(tmp_path):
    """The policy refuses a forbidden store, even if a reboot has emptied the keychain."""
    rig = Rig(tmp_path / "keylease", keystore=MemoryKeyStore(survives_reboot=False))
    rig.session.create(OTHER, credential())
    rig.clock.reboot()
    rig.keystore.reboot()

    assert under(rig, store="never").session.store(bring()) is None
    assert ("session.refused", "policy") == rig.events()[-1]


def test_locked_keychain_is_the_reason_before_the_policy_is(rig):
    """With a locked keychain an echo cannot be recognised, so the log names the keychain."""
    rig.session.create(EXAMPLE, credential())
    rig.keystore.lock()

    with pytest.raises(KeychainUnavailableError):
        under(rig, store="never").session.store(bring())
    assert ("session.refused", "keychain_unavailable") == rig.events()[-1]


@pytest.mark.parametrize("store", ["never", "update", "create"])
def test_person_may_always_log_in(rig, store):
    """`store = never` is about tools: a person can still log in with `keylease login`."""
    rig = under(rig, store=store)
    rig.session.create(EXAMPLE, credential())

    assert PASSWORD == text(rig.session.get(EXAMPLE).credential.secret)


@pytest.mark.parametrize("store", ["never", "update"])
def test_echo_is_still_an_echo(rig, store):
    """A tool that sends back what it got is confirmed, not refused."""
    rig = under(rig, store=store)
    rig.session.create(EXAMPLE, credential())
    rig.session.get(EXAMPLE)

    rig.session.store(bring())

    assert ("session.confirmed", None) == rig.events()[-1]


@pytest.mark.parametrize(
    ("store", "username", "replaced"),
    [("update", "alice", True), ("update", "bob", False), ("never", "alice", False)],
)
def test_update_replaces_a_live_session_and_starts_none(rig, store, username, replaced):
    """With `update` a changed password replaces the old one, and another user's is refused."""
    rig = under(rig, store=store)
    before = rig.session.create(EXAMPLE, credential())

    after = rig.session.store(bring(password=b"changed", username=username))

    assert replaced == (after is not None)
    (sealed,) = rig.sealed()
    assert (before.id in sealed.name) != replaced


def test_update_replaces_no_session_that_is_over(rig):
    """With `update` an ended session cannot be replaced."""
    rig = under(rig, store="update")
    rig.session.create(EXAMPLE, credential())
    rig.clock.advance(IDLE_SECONDS)

    assert rig.session.store(bring(password=b"changed")) is None
    assert [] == rig.sealed()


def test_bad_configuration_releases_nothing(rig):
    """With an invalid configuration every release and every new session is refused and logged."""
    session = rig.session.store(bring())
    bad = rig.again(settings=Settings(refusal=ConfigError("/etc/x:1: cap: found 0")))

    for ask in (
        lambda: bad.session.get(EXAMPLE),
        lambda: bad.session.extend(EXAMPLE),
        lambda: bad.session.validate(EXAMPLE),
        lambda: bad.session.load(session.id),
        bad.session.sessions,
        lambda: bad.session.store(bring(OTHER)),
        lambda: bad.session.create(OTHER, credential()),
        lambda: bad.session.persist(session, credential()),
    ):
        with pytest.raises(ConfigError, match="/etc/x:1: cap: found 0"):
            ask()
        assert ("session.refused", "config") == bad.events()[-1]
    assert 1 == len(rig.sealed()), "and ends nothing by itself"
    assert PASSWORD == text(rig.again().session.get(EXAMPLE).credential.secret)


def test_bad_configuration_never_keeps_a_session_alive(rig):
    """Logout and erase work even with an invalid configuration."""
    bad = Settings(refusal=ConfigError("/etc/x:1: cap: found 0"))
    for end in (
        lambda service: service.terminate(EXAMPLE),
        lambda service: service.erase(EXAMPLE),
        lambda service: service.terminate_all(),
    ):
        rig.session.store(bring())
        assert 1 == len(end(rig.again(settings=bad).session))
        assert [] == rig.sealed()
        rig.clock.advance(IDLE_SECONDS)


@pytest.fixture
def shares_rig(tmp_path):
    """Return a service with shares that expire by the clock and can be made unreachable."""
    clock = FrozenClock()
    return Rig(tmp_path / "keylease", clock=clock, shares=(MemoryShares(clock), PolicyShares()))


def test_share_that_died_by_stricter_terms_is_no_tampering(shares_rig):
    """A share that expired early under a shorter policy ended as idle, not by tampering."""
    shares_rig.session.store(bring())
    rig = under_own(shares_rig, idle_seconds=60)
    rig.session.get(EXAMPLE)
    assert 60 == rig.shares[0].given[-1][1], "the share is to die by the terms of today"
    rig.clock.advance(61)

    with pytest.raises(SessionEndedError, match="idle"):
        rig.session.get(EXAMPLE)


def test_terms_of_another_target_end_nothing_that_cannot_be_opened(shares_rig):
    """If the share is unreachable, its target is unknown, so only the common terms apply."""
    shares_rig.session.store(bring(OTHER))
    shares_rig.clock.advance(300)
    rig = under_own(shares_rig, idle_seconds=60)
    rig.shares[0].refusing = "the share cannot be asked for"

    with pytest.raises(ShareUnavailableError):
        rig.session.get(OTHER)
    assert 1 == len(rig.sealed())
    with pytest.raises(SessionEndedError, match="idle"):
        under(rig, idle_seconds=60).session.get(OTHER)
