"""`keylease status`: everything that a user has to know, and never a secret."""

from __future__ import annotations

import json
import sys

import pytest
from support.shares import MemoryShares

from keylease import keystores
from keylease.errors import KeychainMissingError
from keylease.model import Credential, Target
from keylease.secrets.secret import Secret
from keylease.shares.policy import PolicyShares
from keylease.wiring import Wiring

CANARY = "hunter2-canary"


def test_new_machine_has_nothing_and_stays_so(console):
    """Looking makes nothing: no directory, no key, no line."""
    said = console.run("status")

    assert (0, "") == (said.code, said.err)
    assert [
        "no live session",
        "keychain: none yet; the first login creates the vault and its key",
    ] == said.out.splitlines()
    assert not console.state.exists()
    assert () == console.keystore.items


@pytest.mark.parametrize("words", [("--json",), ("https://git.example",)])
def test_no_form_of_status_makes_anything(console, words):
    """Neither does JSON, nor the question for one session."""
    console.run("status", *words)

    assert not console.state.exists()


def test_state_directory_without_a_vault_stays_empty(console):
    """Looking at an empty directory writes nothing into it."""
    console.state.mkdir(mode=0o700)

    assert 0 == console.run("status").code
    assert [] == list(console.state.iterdir())


@pytest.mark.skipif(sys.platform == "win32", reason="symbolic links need a privilege there")
def test_state_that_cannot_be_looked_at_is_not_taken_for_none(console, tmp_path, monkeypatch):
    """An unreadable directory is an error, not an empty list."""
    (tmp_path / "loop").symlink_to("loop")
    monkeypatch.setenv("KEYLEASE_STATE_DIR", str(tmp_path / "loop" / "state"))

    said = console.run("status")

    assert (6, "") == (said.code, said.out)
    assert said.err.startswith("keylease: error: ")


@pytest.mark.parametrize(
    ("held", "asked", "near"),
    [
        ("https://git.example:443", "https://git.example", True),
        ("https://GIT.example", "https://git.example", True),
        ("https://xn--strae-oqa.example", "https://stra\u00dfe.example", True),
        ("https://[0:0:0:0:0:0:0:1]", "https://[::1]", True),
        ("https://strasse.example", "https://stra\u00dfe.example", False),
        ("https://git.example:8443", "https://git.example", False),
        ("http://git.example", "https://git.example", False),
    ],
)
def test_a_session_under_another_spelling_is_pointed_out(console, held, asked, near):
    """status says why git gets no answer if the session is under another spelling."""
    console.login(held, "ada")

    said = console.run("status", asked)

    assert 3 == said.code
    hint = f"keylease: hint: the session for {held} is for the same server but answers only"
    assert near == (hint in said.err)
    assert f"keylease login {asked}" in said.err.replace("'", "")


def test_live_sessions_are_listed_oldest_first(console):
    """Target, user, idle, cap and what enforces the end, and the keychain below."""
    console.login("https://one.example:8443/a", "ada")
    console.clock.advance(61)
    console.login("https://two.example", "")

    said = console.run("status")

    assert (0, "") == (said.code, said.err)
    assert [
        "TARGET                      NAMESPACE  USER     IDLE         CAP         ENFORCED BY",
        "https://one.example:8443/a  web        ada      13 min 59 s  7 h 58 min  keylease",
        "https://two.example         web        (empty)  15 min       8 h         keylease",
        "",
        "keychain: memory of this process (memory), key generation 1, available",
    ] == said.out.splitlines()


def test_status_uses_no_session(console):
    """Looking every minute does not keep a session alive."""
    console.login()
    for _ in range(15):
        assert ["https://git.example"] == console.urls()
        assert 0 == console.run("status").code
        assert 0 == console.run("status", "https://git.example").code
        console.clock.advance(60)

    said = console.run("status")

    assert "no live session" == said.out.splitlines()[0]
    assert 0 == said.code


def test_one_session_in_detail(console):
    """Everything about the session that git would be answered from."""
    console.login("https://git.example/a", "ada")
    console.clock.advance(30)
    console.run("extend", "https://git.example")
    console.clock.advance(30)

    said = console.run("status", "https://git.example")

    assert (0, "") == (said.code, said.err)
    lines = dict(line.split("  ", 1) for line in said.out.splitlines())
    session_id = lines.pop("session").strip()
    assert 32 == len(session_id)
    assert {
        "target": "https://git.example/a",
        "namespace": "web",
        "user": "ada",
        "holds": "a password",
        "started": "2026-09-21T14:13:20Z",
        "last used": "2026-09-21T14:13:50Z",
        "released": "never",
        "idle": "14 min 30 s of 15 min",
        "cap": "7 h 59 min of 8 h",
        "enforced by": "keylease: it checks the time, refuses and removes the file",
        "keychain": "memory of this process (memory), key generation 1, available",
    } == {key: value.strip() for key, value in lines.items()}


def test_how_each_session_ends_is_told_of_each(console):
    """One has a share that the system lets die, and one was made where there was none."""
    shares = MemoryShares(console.clock)
    console.shares = (shares, PolicyShares())
    console.login("https://one.example")
    shares.refusing = "the quota is used up"
    console.clock.advance(1)
    words = ("login", "https://two.example", "--username", "ada", "--password-stdin")
    told = console.run(*words, stdin=b"pass")
    assert "enforces the end of this session, not the kernel: the quota is used up" in told.err
    shares.refusing = None

    said = console.run("status")

    assert ["kernel", "keylease"] == [line.split()[-1] for line in said.out.splitlines()[1:3]]
    assert ["erased", "policy"] == [session["end"] for session in console.status()["sessions"]]
    assert (
        "kernel: it destroys half of the session's key"
        in console.run("status", "https://one.example").out
    )


def test_share_that_cannot_be_asked_for_is_an_error_of_its_own(console):
    """In a container status reports the sessions that it cannot open."""
    shares = MemoryShares(console.clock)
    console.shares = (shares, PolicyShares())
    console.login()
    shares.refusing = "this process is in a container"

    said = console.run("status")

    assert 6 == said.code
    assert "sessions that cannot be opened here: 1\n" in said.out
    assert "no live session" not in said.out
    assert "keylease: error: this process is in a container\n" in said.err
    assert 1 == len(list(console.state.glob("sessions/*/*.sealed")))


def test_end_of_the_credential_is_shown(console):
    """A token that ends in a minute ends the session, and the table says so."""
    target = Target("web", "https", "git.example")
    expires = console.clock.now().wall_ns // 10**9 + 60
    Wiring().session.create(target, Credential("ada", Secret(b"x"), "bearer", expires))

    lines = console.run("status", "https://git.example").out.splitlines()

    assert "holds        an Authorization header, bearer" in lines
    assert "expires      2026-09-21T14:14:20Z" in lines
    assert "cap          1 min of 8 h" in lines


def test_no_session_for_the_url_has_its_own_code(console):
    """A script asks `keylease status URL` and reads the exit code."""
    console.login("https://git.example")

    said = console.run("status", "https://other.example")

    assert 3 == said.code
    assert "there is no session for https://other.example\n" in said.err
    assert 0 == console.run("status", "https://git.example").code


def test_ended_session_says_why(console):
    """After a pause status names the idle timeout as the reason."""
    console.login()
    console.clock.advance(900)

    said = console.run("status", "https://git.example")

    assert 3 == said.code
    assert "the session for https://git.example has ended: idle\n" in said.err
    assert "keylease: hint: start one with: keylease login https://git.example\n" in said.err


def test_locked_keychain_says_what_waits(console):
    """Nothing is lost, nothing can be shown, and the exit code says unavailable."""
    console.login("https://one.example")
    console.login("https://two.example")
    console.keystore.lock()

    said = console.run("status")

    assert 4 == said.code
    assert "2 sealed sessions wait for the keychain; nothing was deleted\n" in said.out
    assert (
        "keychain: memory of this process (memory), key generation 1, cannot be read now\n"
        in said.out
    )
    assert "error: the keychain in memory is locked\n" in said.err
    console.keystore.recover()
    assert {"https://one.example", "https://two.example"} == set(console.urls())


def test_keychain_that_this_machine_lost_is_called_by_its_name(console, monkeypatch):
    """A backend that was uninstalled is no reason to say less."""
    console.login()

    def missing(*_):
        msg = "the backend is not installed"
        raise KeychainMissingError(msg)

    monkeypatch.setattr(keystores, "open_keystore", missing)

    said = console.run("status")

    assert 4 == said.code
    assert "keychain: memory (memory), key generation 1, cannot be read now\n" in said.out
    assert "1 sealed session waits for the keychain; nothing was deleted\n" in said.out
    assert "keylease: error: the backend is not installed\n" in said.err


def test_keychain_that_is_not_the_vaults_is_not_called_locked(console):
    """Another keychain on the command line gives an error about its name, not a hint to unlock."""
    console.login()

    said = console.run("--keychain", "kernel", "status")

    assert 4 == said.code
    assert "locked" not in said.out + said.err
    assert "error: the vault is pinned to the keychain memory, not to kernel\n" in said.err
    hint = "hint: use memory; find the setting that differs: keylease config show\n"
    assert hint in said.err


def test_locked_keychain_with_nothing_behind_it(console):
    """A locked keychain is reported even without a session."""
    console.login()
    console.run("logout", "--all")
    console.keystore.lock()

    said = console.run("status")

    assert 4 == said.code
    assert "no live session" == said.out.splitlines()[0]


def test_revocation_is_said_plainly_and_when(console):
    """After an admin deleted the key the user reads revoked, since when, and what to do."""
    console.login()
    console.revoke()
    revoked = "revoked at 2026-09-21T14:13:20Z"

    for word in (
        "deleted from the keychain memory",
        "in the keychain memory was revoked at 2026-09-21T14:13:20Z",
    ):
        said = console.run("status")

        assert 5 == said.code
        assert [
            "no live session",
            f"keychain: memory of this process (memory), key generation 1, {revoked}",
        ] == said.out.splitlines()
        assert said.err.startswith("keylease: error: the vault key ")
        assert f"{word}\n" in said.err
        assert "hint: start afresh with: keylease login URL\n" in said.err
        console.clock.advance(60)


def test_key_that_could_not_be_deleted_is_not_called_deleted(console):
    """After keylease revoke with a locked keychain the key may be there still."""
    console.login()
    console.keystore.lock()
    console.run("revoke", "--yes")

    said = console.run("status")

    assert 5 == said.code
    assert "revoked at" in said.out
    assert "was revoked at" in said.err
    assert "deleted" not in said.out + said.err


def test_reboot_of_a_forgetful_keychain_is_no_revocation(console):
    """The kernel keyring is empty after a restart, which is no error."""
    console.keystore.survives_reboot = False
    console.login()
    console.clock.reboot()
    console.keystore.reboot()

    said = console.run("status")

    assert (0, "") == (said.code, said.err)
    assert "emptied by a restart of the machine" in said.out


def test_json_is_what_is_documented(console):
    """Programs read the same, under names that stay."""
    console.login("https://git.example:8443/a", "ada")
    console.clock.advance(1)

    document = console.status()

    (session,) = document.pop("sessions")
    assert 32 == len(session.pop("id"))
    assert {
        "format": 1,
        "keychain": {
            "state": "available",
            "name": "memory",
            "title": "memory of this process",
            "generation": 1,
            "created": "2026-09-21T14:13:20Z",
            "revoked": None,
        },
        "sealed": None,
    } == document
    assert {
        "target": {
            "namespace": "web",
            "protocol": "https",
            "host": "git.example:8443",
            "path": "a",
        },
        "username": "ada",
        "authtype": None,
        "expires": None,
        "created": "2026-09-21T14:13:20Z",
        "used": "2026-09-21T14:13:20Z",
        "released": None,
        "idle_seconds": 900,
        "idle_seconds_left": 899,
        "cap_seconds": 28800,
        "cap_seconds_left": 28799,
        "end": "policy",
        "enforced_by": "keylease",
    } == session


@pytest.mark.parametrize(
    ("change", "code", "state"),
    [
        ("none", 0, "none"),
        ("login", 0, "available"),
        ("lock", 4, "unavailable"),
        ("vanish", 4, "unavailable"),
        ("revoke", 5, "revoked"),
        ("reboot", 0, "reset"),
    ],
)
def test_json_tells_every_state_of_the_keychain(console, change, code, state):
    """A program gets its document whatever is wrong, and the exit code beside it."""
    console.keystore.survives_reboot = change != "reboot"
    if change != "none":
        console.login()
    {
        "none": lambda: None,
        "login": lambda: None,
        "lock": console.keystore.lock,
        "vanish": console.keystore.vanish,
        "revoke": console.revoke,
        "reboot": console.clock.reboot,
    }[change]()

    said = console.run("status", "--json")

    assert code == said.code
    assert state == json.loads(said.out)["keychain"]["state"]
    assert (1 if state == "unavailable" else None) == json.loads(said.out)["sealed"]


def test_stored_names_cannot_move_the_cursor(console):
    """Whatever a peer stored, the terminal is shown letters."""
    evil = "a\x1b[2J\u202egpj.exe\u2028\x9b\udcff\u200b\t"
    target = Target("web", "https", f"host{evil}", f"path{evil}")
    Wiring().session.create(target, Credential(evil, Secret(b"x"), evil))

    for words in (("status",), ("status", "--json")):
        said = console.run(*words)
        assert 0 == said.code
        lines = said.out.splitlines()
        assert "\\x1b[2J" in said.out or "\\u001b[2J" in said.out, "the name is there, escaped"
        assert all(line.isprintable() for line in lines)


def test_monstrous_name_is_cut_and_says_so(console):
    """A name of 64 KiB does not push everything else off the screen."""
    target = Target("web", "https", "h" * 65_000)
    Wiring().session.create(target, Credential("ada", Secret(b"x")))

    said = console.run("status")

    assert len(said.out) < 5000
    assert "[cut, 65008 characters]" in said.out


def test_user_name_without_a_url_is_refused(console):
    """A filter that is ignored would show more than was asked for."""
    assert 2 == console.run("status", "--username", "ada").code


def test_no_status_shows_a_secret(console):
    """The password is in the session, and in no word about it."""
    console.login(password=CANARY.encode())
    request = Wiring().session.get(Target("web", "https", "git.example"))
    assert CANARY == str(request.credential.secret.reveal(), "ascii"), "it is there"

    for words in ((), ("--json",), ("https://git.example",), ("https://git.example", "--json")):
        said = console.run("status", *words)
        assert "git.example" in said.out
        assert CANARY not in said.out + said.err
