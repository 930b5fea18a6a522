"""`keylease logout`: what a person ends has ended, and nothing else has."""

from __future__ import annotations

import pytest


def test_logout_ends_the_session_and_says_so(console):
    """A person sees what has ended."""
    console.login()

    said = console.run("logout", "https://git.example")

    assert (0, "") == (said.code, said.err)
    assert "ended the session for https://git.example as ada\n" == said.out
    assert [] == console.urls()


def test_logout_without_a_session_says_so(console):
    """A script can tell that there was nothing to end."""
    console.login("https://git.example")

    said = console.run("logout", "https://other.example")

    assert (3, "") == (said.code, said.out)
    assert "keylease: error: there is no session for https://other.example\n" in said.err
    assert ["https://git.example"] == console.urls()


def test_logout_without_a_vault_says_the_same(console):
    """The hint of a failed logout does not say how to start a session."""
    said = console.run("logout", "https://git.example")

    assert (3, "") == (said.code, said.out)
    assert "keylease: error: there is no session for https://git.example\n" in said.err
    assert "keylease: hint: list sessions: keylease status\n" in said.err


def test_logout_of_a_host_ends_every_path_and_user(console):
    """A logout removes every session of its host and no other."""
    console.login("https://git.example/a", "ada")
    console.login("https://git.example/b", "bob")
    console.login("https://git.example:8443", "ada")

    said = console.run("logout", "https://git.example")

    assert [
        "ended the session for https://git.example/a as ada",
        "ended the session for https://git.example/b as bob",
    ] == sorted(said.out.splitlines())
    assert ["https://git.example:8443"] == console.urls()


@pytest.mark.parametrize(
    "words", [("https://bob@git.example",), ("https://git.example", "--username", "bob")]
)
def test_logout_of_one_user_leaves_the_others(console, words):
    """Two people share a machine account, and one leaves."""
    console.login(username="ada")
    console.login(username="bob")

    console.run("logout", *words)

    assert ["ada"] == [session["username"] for session in console.status()["sessions"]]


def test_logout_all_ends_everything_and_counts(console):
    """One command before the laptop is given away."""
    console.login("https://one.example")
    console.login("https://two.example")

    assert "ended 2 sessions\n" == console.run("logout", "--all").out
    assert [] == console.urls()
    assert 3 == console.run("logout", "--all").code


def test_logout_all_needs_no_keychain(console):
    """Ending is never held up by a locked keychain."""
    console.login()
    console.keystore.lock()

    said = console.run("logout", "--all")

    assert (0, "ended 1 session\n") == (said.code, said.out)
    assert [] == list(console.state.glob("sessions/*/*.sealed"))


def test_logout_of_a_url_points_the_way_around_a_locked_keychain(console):
    """Which of the sealed sessions it is cannot be known; that there is another way is said."""
    console.login()
    console.keystore.lock()

    said = console.run("logout", "https://git.example")

    assert 4 == said.code
    assert "keylease logout --all" in said.err
    assert 1 == len(list(console.state.glob("sessions/*/*.sealed")))


@pytest.mark.parametrize(
    "words", [(), ("--all", "https://git.example"), ("--all", "--username", "ada")]
)
def test_logout_wants_a_url_or_all(console, words):
    """Nothing is ended by a command that says nothing, or two things at once."""
    console.login()

    said = console.run("logout", *words)

    assert 2 == said.code
    assert "expected either a URL or --all" in said.err
    assert ["https://git.example"] == console.urls()


def test_logout_goes_on_without_an_audit_log(console):
    """A logout works on a full disk."""
    console.login()
    (console.state / "audit").rename(console.state / "away")
    (console.state / "audit").write_text("in the way")

    said = console.run("logout", "https://git.example")

    assert 0 == said.code
    assert [] == list(console.state.glob("sessions/*/*.sealed"))
