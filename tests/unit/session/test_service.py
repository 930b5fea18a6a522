"""What the service does: every operation, and the audit line of each."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest
from support.rig import EXAMPLE, PASSWORD, Rig, bring, credential, get_password, text
from support.shares import MemoryShares

from keylease.errors import (
    KeyleaseError,
    LockTimeoutError,
    SessionEndedError,
    SessionNotFoundError,
    StateError,
    UnsafeStateError,
    UsageError,
)
from keylease.model import CAP_SECONDS, IDLE_SECONDS, Limits, Request
from keylease.secrets.secret import Secret
from keylease.session.select import Asked
from keylease.shares.policy import PolicyShares
from keylease.statefile import Directory
from keylease.store.buckets import LONGEST_SEALED
from keylease.store.opened import Sessions
from keylease.system.clock import Deadline

if TYPE_CHECKING:
    from pathlib import Path

    from keylease.store.opened import Found


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    """Return a service on an empty state directory."""
    return Rig(tmp_path / "keylease")


def test_first_store_makes_the_vault_and_get_answers(rig: Rig) -> None:
    """Without set-up, git gets what git stored."""
    rig.session.store(bring())

    assert get_password(rig) == PASSWORD
    assert [
        ("vault.created", None),
        ("session.created", None),
        ("session.released", None),
    ] == rig.events()


def test_get_restarts_the_idle_timeout(rig: Rig) -> None:
    """Use every 14 minutes keeps a credential alive; 15 minutes without use end it."""
    rig.session.store(bring())
    for _ in range(4):
        rig.clock.advance(IDLE_SECONDS - 60)
        assert get_password(rig) == PASSWORD
    rig.clock.advance(IDLE_SECONDS)

    with pytest.raises(SessionEndedError, match="idle"):
        get_password(rig)
    assert [("session.ended", "idle"), ("session.refused", "idle")] == rig.events()[-2:]
    assert rig.sealed() == []


def test_cap_ends_a_session_in_constant_use(rig: Rig) -> None:
    """A session in constant use ends 8 hours after its creation."""
    rig.session.store(bring())
    for _ in range(CAP_SECONDS // 600 - 1):
        rig.clock.advance(600)
        assert get_password(rig) == PASSWORD
    rig.clock.advance(600)

    with pytest.raises(SessionEndedError, match="cap"):
        get_password(rig)


def test_cap_is_not_moved_by_extend_or_echo(rig: Rig) -> None:
    """Neither `extend` nor git's store after a `get` moves the cap."""
    rig.session.store(bring())
    for _ in range(CAP_SECONDS // 600 - 1):
        rig.clock.advance(600)
        get_password(rig)
        rig.again().session.store(bring())
        rig.again().session.extend(EXAMPLE)
    rig.clock.advance(600)

    with pytest.raises(SessionEndedError, match="cap"):
        get_password(rig)


def test_looking_never_prolongs(rig: Rig) -> None:
    """`validate`, `load` and the listing never extend a session, even once a second."""
    session = rig.session.create(EXAMPLE, credential())
    for _ in range(IDLE_SECONDS // 30 - 1):
        rig.clock.advance(30)
        rig.session.validate(EXAMPLE)
        rig.session.load(session.id)
        rig.session.sessions()
    rig.clock.advance(30)

    with pytest.raises(SessionEndedError, match="idle"):
        rig.session.validate(EXAMPLE)


def test_extend_restarts_the_idle_timeout(rig: Rig) -> None:
    """`extend` counts as a use and releases nothing."""
    rig.session.store(bring())
    rig.clock.advance(IDLE_SECONDS - 1)

    session, left = rig.session.extend(EXAMPLE)

    assert IDLE_SECONDS * 10**9 == left.idle_ns
    assert session.released is None
    rig.clock.advance(IDLE_SECONDS - 1)
    assert get_password(rig) == PASSWORD


def test_newest_session_answers_a_question_without_username(rig: Rig) -> None:
    """Without a user name, the user with the newest login is answered each time."""
    rig.session.store(bring(username="alice", password=b"a"))
    rig.clock.advance(1)
    rig.session.store(bring(username="bob", password=b"b"))

    assert [b"b", b"b", b"b"] == [get_password(rig) for _ in range(3)]
    assert get_password(rig, username="alice") == b"a"
    with pytest.raises(SessionNotFoundError):
        get_password(rig, username="carol")


def fetched(rig: Rig, path: str) -> bytes:
    """Return the password for a tool that fetches from a path."""
    asked = Asked(EXAMPLE._replace(path=path), closest=True)
    return text(rig.again().session.release(asked).credential.secret)


def test_what_is_fetched_is_answered_by_the_closest_path(rig: Rig) -> None:
    """A tool that fetches from one team's path never gets another team's credential."""
    for path, password in (("team", b"a"), ("team/x", b"x"), ("other", b"b")):
        rig.session.create(EXAMPLE._replace(path=path), credential(password=password))
        rig.clock.advance(1)

    asked = [fetched(rig, path) for path in ("team/y", "team/x/1", "other")]

    assert [b"a", b"x", b"b"] == asked
    for stranger in ("", "team2", "team/../other"):
        with pytest.raises(SessionNotFoundError):
            fetched(rig, stranger)


def test_what_is_too_long_to_be_read_again_is_not_kept(rig: Rig) -> None:
    """A password that is too long to be read again is refused, and other sessions still work."""
    rig.session.create(EXAMPLE, credential())
    longest = LONGEST_SEALED - 4096
    rig.session.create(EXAMPLE, credential(password=b"x" * longest, username="bob"))

    with pytest.raises(UsageError, match="too long"):
        rig.session.create(EXAMPLE, credential(password=b"x" * LONGEST_SEALED, username="eve"))

    assert PASSWORD == get_password(rig, username="alice")
    assert longest == len(get_password(rig, username="bob")), "the control: it can be read"
    assert 2 == len(rig.session.sessions())


def test_what_is_refused_for_its_length_never_was_a_session(rig: Rig) -> None:
    """A refusal for length logs neither a new session nor an end of the existing one."""
    rig.session.create(EXAMPLE, credential())

    with pytest.raises(UsageError, match="too long"):
        rig.session.create(EXAMPLE, credential(password=b"x" * LONGEST_SEALED))
    with pytest.raises(UsageError, match="too long"):
        rig.session.store(bring(password=b"x" * LONGEST_SEALED))

    assert [
        ("vault.created", None),
        ("session.created", None),
        ("session.refused", "usage"),
        ("session.refused", "usage"),
    ] == rig.events()


def test_store_replaces_the_session_of_the_same_user(rig: Rig) -> None:
    """A new password replaces the old one, and the old session's end is logged."""
    rig.session.store(bring(password=b"old", extra=(("oauth_refresh_token", Secret(b"t")),)))
    rig.session.store(bring(password=b"new"))

    reply = rig.again().session.get(EXAMPLE)

    assert text(reply.credential.secret) == b"new"
    assert reply.credential.fields == ()
    assert len(rig.sealed()) == 1
    assert ("session.ended", "replaced") in rig.events()


def test_erase_ends_only_what_holds_the_secret(rig: Rig) -> None:
    """A password that the server refused ends its own session and no other."""
    rig.session.store(bring(username="alice", password=b"a"))
    rig.session.store(bring(username="bob", password=b"b"))

    assert rig.session.erase(EXAMPLE, None, Secret(b"wrong")) == []
    ended = rig.session.erase(EXAMPLE, None, Secret(b"a"))

    assert [session.username for session in ended] == ["alice"]
    assert get_password(rig) == b"b"


def test_erase_without_secret_ends_all_that_answer(rig: Rig) -> None:
    """An erase that names only the host ends all users' sessions there, and no others."""
    other = EXAMPLE._replace(host="other.example")
    rig.session.store(bring(username="alice"))
    rig.session.store(bring(username="bob"))
    rig.session.store(bring(other))

    rig.session.erase(EXAMPLE)

    assert len(rig.sealed()) == 1
    assert get_password(rig, target=other) == PASSWORD


def test_store_without_secret_does_nothing(rig: Rig) -> None:
    """A store without a password does nothing, as git requires, and makes no vault."""
    assert rig.session.store(Request("store", EXAMPLE, "alice")) is None

    assert [("session.refused", "incomplete")] == rig.events()
    assert rig.vault.record() is None


def test_ephemeral_credential_is_not_kept(rig: Rig) -> None:
    """A credential that its peer marks as ephemeral is not stored."""
    rig.session.store(bring(target=EXAMPLE._replace(host="other.example")))

    assert rig.session.store(bring(ephemeral=True)) is None

    assert ("session.refused", "ephemeral") == rig.events()[-1]
    with pytest.raises(SessionNotFoundError):
        get_password(rig)


def test_ephemeral_credential_makes_no_vault(rig: Rig) -> None:
    """On a fresh machine an ephemeral credential is refused as such, and makes no key."""
    assert rig.session.store(bring(ephemeral=True)) is None

    assert rig.vault.record() is None
    assert [("session.refused", "ephemeral")] == rig.events()


def test_expired_credential_is_not_kept(rig: Rig) -> None:
    """An expired credential starts no session."""
    assert rig.session.store(bring(expires=1_789_999_999)) is None

    assert rig.vault.record() is None
    assert [("session.refused", "credential_expired")] == rig.events()


def test_reply_ends_with_the_session(rig: Rig) -> None:
    """The expiry for the peer is the session's end, and never later than the credential's."""
    rig.session.store(bring(expires=1_790_000_000 + 400))
    rig.clock.advance(100)

    assert rig.session.get(EXAMPLE).ends == 1_790_000_400


def test_preencoded_credential_only_for_who_understands(rig: Rig) -> None:
    """A bearer token is not given to a tool that would use it as a password."""
    token = credential(b"token", None, authtype="Bearer")
    rig.session.create(EXAMPLE, token)

    with pytest.raises(SessionNotFoundError):
        rig.session.get(EXAMPLE)
    assert rig.session.get(EXAMPLE, preencoded=True).credential.authtype == "Bearer"


def test_timeout_of_one_second_works(rig: Rig) -> None:
    """`--timeout 1` means one second."""
    rig = rig.again(limits=Limits(idle_seconds=1))
    rig.session.store(bring())
    rig.clock.advance(0.9)
    assert get_password(rig) == PASSWORD
    rig.clock.advance(1)

    with pytest.raises(SessionEndedError, match="idle"):
        get_password(rig)


@pytest.mark.parametrize(
    "limits",
    [
        Limits(idle_seconds=0),
        Limits(idle_seconds=-1),
        Limits(idle_seconds=CAP_SECONDS + 1),
        Limits(idle_seconds=2**63),
        Limits(cap_seconds=0),
        Limits(cap_seconds=12 * 3600 + 1),
        Limits(idle_seconds=2, cap_seconds=1),
    ],
)
def test_limits_out_of_range_are_refused(rig: Rig, limits: Limits) -> None:
    """An invalid timeout is refused before anything is made with it."""
    with pytest.raises(UsageError):
        rig.again(limits=limits)


def test_terminate_ends_what_answers(rig: Rig) -> None:
    """A logout of a host ends all its sessions; with a user it ends only that user's."""
    rig.session.store(bring(username="alice"))
    rig.session.store(bring(username="bob"))

    assert [session.username for session in rig.session.terminate(EXAMPLE, "bob")] == ["bob"]
    assert len(rig.sealed()) == 1
    assert len(rig.session.terminate(EXAMPLE)) == 1
    assert ("session.ended", "logout") == rig.events()[-1]


def test_load_and_persist_carry_a_session_over(rig: Rig) -> None:
    """A loaded session can be sealed again unchanged, with its creation and cap."""
    made = rig.session.create(EXAMPLE, credential())
    rig.clock.advance(100)
    loaded = rig.session.load(made.id)

    kept = rig.session.persist(loaded, credential(b"rotated"))

    assert get_password(rig) == b"rotated"
    assert made.created == rig.session.load(kept.id).created
    assert len(rig.sealed()) == 1


@pytest.mark.parametrize("erases", [True, False])
def test_new_session_tells_how_it_will_end(rig: Rig, *, erases: bool) -> None:
    """A new session reports at once how it will end, as the list does later."""
    rig = rig.again(shares=(MemoryShares(rig.clock, erases=erases), PolicyShares()))

    made = rig.session.create(EXAMPLE, credential())
    stored = rig.session.store(bring(username="bob"))
    kept = rig.session.persist(made, credential(b"rotated"))

    assert [erases] * 2 == [session.erased for session, _ in rig.session.sessions()], "the control"
    assert stored is not None
    assert (erases, erases, erases) == (made.erased, stored.erased, kept.erased)


@pytest.mark.parametrize("end", ["idle", "logout"])
def test_persist_refuses_what_is_over(rig: Rig, end: str) -> None:
    """A session that has ended cannot be sealed again from its kept facts."""
    made = rig.session.create(EXAMPLE, credential())
    if end == "idle":
        rig.clock.advance(IDLE_SECONDS)
    else:
        rig.session.terminate(EXAMPLE)

    with pytest.raises(SessionNotFoundError):
        rig.session.persist(made, credential())
    assert rig.sealed() == []


def test_file_that_cannot_be_used_does_not_keep_the_others_alive(rig: Rig) -> None:
    """A logout ends what it can, and then says what it could not end."""
    rig.session.store(bring(username="alice"))
    (spoiled,) = rig.sealed()
    rig.session.store(bring(username="bob"))
    spoiled.chmod(0o644)

    with pytest.raises(UnsafeStateError):
        rig.session.terminate(EXAMPLE)

    assert [spoiled.name] == [path.name for path in rig.sealed()]


def test_log_that_somebody_holds_does_not_hold_up_an_end(rig: Rig) -> None:
    """With a held log a logout waits briefly, then ends; the lost lines are reported later."""
    rig.session.store(bring())
    started = time.monotonic()
    with (
        Directory.open(str(rig.path)) as state,
        state.child("audit") as audit,
        audit.lock("lock", Deadline(1)),
    ):
        rig.session.terminate_all()

    assert rig.sealed() == []
    assert time.monotonic() - started < 30, "it may wait for 60 s here, and must not"
    rig.session.store(bring(password=b"new"))
    assert ("audit.gap", None) in rig.events()


def test_share_out_of_reach_is_told_by_logout_and_hides_no_other_session(rig: Rig) -> None:
    """Sessions with an unreachable share hide no other in the list, and a logout reports them."""
    shares = MemoryShares(rig.clock)
    rig.again(shares=(shares, PolicyShares())).session.store(bring())
    apart = rig.again(shares=(PolicyShares(),))
    apart.session.store(bring(EXAMPLE._replace(host="other.example")))
    unknown: list[StateError] = []

    assert ["other.example"] == [
        session.target.host for session, _ in apart.session.sessions(unknown)
    ]
    assert 1 == len(unknown)
    with pytest.raises(StateError, match="cannot be reached"):
        apart.session.terminate_all()
    assert rig.sealed() == []


def test_session_without_a_name_is_answered_by_no_other(rig: Rig) -> None:
    """A session without a user name that has ended is not replaced by another user's."""
    nameless = rig.session.create(EXAMPLE, credential(b"a", None, authtype="Bearer"))
    rig.clock.advance(1)
    rig.session.store(bring(username="bob", password=b"b"))

    reply = rig.session.get(EXAMPLE, preencoded=True, like=nameless)
    assert text(reply.credential.secret) == b"a"
    for session in rig.session.terminate(EXAMPLE):
        assert session.target == EXAMPLE
    rig.session.create(EXAMPLE, credential(b"b", "bob"))
    with pytest.raises(SessionNotFoundError):
        rig.session.get(EXAMPLE, preencoded=True, like=nameless)
    with pytest.raises(SessionNotFoundError):
        rig.session.extend(EXAMPLE, like=nameless)


def test_load_of_an_unknown_id_is_refused(rig: Rig) -> None:
    """An unknown session id is refused with a clear message."""
    rig.session.create(EXAMPLE, credential())

    with pytest.raises(SessionNotFoundError):
        rig.session.load("0" * 32)


@pytest.mark.parametrize("half", ["\ud800", "\udc00x", "x\udfff"])
@pytest.mark.parametrize("field", ["host", "path", "protocol"])
def test_name_with_half_a_character_is_refused(rig: Rig, field: str, half: str) -> None:
    """A name with half a surrogate pair, possible on Windows, is refused, and makes no file."""
    target = EXAMPLE._replace(**{field: half})
    rig.session.store(bring())

    for call in (rig.session.get, rig.session.validate):
        with pytest.raises(KeyleaseError):
            call(target)
    with pytest.raises(UsageError, match="half a character"):
        rig.session.store(bring(target))
    assert 1 == len(rig.sealed())


def test_weaker_store_of_a_share_is_told(tmp_path: Path) -> None:
    """If the kernel takes no more keys, the session and the audit log say why."""
    rig = Rig(tmp_path / "keylease")
    shares = MemoryShares(rig.clock)
    rig = rig.again(shares=(shares, PolicyShares()))
    held = rig.session.store(bring())
    assert held is not None
    assert (True, None) == (held.erased, held.weakened)
    shares.refusing = "the quota is used up"

    weaker = rig.session.store(bring(password=b"new"))

    assert weaker is not None
    assert (False, "the quota is used up") == (weaker.erased, weaker.weakened)
    told = [line for line in rig.lines() if line["event"] == "session.weakened"]
    assert [weaker.id] == [line["session"] for line in told]


def test_platform_without_a_better_store_tells_nothing(rig: Rig) -> None:
    """Without any volatile store, as on macOS, a weaker store is not reported as news."""
    held = rig.again(shares=(PolicyShares(),)).session.store(bring())

    assert held is not None
    assert (False, None) == (held.erased, held.weakened)
    assert "session.weakened" not in [event for event, _ in rig.events()]


@pytest.mark.parametrize("username", [None, "u2", "nobody"])
def test_host_of_many_users_is_looked_at_no_longer_than_an_answer_may_take(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, username: str | None
) -> None:
    """Sessions beyond the deadline are not opened: the refusal comes in time and ends nothing."""
    for number in range(5):
        rig.session.store(bring(username=f"u{number}"))
    opened: list[str] = []
    find = Sessions.find

    def slow(self: Sessions, name: str, session: str) -> Found:
        opened.append(session)
        if len(opened) == 2:
            rig.run_out_of_time()
        return find(self, name, session)

    monkeypatch.setattr(Sessions, "find", slow)
    with pytest.raises(LockTimeoutError):
        rig.session.get(EXAMPLE, username)

    assert 2 == len(opened)
    assert 5 == len(rig.sealed())


def test_end_of_a_session_among_many_is_not_held_up(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A logout looks at every session of the host, even past the deadline."""
    for number in range(5):
        rig.session.store(bring(username=f"u{number}"))
    find = Sessions.find

    def slow(self: Sessions, name: str, session: str) -> Found:
        rig.run_out_of_time()
        return find(self, name, session)

    monkeypatch.setattr(Sessions, "find", slow)

    assert 5 == len(rig.session.terminate(EXAMPLE))
    assert [] == rig.sealed()
