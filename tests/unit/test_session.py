"""What the service does: every operation, every end, every echo, and the line that each leaves."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

import pytest
from support.rig import EXAMPLE, PASSWORD, Rig, bring, credential, text
from support.shares import MemoryShares

from keylease.clock import Deadline, Moment
from keylease.errors import (
    AuditError,
    KeychainUnavailableError,
    LockTimeoutError,
    SessionEndedError,
    SessionNotFoundError,
    StateError,
    UnsafeStateError,
    UsageError,
    VaultRevokedError,
)
from keylease.model import CAP_SECONDS, IDLE_SECONDS, Limits, Request
from keylease.secret import Secret
from keylease.shares.base import ShareUnavailableError
from keylease.shares.policy import PolicyShares
from keylease.statefile import Directory
from keylease.store import Sessions
from keylease.testing import FrozenClock, MemoryKeyStore

if TYPE_CHECKING:
    from pathlib import Path

    from keylease.vault import VaultKeys

POSIX = pytest.mark.skipif(sys.platform == "win32", reason="modes are those of POSIX")


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    """Return a service on an empty state directory."""
    return Rig(tmp_path / "keylease")


def get_password(rig: Rig, **question: object) -> bytes:
    """Return what a `get` releases, as the next process would see it."""
    target = question.pop("target", EXAMPLE)
    return text(rig.again().session.get(target, **question).credential.secret)  # type: ignore[arg-type]


def test_first_store_makes_the_vault_and_get_answers(rig: Rig) -> None:
    """Without any set-up, what git stores is what git gets."""
    rig.session.store(bring())

    assert get_password(rig) == PASSWORD
    assert [
        ("vault.created", None),
        ("session.created", None),
        ("session.released", None),
    ] == rig.events()


def test_get_restarts_the_idle_timeout(rig: Rig) -> None:
    """A credential that is used every 14 minutes stays, and 15 minutes of no use end it."""
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
    """However often it is used, a session is over 8 hours after its creation."""
    rig.session.store(bring())
    for _ in range(CAP_SECONDS // 600 - 1):
        rig.clock.advance(600)
        assert get_password(rig) == PASSWORD
    rig.clock.advance(600)

    with pytest.raises(SessionEndedError, match="cap"):
        get_password(rig)


def test_cap_is_not_moved_by_extend_or_echo(rig: Rig) -> None:
    """Neither `extend` nor what git stores after a `get` gives a session a minute more."""
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
    """`validate`, `load` and the listing, every second of them, leave the end where it was."""
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
    """An explicit `extend` counts as a use and hands nothing out."""
    rig.session.store(bring())
    rig.clock.advance(IDLE_SECONDS - 1)

    session, left = rig.session.extend(EXAMPLE)

    assert IDLE_SECONDS * 10**9 == left.idle_ns
    assert session.released is None
    rig.clock.advance(IDLE_SECONDS - 1)
    assert get_password(rig) == PASSWORD


def test_clock_set_back_does_not_revive(rig: Rig) -> None:
    """A session that ended stays ended when the wall clock is set to where it was alive."""
    rig.session.store(bring())
    rig.clock.advance(IDLE_SECONDS + 10)
    rig.clock.set_wall(1_790_000_001)

    with pytest.raises(SessionEndedError, match="idle"):
        get_password(rig)


def test_clock_before_creation_is_the_reason_given(rig: Rig) -> None:
    """A wall clock set to the epoch ends the session, and the log says that it was the clock."""
    rig.session.store(bring())
    rig.clock.set_wall(1)

    with pytest.raises(SessionEndedError, match="clock"):
        get_password(rig)
    assert ("session.ended", "clock") in rig.events()


def test_reboot_ends_every_session(rig: Rig) -> None:
    """After a reboot there is no session, though the keychain still has the key."""
    rig.session.store(bring())
    rig.clock.reboot()

    with pytest.raises(SessionEndedError, match="reboot"):
        get_password(rig)
    assert rig.sealed() == []
    assert ("session.ended", "reboot") in rig.events()


def test_volatile_keychain_starts_a_new_generation_after_reboot(tmp_path: Path) -> None:
    """A keychain that a reboot empties is not revoked by it: the next store makes a new key."""
    keystore = MemoryKeyStore(survives_reboot=False)
    rig = Rig(tmp_path / "keylease", keystore=keystore)
    rig.session.store(bring())
    rig.clock.reboot()
    keystore.reboot()

    with pytest.raises(SessionNotFoundError):
        get_password(rig)
    assert rig.sealed() == []
    rig.again().session.store(bring(password=b"new"))

    assert get_password(rig) == b"new"
    record = rig.vault.record()
    assert record is not None
    assert (2, None) == (record.generation, record.revoked)
    assert "vault.revoked" not in [event for event, _ in rig.events()]


def test_newest_session_answers_a_question_without_username(rig: Rig) -> None:
    """Of several users the one who came last is answered, each time."""
    rig.session.store(bring(username="alice", password=b"a"))
    rig.clock.advance(1)
    rig.session.store(bring(username="bob", password=b"b"))

    assert [b"b", b"b", b"b"] == [get_password(rig) for _ in range(3)]
    assert get_password(rig, username="alice") == b"a"
    with pytest.raises(SessionNotFoundError):
        get_password(rig, username="carol")


def test_store_replaces_the_session_of_the_same_user(rig: Rig) -> None:
    """A new password takes the place of the old one, and the old session's end is on record."""
    rig.session.store(bring(password=b"old", extra=(("oauth_refresh_token", Secret(b"t")),)))
    rig.session.store(bring(password=b"new"))

    reply = rig.again().session.get(EXAMPLE)

    assert text(reply.credential.secret) == b"new"
    assert reply.credential.fields == ()
    assert len(rig.sealed()) == 1
    assert ("session.ended", "replaced") in rig.events()


def test_echo_of_a_live_session_changes_nothing(rig: Rig) -> None:
    """What git stores after a successful request leaves session, timeout and cap as they were."""
    rig.session.store(bring())
    reply = rig.session.get(EXAMPLE)
    files = [path.read_bytes() for path in rig.sealed() + rig.touches()]
    rig.clock.advance(1)

    assert rig.again().session.store(bring()) is None

    assert files == [path.read_bytes() for path in rig.sealed() + rig.touches()]
    assert (("session.confirmed", None), reply.session.id) == (
        rig.events()[-1],
        rig.lines()[-1]["session"],
    )


def test_echo_without_path_is_one_though_the_session_has_a_path(rig: Rig) -> None:
    """A session for one path answers git's path-less question, and the echo makes no wider one."""
    rig.session.create(EXAMPLE._replace(path="a.git"), credential())
    rig.session.get(EXAMPLE)

    assert rig.session.store(bring()) is None

    assert len(rig.sealed()) == 1


@pytest.mark.parametrize("end", ["idle", "logout", "logout of all", "erased"])
def test_echo_does_not_revive_an_ended_session(rig: Rig, end: str) -> None:
    """A slow request that outlives its session does not bring the session back."""
    rig = rig.again(limits=Limits(idle_seconds=60))
    rig.session.store(bring())
    rig.session.get(EXAMPLE)
    if end == "idle":
        rig.clock.advance(61)
        with pytest.raises(SessionEndedError):
            rig.session.get(EXAMPLE)
    elif end == "logout":
        rig.session.terminate(EXAMPLE)
    elif end == "logout of all":
        rig.session.terminate_all()
    else:
        rig.session.erase(EXAMPLE)

    assert rig.again().session.store(bring()) is None

    with pytest.raises(SessionNotFoundError):
        get_password(rig)
    assert ("session.confirmed", None) in rig.events()


def test_same_password_after_the_echo_window_is_a_new_session(rig: Rig) -> None:
    """Two minutes after the last release, who brings the password has typed it."""
    rig.session.store(bring())
    rig.session.get(EXAMPLE)
    rig.session.terminate(EXAMPLE)
    rig.clock.advance(121)

    assert rig.session.store(bring()) is not None

    assert get_password(rig) == PASSWORD
    assert len(rig.touches()) == 1


def test_never_released_session_leaves_no_echo(rig: Rig) -> None:
    """After a logout of what no tool was given, the same password can be stored at once."""
    rig.session.store(bring())
    rig.session.terminate(EXAMPLE)

    assert rig.session.store(bring()) is not None


def test_session_id_tells_an_echo_after_any_time(rig: Rig) -> None:
    """A git that sends the session id back is recognised long after the session is gone."""
    rig.session.store(bring())
    session_id = rig.session.get(EXAMPLE).session.id
    rig.clock.advance(IDLE_SECONDS * 2)

    assert rig.session.store(bring(echoes=(session_id,))) is None

    assert rig.sealed() == []


def test_session_id_with_another_secret_is_no_echo(rig: Rig) -> None:
    """A new password beside the id of an old session is a new credential."""
    rig.session.store(bring(password=b"old"))
    session_id = rig.session.get(EXAMPLE).session.id

    assert rig.session.store(bring(password=b"new", echoes=(session_id,))) is not None

    assert get_password(rig) == b"new"


def test_new_refresh_token_is_no_echo(rig: Rig) -> None:
    """An unchanged password with a new refresh token is a new grant; one without any is an echo."""
    old, new = (("oauth_refresh_token", Secret(token)) for token in (b"old", b"new"))
    rig.session.store(bring(extra=(old,)))
    rig.session.get(EXAMPLE)

    assert rig.session.store(bring()) is None
    assert rig.session.store(bring(extra=(("oauth_refresh_token", Secret(b"old")),))) is None
    assert rig.session.store(bring(extra=(new,))) is not None


def test_erase_ends_only_what_holds_the_secret(rig: Rig) -> None:
    """A password that the server refused ends its own session and nobody else's."""
    rig.session.store(bring(username="alice", password=b"a"))
    rig.session.store(bring(username="bob", password=b"b"))

    assert rig.session.erase(EXAMPLE, None, Secret(b"wrong")) == []
    ended = rig.session.erase(EXAMPLE, None, Secret(b"a"))

    assert [session.username for session in ended] == ["alice"]
    assert get_password(rig) == b"b"


def test_erase_without_secret_ends_all_that_answer(rig: Rig) -> None:
    """An erase that names only the host ends every user's session there, and no other host's."""
    other = EXAMPLE._replace(host="other.example")
    rig.session.store(bring(username="alice"))
    rig.session.store(bring(username="bob"))
    rig.session.store(bring(other))

    rig.session.erase(EXAMPLE)

    assert len(rig.sealed()) == 1
    assert get_password(rig, target=other) == PASSWORD


def test_store_without_secret_does_nothing(rig: Rig) -> None:
    """git's rule: what has no password is not stored. No vault is made for it."""
    assert rig.session.store(Request("store", EXAMPLE, "alice")) is None

    assert [("session.refused", "incomplete")] == rig.events()
    assert rig.vault.record() is None


def test_ephemeral_credential_is_not_kept(rig: Rig) -> None:
    """What a peer marks as ephemeral is in no session afterwards."""
    rig.session.store(bring(target=EXAMPLE._replace(host="other.example")))

    assert rig.session.store(bring(ephemeral=True)) is None

    assert ("session.refused", "ephemeral") == rig.events()[-1]
    with pytest.raises(SessionNotFoundError):
        get_password(rig)


def test_expired_credential_is_not_kept(rig: Rig) -> None:
    """A credential that is over already makes no session."""
    assert rig.session.store(bring(expires=1_789_999_999)) is None

    assert ("session.refused", "credential_expired") == rig.events()[-1]


def test_reply_ends_with_the_session(rig: Rig) -> None:
    """The end that a peer is told is the session's, and never later than the credential's."""
    rig.session.store(bring(expires=1_790_000_000 + 400))
    rig.clock.advance(100)

    assert rig.session.get(EXAMPLE).ends == 1_790_000_400


def test_preencoded_credential_only_for_who_understands(rig: Rig) -> None:
    """A bearer token is not handed to a tool that would take it for a password."""
    token = credential(b"token", None, authtype="Bearer")
    rig.session.create(EXAMPLE, token)

    with pytest.raises(SessionNotFoundError):
        rig.session.get(EXAMPLE)
    assert rig.session.get(EXAMPLE, preencoded=True).credential.authtype == "Bearer"


def test_deleted_key_revokes_everything(rig: Rig) -> None:
    """Whoever deletes the key ends every session: nothing is released, every file is gone."""
    rig.session.store(bring())
    rig.session.store(bring(EXAMPLE._replace(host="other.example")))
    record = rig.vault.record()
    assert record is not None
    rig.keystore.delete(record.session_item)

    with pytest.raises(VaultRevokedError):
        get_password(rig)

    assert rig.sealed() == rig.touches() == []
    assert [
        ("vault.revoked", None),
        ("session.ended", "revoked"),
        ("session.ended", "revoked"),
        ("session.refused", "revoked"),
    ] == rig.events()[-4:]


def test_revocation_is_sticky(rig: Rig) -> None:
    """After a revocation a store revives nothing; a login makes a new generation."""
    rig.session.store(bring())
    record = rig.vault.record()
    assert record is not None
    rig.keystore.delete(record.session_item)

    for _ in range(2):
        with pytest.raises(VaultRevokedError):
            rig.again().session.store(bring())
    assert rig.keystore.read([record.session_item]) == [None]
    assert ("session.refused", "revoked") == rig.events()[-1]
    rig.again().session.create(EXAMPLE, credential())

    assert get_password(rig) == PASSWORD
    new = rig.vault.record()
    assert new is not None
    assert (2, 1, None) == (new.generation, new.audit_generation, new.revoked)


def test_restored_key_does_not_undo_a_revocation(rig: Rig) -> None:
    """Once the revocation was seen, putting the old key back into the keychain changes nothing."""
    rig.session.store(bring())
    record = rig.vault.record()
    assert record is not None
    (key,) = rig.keystore.read([record.session_item])
    assert key is not None
    rig.keystore.delete(record.session_item)
    with pytest.raises(VaultRevokedError):
        get_password(rig)

    rig.keystore.add(record.session_item, key)

    with pytest.raises(VaultRevokedError):
        get_password(rig)


@pytest.mark.parametrize("state", ["lock", "hang", "vanish"])
def test_unavailable_keychain_deletes_nothing(rig: Rig, state: str) -> None:
    """Locked, hung or gone is not revoked: nothing is released, nothing is lost."""
    rig.session.store(bring())
    getattr(rig.keystore, state)()

    for operation in (
        lambda: rig.session.get(EXAMPLE),
        lambda: rig.session.store(bring(password=b"new")),
        lambda: rig.session.erase(EXAMPLE),
        rig.session.sessions,
    ):
        with pytest.raises(KeychainUnavailableError):
            operation()
    rig.keystore.recover()  # type: ignore[attr-defined]

    assert get_password(rig) == PASSWORD
    assert "vault.revoked" not in [event for event, _ in rig.events()]


def test_logout_of_all_needs_no_key(rig: Rig) -> None:
    """With a locked keychain a user can still end every session."""
    rig.session.store(bring())
    rig.keystore.lock()  # type: ignore[attr-defined]

    assert len(rig.session.terminate_all()) == 1

    assert rig.sealed() == []
    assert ("session.ended", "logout") == rig.events()[-1]


def test_deleted_audit_key_stops_release_and_not_the_end(rig: Rig) -> None:
    """Without the key that vouches for the log nothing is released; ending still works."""
    rig.session.store(bring())
    record = rig.vault.record()
    assert record is not None
    rig.keystore.delete(record.audit_item)

    with pytest.raises(AuditError):
        get_password(rig)
    assert len(rig.again().session.terminate(EXAMPLE)) == 1
    rig.again().session.create(EXAMPLE, credential())

    assert get_password(rig) == PASSWORD


def test_tampered_file_is_ended_with_that_reason(rig: Rig) -> None:
    """A sealed file that somebody changed is removed, and the log says why."""
    rig.session.store(bring())
    (sealed,) = rig.sealed()
    changed = bytearray(sealed.read_bytes())
    changed[-1] ^= 1
    sealed.write_bytes(changed)

    with pytest.raises(SessionEndedError, match="tampered"):
        get_password(rig)
    assert not sealed.exists()


def test_lost_touch_record_makes_a_session_older(rig: Rig) -> None:
    """Whoever removes or forges the record of the last use gains no time by it."""
    rig.session.store(bring())
    rig.clock.advance(600)
    get_password(rig)
    (touch,) = rig.touches()
    forged = bytearray(touch.read_bytes())
    forged[60] ^= 1
    touch.write_bytes(forged)
    rig.clock.advance(400)

    with pytest.raises(SessionEndedError, match="idle"):
        get_password(rig)


def test_restored_touch_record_of_an_earlier_use_makes_a_session_older(rig: Rig) -> None:
    """A touch record from a backup is true, and earlier."""
    rig.session.store(bring())
    (touch,) = rig.touches()
    backup = touch.read_bytes()
    rig.clock.advance(600)
    get_password(rig)
    touch.write_bytes(backup)
    rig.clock.advance(400)

    with pytest.raises(SessionEndedError, match="idle"):
        get_password(rig)


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
    """A timeout that makes no sense is refused before anything is made with it."""
    with pytest.raises(UsageError):
        rig.again(limits=limits)


def test_terminate_ends_what_answers(rig: Rig) -> None:
    """A logout of a host ends its sessions, of a user only that user's."""
    rig.session.store(bring(username="alice"))
    rig.session.store(bring(username="bob"))

    assert [session.username for session in rig.session.terminate(EXAMPLE, "bob")] == ["bob"]
    assert len(rig.sealed()) == 1
    assert len(rig.session.terminate(EXAMPLE)) == 1
    assert ("session.ended", "logout") == rig.events()[-1]


def test_load_and_persist_carry_a_session_over(rig: Rig) -> None:
    """A session that was loaded can be sealed again as it stands, with its creation and its cap."""
    made = rig.session.create(EXAMPLE, credential())
    rig.clock.advance(100)
    loaded = rig.session.load(made.id)

    kept = rig.session.persist(loaded, credential(b"rotated"))

    assert get_password(rig) == b"rotated"
    assert made.created == rig.session.load(kept.id).created
    assert len(rig.sealed()) == 1


@pytest.mark.parametrize("end", ["idle", "logout"])
def test_persist_refuses_what_is_over(rig: Rig, end: str) -> None:
    """A session that has ended cannot be sealed again, by whoever still has its facts."""
    made = rig.session.create(EXAMPLE, credential())
    if end == "idle":
        rig.clock.advance(IDLE_SECONDS)
    else:
        rig.session.terminate(EXAMPLE)

    with pytest.raises(SessionNotFoundError):
        rig.session.persist(made, credential())
    assert rig.sealed() == []


def test_crash_before_the_replaced_session_was_ended_brings_nothing_back(rig: Rig) -> None:
    """A process that dies between a new session and the end of the old leaves both: one goes."""
    rig.session.store(bring(password=b"old"))
    rig.clock.advance(1)
    remove = Sessions.remove
    try:
        Sessions.remove = _crash  # type: ignore[method-assign]
        with pytest.raises(KeyboardInterrupt):
            rig.session.store(bring(password=b"new"))
    finally:
        Sessions.remove = remove  # type: ignore[method-assign]
    assert len(rig.sealed()) == 2, "the control: both are there"

    assert get_password(rig) == b"new"
    assert len(rig.sealed()) == 1
    rig.session.terminate(EXAMPLE)
    with pytest.raises(SessionNotFoundError):
        get_password(rig)


def test_revocation_needs_no_room_on_the_disk(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where `vault.json` cannot be written the files go all the same: a key put back opens none."""
    rig.session.store(bring())
    record = rig.vault.record()
    assert record is not None
    (key,) = rig.keystore.read([record.session_item])
    assert key is not None
    rig.keystore.delete(record.session_item)
    with monkeypatch.context() as full:
        full.setattr(Directory, "replace", _no_room)
        with pytest.raises(StateError):
            get_password(rig)
    assert rig.sealed() == []

    rig.keystore.add(record.session_item, key)
    with pytest.raises(SessionNotFoundError):
        get_password(rig)


def test_revocation_is_on_record_under_the_audit_key(rig: Rig) -> None:
    """The lines about a revocation are vouched for: the audit key outlives the session key."""
    rig.session.store(bring())
    record = rig.vault.record()
    assert record is not None
    rig.keystore.delete(record.session_item)
    for _ in range(2):
        with pytest.raises(VaultRevokedError):
            get_password(rig)

    assert "vault.revoked" in [line["event"] for line in rig.lines()]
    assert [] == [line for line in rig.lines() if line["mac"] is None]


def test_file_that_cannot_be_used_does_not_keep_the_others_alive(rig: Rig) -> None:
    """A logout ends what it can, and then says what it could not."""
    rig.session.store(bring(username="alice"))
    (spoiled,) = rig.sealed()
    rig.session.store(bring(username="bob"))
    spoiled.chmod(0o644)

    with pytest.raises(UnsafeStateError):
        rig.session.terminate(EXAMPLE)

    assert [spoiled.name] == [path.name for path in rig.sealed()]


def test_log_that_somebody_holds_does_not_hold_up_an_end(rig: Rig) -> None:
    """A logout waits a moment for its line and then goes on; the lost lines are told later."""
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


def test_key_that_was_replaced_while_waiting_seals_nothing(rig: Rig) -> None:
    """A store that read its key before a rotation does not seal under it after the rotation."""
    rig.session.store(bring())
    late = rig.again()
    read = late.vault.open

    def open_and_be_overtaken(now: Moment) -> VaultKeys | None:
        keys = read(now)
        _, renewed = rig.vault.rotate(now)
        assert renewed.generation == 2
        return keys

    late.vault.open = open_and_be_overtaken  # type: ignore[method-assign]
    sealed = rig.sealed()

    with pytest.raises(KeychainUnavailableError, match="replaced"):
        late.session.store(bring(EXAMPLE._replace(host="other.example")))

    assert sealed == rig.sealed()


def test_share_out_of_reach_is_told_by_logout_and_hides_no_other_session(rig: Rig) -> None:
    """What is live is listed beside what cannot be opened, and a logout says what it left."""
    shares = MemoryShares(rig.clock)
    rig.again(shares=(shares, PolicyShares())).session.store(bring())
    apart = rig.again(shares=(PolicyShares(),))
    apart.session.store(bring(EXAMPLE._replace(host="other.example")))
    unknown: list[StateError] = []

    assert ["other.example"] == [
        session.target.host for session, _ in apart.session.sessions(unknown)
    ]
    assert 1 == len(unknown)
    with pytest.raises(StateError, match="out of reach"):
        apart.session.terminate_all()
    assert rig.sealed() == []


def test_session_without_a_name_is_answered_by_no_other(rig: Rig) -> None:
    """Who was handed a nameless session gets nobody else's when it has ended."""
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


def test_answer_that_comes_too_late_is_none(rig: Rig) -> None:
    """A process that was stopped between key and lock does not answer from before a revocation."""
    rig.session.store(bring())
    rig.deadline.seconds = 0

    with pytest.raises(LockTimeoutError):
        rig.session.get(EXAMPLE)
    rig.deadline.seconds = 60
    assert get_password(rig) == PASSWORD


def _crash(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


def _no_room(*_: object) -> None:
    msg = "no space left on device"
    raise StateError(msg)


def test_load_of_an_unknown_id_is_refused(rig: Rig) -> None:
    """An id that no session has is not found, in words that a person understands."""
    rig.session.create(EXAMPLE, credential())

    with pytest.raises(SessionNotFoundError):
        rig.session.load("0" * 32)


def test_get_before_anything_was_stored_is_a_miss(rig: Rig) -> None:
    """On a fresh machine a question is a miss, no key is made, and the miss is on record."""
    with pytest.raises(SessionNotFoundError):
        rig.session.get(EXAMPLE)

    assert rig.vault.record() is None
    assert [("session.refused", "not_found")] == rig.events()


def test_key_that_is_deleted_and_made_anew_meanwhile_is_not_revoked(rig: Rig) -> None:
    """A process that finds the old key gone because of a new login ends no new session."""
    rig.session.store(bring())
    late = rig.again()
    record = rig.vault.record()
    assert record is not None
    read = rig.keystore.read
    raced = []

    def read_late(items: object) -> object:
        if not raced:
            raced.append(1)
            rig.keystore.delete(record.session_item)
            rig.again().session.create(EXAMPLE, credential(b"new"))
            return [None, None]
        return read(items)  # type: ignore[arg-type]

    rig.keystore.read = read_late  # type: ignore[assignment,method-assign]

    assert text(late.session.get(EXAMPLE).credential.secret) == b"new"


def test_absence_in_another_keychain_of_the_kind_is_no_revocation(rig: Rig) -> None:
    """A container sees another kernel keyring: what is not there was not deleted."""
    rig.session.store(bring())
    elsewhere = MemoryKeyStore()
    elsewhere.instance = lambda: "another"  # type: ignore[method-assign]

    late = rig.again(keystore=elsewhere)
    with pytest.raises(KeychainUnavailableError, match="another"):
        late.session.get(EXAMPLE)
    with pytest.raises(KeychainUnavailableError, match="another"):
        late.session.store(bring())
    with pytest.raises(KeychainUnavailableError, match="another"):
        late.session.create(EXAMPLE, credential())

    assert get_password(rig) == PASSWORD


# Shares


@pytest.fixture
def shared(tmp_path: Path) -> Rig:
    """Return a process whose sessions have shares, which die by the test's clock."""
    clock = FrozenClock()
    return Rig(tmp_path / "shared", clock=clock, shares=(MemoryShares(clock), PolicyShares()))


def shares_of(rig: Rig) -> MemoryShares:
    """Return the shares that a test can let die."""
    shares = rig.shares[0]
    assert isinstance(shares, MemoryShares)
    return shares


def test_share_lives_exactly_as_long_as_its_session(shared: Rig) -> None:
    """Each use gives the share the time that the session has, and never more than to the cap."""
    shared = shared.again(limits=Limits(600, 900))
    shared.session.handle(bring())
    shared.clock.advance(500)
    shared.session.get(EXAMPLE)
    shared.clock.advance(300.5)
    shared.session.extend(EXAMPLE)
    shared.session.validate(EXAMPLE)

    assert [600, 400, 100] == [seconds for _, seconds in shares_of(shared).given]


def test_session_whose_share_has_died_is_told_by_its_times(shared: Rig) -> None:
    """Nobody asked while the kernel let the share die; the log has the true reason all the same."""
    shared.session.handle(bring())
    shared.clock.advance(901)

    with pytest.raises(SessionEndedError) as caught:
        shared.session.get(EXAMPLE)

    assert "idle" == caught.value.reason
    assert ("session.ended", "idle") in shared.events()
    assert [] == shared.sealed()


def test_file_that_is_put_back_after_a_logout_opens_nothing(shared: Rig) -> None:
    """Whoever kept a copy of the file, and has the vault key, gets nothing; and it is on record."""
    shared.session.handle(bring())
    (file,) = shared.sealed()
    (touch,) = shared.touches()
    kept = file.read_bytes(), touch.read_bytes()
    shared.session.terminate(EXAMPLE)
    file.parent.mkdir(mode=0o700)
    for path, data in zip((file, touch), kept, strict=True):
        path.write_bytes(data)
        path.chmod(0o600)

    with pytest.raises(SessionEndedError) as caught:
        shared.session.get(EXAMPLE)

    assert "tampered" == caught.value.reason
    assert ("session.ended", "tampered") in shared.events()
    assert [] == shared.sealed()


def test_share_that_cannot_be_asked_for_ends_nothing(shared: Rig) -> None:
    """In a container the kernel has other keys: nothing is released there, and nothing ended."""
    shared.session.handle(bring())
    shares_of(shared).refusing = "this process is in a container"

    for ask in (shared.session.get, shared.session.terminate):
        with pytest.raises(ShareUnavailableError):
            ask(EXAMPLE)
    with pytest.raises(ShareUnavailableError):
        shared.session.sessions()

    assert 1 == len(shared.sealed())
    shares_of(shared).refusing = None
    assert PASSWORD == text(shared.session.get(EXAMPLE).credential.secret)


def test_session_beside_an_unreachable_share_answers(shared: Rig) -> None:
    """A login inside the container works there, whatever the host has for the same server."""
    shared.session.handle(bring())
    shares_of(shared).refusing = "this process is in a container"
    shared.clock.advance(1)

    shared.session.handle(bring(password=b"another"))

    assert b"another" == text(shared.session.get(EXAMPLE).credential.secret)
    assert 2 == len(shared.sealed())


def test_time_ends_a_session_whose_share_cannot_be_asked_for(shared: Rig) -> None:
    """What is over by its own record does not wait for a kernel that never answers."""
    shared.session.handle(bring())
    shares_of(shared).refusing = "this process is in a container"
    shared.clock.advance(901)

    with pytest.raises(SessionEndedError):
        shared.session.get(EXAMPLE)

    assert [] == shared.sealed()


# What is over and nobody asks for


def others(rig: Rig, count: int) -> None:
    """Start sessions for other hosts."""
    for number in range(count):
        rig.session.store(bring(EXAMPLE._replace(host=f"h{number}.example")))


def test_store_removes_what_is_over_elsewhere(rig: Rig) -> None:
    """Whoever works with one host only leaves no sealed passwords of others lying about."""
    others(rig, 3)
    rig.clock.advance(901)

    rig.session.store(bring())

    assert 1 == len(rig.sealed())
    assert 1 == len(rig.touches())
    assert 3 == rig.events().count(("session.ended", "idle"))


def test_store_leaves_what_lives_elsewhere(rig: Rig) -> None:
    """To be looked at is no use: the other sessions end when they would have ended."""
    others(rig, 3)
    rig.clock.advance(600)

    rig.session.store(bring())

    assert 4 == len(rig.sealed())
    rig.clock.advance(301)
    assert 1 == len(rig.session.sessions())


def test_store_keeps_the_record_that_an_echo_may_need(rig: Rig) -> None:
    """A tool that was given a password a minute ago may still send it back to another host's."""
    rig.session.store(bring())
    rig.session.get(EXAMPLE)
    rig.session.terminate(EXAMPLE)
    others(rig, 1)
    rig.session.store(bring())
    assert [] == [each for each in rig.session.sessions() if each[0].target == EXAMPLE]

    rig.clock.advance(121)
    rig.session.store(bring(EXAMPLE._replace(host="other.example")))

    assert [] == [touch for touch in rig.touches() if not touch.with_suffix(".sealed").exists()]


def test_cleaning_stops_when_its_time_is_over(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a hundred thousand sessions a `store` still answers: it looks at some of them."""
    others(rig, 5)
    rig.clock.advance(901)
    monkeypatch.setattr("keylease.session._SWEEP_SECONDS", 0)

    rig.session.store(bring())

    assert 6 == len(rig.sealed())


def test_cleaning_reaches_everything_in_the_end(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """However little time each round has, a collection ends when everything was looked at."""
    others(rig, 5)
    rig.clock.advance(901)
    rounds = iter(range(100))
    monkeypatch.setattr("keylease.session.Deadline", lambda _: Rounds(next(rounds)))

    assert 5 == rig.session.collect().sessions
    assert 1 < next(rounds)
    assert [] == rig.sealed()


class Rounds:
    """A deadline that is over after two questions."""

    def __init__(self, _: int) -> None:
        self._left = 2

    def remaining(self) -> float:
        """Return how much is left."""
        self._left -= 1
        return max(0, self._left)


def test_cleaning_is_done_once_a_minute(rig: Rig) -> None:
    """Whoever stores forty passwords at once does not look at everything forty times."""
    rig.session.store(bring())
    (swept,) = rig.path.glob("sessions/swept")
    first = swept.read_bytes()
    for seconds, again in ((59, False), (1, True)):
        rig.clock.advance(seconds)
        rig.session.store(bring(EXAMPLE._replace(host=f"{seconds}.example")))

        assert again == (first != swept.read_bytes())


@pytest.mark.parametrize("content", [b"", b"garbage", bytes(24), b"\xff" * 24])
def test_damaged_note_of_the_last_cleaning_stops_none(rig: Rig, content: bytes) -> None:
    """Cleaning goes on after a reboot, and whatever became of the note."""
    others(rig, 1)
    (swept,) = rig.path.glob("sessions/swept")
    swept.write_bytes(content)
    rig.clock.advance(901)

    rig.session.store(bring())

    assert 1 == len(rig.sealed())


@POSIX
def test_one_bad_bucket_holds_up_no_store(rig: Rig) -> None:
    """A file of another host that others could have written is not this one's trouble."""
    others(rig, 3)
    rig.clock.advance(901)
    rig.sealed()[1].chmod(0o644)

    rig.session.store(bring())

    assert 2 == len(rig.sealed())


def test_get_looks_at_no_other_host(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """What git waits for costs the same with one session or a hundred thousand."""
    others(rig, 3)
    rig.session.store(bring())
    rig.clock.advance(1)
    opened = []
    child = Directory.child

    def spy(self: Directory, name: str, *, create: bool = False) -> Directory:
        opened.append(name)
        return child(self, name, create=create)

    monkeypatch.setattr(Directory, "child", spy)
    rig.session.get(EXAMPLE)
    got = set(opened)
    rig.session.sessions()

    buckets = {path.parent.name for path in rig.sealed()}
    assert 1 == len(buckets & got)
    assert 4 == len(buckets & set(opened)), "the control: a survey opens them all"


def test_vault_can_be_made_without_a_session(rig: Rig) -> None:
    """A person chooses the keychain first; to do it again changes nothing."""
    assert 1 == rig.session.open_vault()
    assert 1 == rig.again().session.open_vault()
    assert [("vault.created", None)] == rig.events()
