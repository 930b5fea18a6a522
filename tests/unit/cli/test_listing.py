"""`keylease list`: the sessions of `status`, for scripts."""

from __future__ import annotations

import json

import pytest


def test_sessions_are_those_of_status(console):
    """A script reads the same about each session, whichever command it runs."""
    console.login("https://one.example")
    console.clock.advance(1)
    console.login("https://two.example", "bob")

    said = console.run("list", "--json")

    assert (0, "") == (said.code, said.err)
    document = json.loads(said.out)
    assert {"format", "sessions"} == document.keys()
    assert 1 == document["format"]
    assert console.status()["sessions"] == document["sessions"]
    assert ["ada", "bob"] == [session["username"] for session in document["sessions"]]


def test_table_is_that_of_status(console):
    """Only the lines about the keychain are left out."""
    console.login()

    listed = console.run("list").out.splitlines()

    assert 2 == len(listed)
    assert listed == console.run("status").out.splitlines()[:2]


def test_nothing_is_listed_as_nothing(console):
    """Without sessions there are no lines to skip, and nothing is made."""
    assert (0, "", "") == console.run("list")
    assert {"format": 1, "sessions": []} == json.loads(console.run("list", "--json").out)
    assert not console.state.exists()


@pytest.mark.parametrize(("change", "code"), [("lock", 4), ("revoke", 5)])
def test_what_is_wrong_is_the_exit_code(console, change, code):
    """An empty list that proves nothing is not taken for one that does."""
    console.login()
    {"lock": console.keystore.lock, "revoke": console.revoke}[change]()

    said = console.run("list", "--json")

    assert code == said.code
    assert [] == json.loads(said.out)["sessions"]
    assert said.err.startswith("keylease: error: ")


def test_listing_uses_no_session(console):
    """A prompt that lists the sessions at each line keeps none of them alive."""
    console.login()
    for _ in range(15):
        assert "https://git.example" in console.run("list").out
        console.clock.advance(60)

    assert "" == console.run("list").out
