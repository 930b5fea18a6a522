"""What a list shows, and what reading its entries one by one does."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from support.audit_place import CALLER
from support.rig import PASSWORD, Rig, bring, text

from keylease.errors import PolicyError, SessionEndedError
from keylease.exchange import Answered, serve
from keylease.model import IDLE_SECONDS, Request, Settings, Target, Terms
from keylease.protocols import docker
from keylease.protocols.base import Call
from keylease.store.listed import SECONDS

if TYPE_CHECKING:
    from pathlib import Path

    from keylease.model import Store

REGISTRY = Target("docker", "https", "registry.example", "")
ANOTHER = Target("docker", "https", "another.example", "")
LIST = Request("list", namespace="docker")


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    """Return a service on an empty state directory."""
    return Rig(tmp_path / "keylease")


def get(rig: Rig, target: Target = REGISTRY) -> bytes:
    """Return what a peer gets that also asks for lists."""
    answered = _serve(rig.again(), "get", target.host.encode())
    if answered.reply is None:
        raise SessionEndedError(answered.told, "idle")
    with answered.gate:
        secret = text(answered.reply.credential.secret)
    answered.wipe()
    return secret


def list_all(rig: Rig) -> dict[str, str]:
    """Return docker's list."""
    found: dict[str, str] = json.loads(b"".join(_serve(rig, "list", b"unused").parts))
    return found


def _serve(rig: Rig, action: str, message: bytes) -> Answered:
    return serve(docker, Call((action,), {}, bytearray(message), CALLER), rig)


def test_a_list_shows_one_family_of_tools(rig: Rig) -> None:
    """docker's list has docker's sessions, in the order of their creation, without secrets."""
    for target in (REGISTRY, Target("vault", "https", "registry.example", ""), ANOTHER):
        rig.session.store(bring(target))
        rig.clock.advance(1)

    listing = rig.session.handle(LIST)

    assert [REGISTRY, ANOTHER] == [each.target for each in listing.sessions]  # type: ignore[union-attr]


def test_a_list_and_the_reading_of_it_are_no_use(rig: Rig) -> None:
    """A build that asks for every credential extends none of them."""
    rig.session.store(bring(REGISTRY))
    for _ in range(IDLE_SECONDS // 30 - 1):
        rig.clock.advance(30)
        list_all(rig)
        assert PASSWORD == get(rig)
    rig.clock.advance(30)

    with pytest.raises(SessionEndedError, match="idle"):
        get(rig)


def test_a_reading_is_on_record(rig: Rig) -> None:
    """Every release is logged, whether it counts as a use or not."""
    rig.session.store(bring(REGISTRY))
    list_all(rig)
    get(rig)

    assert ("session.released", None) == rig.events()[-1]


def test_a_question_long_after_a_list_is_a_use(rig: Rig) -> None:
    """A question long after the list counts as a use."""
    rig.session.store(bring(REGISTRY))
    list_all(rig)
    rig.clock.advance(SECONDS)
    get(rig)
    rig.clock.advance(IDLE_SECONDS - 1)

    assert PASSWORD == get(rig)


def test_a_peer_that_asks_for_no_lists_uses_what_it_gets(rig: Rig) -> None:
    """A question of another tool in the same process counts as a use."""
    rig.session.store(bring(REGISTRY))
    list_all(rig)
    rig.clock.advance(30)
    rig.again().session.handle(Request("get", REGISTRY))
    rig.clock.advance(IDLE_SECONDS - 1)

    assert PASSWORD == get(rig)


def test_a_sole_login_ends_those_of_others(rig: Rig) -> None:
    """docker keeps one login per registry, so a new login ends those of other users."""
    for password, username in ((b"1", "alice"), (b"2", "bob")):
        rig.session.handle(bring(REGISTRY, password, username, replace_other_users=True))
        rig.session.handle(bring(ANOTHER, password, username))
        rig.clock.advance(1)

    held = {(each.target.host, each.username) for each, _ in rig.session.sessions()}

    assert {
        ("another.example", "alice"),
        ("another.example", "bob"),
        ("registry.example", "bob"),
    } == held
    assert b"2" == get(rig)


def test_the_same_login_again_is_the_one_that_counts(rig: Rig) -> None:
    """A repeated login starts no session, but still ends those of other users."""
    rig.session.handle(bring(REGISTRY, b"1", "alice"))
    rig.clock.advance(1)
    rig.session.handle(bring(REGISTRY, b"2", "bob"))
    created = rig.session.validate(REGISTRY, "alice")[0].created
    rig.session.handle(bring(REGISTRY, b"1", "alice", replace_other_users=True))

    assert b"1" == get(rig)
    assert created == rig.session.validate(REGISTRY)[0].created


def test_a_login_after_a_logout_is_a_login(rig: Rig) -> None:
    """A login with the same password right after a logout starts a session."""
    rig.session.handle(bring(REGISTRY, is_login=True))
    get(rig)
    rig.session.handle(Request("erase", REGISTRY))
    rig.session.handle(bring(REGISTRY, is_login=True))

    assert PASSWORD == get(rig)


def test_the_same_login_again_moves_no_cap(rig: Rig) -> None:
    """docker stores back what it got even after a refusal; this does not move the cap."""
    rig.session.handle(bring(REGISTRY, replace_other_users=True, is_login=True))
    (before,) = rig.sealed()
    rig.clock.advance(60)
    rig.session.handle(bring(REGISTRY, replace_other_users=True, is_login=True))

    assert [before] == rig.sealed()
    assert ("session.confirmed", None) == rig.events()[-1]


@pytest.mark.parametrize("store", ["never", "update"])
def test_a_login_that_is_not_kept_is_no_success(tmp_path: Path, store: Store) -> None:
    """Where tools may start no session, docker gets an error, and git gets none."""
    rig = Rig(tmp_path / "keylease", settings=Settings(general=Terms(store=store)))

    for _ in range(2):  # without a vault, and with one
        with pytest.raises(PolicyError, match="forbids tools to start a session"):
            rig.session.handle(bring(REGISTRY, replace_other_users=True, is_login=True))
        assert rig.session.handle(bring(REGISTRY)) is None
        assert [("session.refused", "policy")] * 2 == rig.events()[-2:]
        rig.session.open_vault()
    assert [] == rig.sealed()
