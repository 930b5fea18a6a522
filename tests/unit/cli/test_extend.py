"""`keylease extend`: the idle timeout starts again, the cap does not move."""

from __future__ import annotations

import pytest


def test_extend_restarts_the_idle_timeout(console):
    """A session that is extended lives another 15 minutes."""
    console.login()
    console.clock.advance(800)

    said = console.run("extend", "https://git.example")

    assert (0, "") == (said.code, said.err)
    assert [
        "extended the session for https://git.example as ada",
        "it ends after 15 min without use, after 7 h 46 min at the latest",
    ] == said.out.splitlines()
    console.clock.advance(899)
    assert ["https://git.example"] == console.urls()
    console.clock.advance(1)
    assert [] == console.urls()


def test_extend_does_not_move_the_cap(console):
    """However often it is extended, a session ends after 8 hours."""
    console.login()
    for _ in range(35):
        console.clock.advance(800)
        assert 0 == console.run("extend", "https://git.example").code

    console.clock.advance(800)

    assert 3 == console.run("extend", "https://git.example").code


def test_extend_takes_the_named_user(console):
    """Of two sessions only the one that is named lives on."""
    console.login(username="ada")
    console.login(username="bob")
    console.clock.advance(800)

    assert 0 == console.run("extend", "https://git.example", "--username", "ada").code
    console.clock.advance(200)

    assert ["ada"] == [session["username"] for session in console.status()["sessions"]]


@pytest.mark.parametrize("seconds", [0, 900])
def test_extend_without_a_live_session_says_so(console, seconds):
    """Nothing revives what has ended, and what never was."""
    if seconds:
        console.login()
        console.clock.advance(seconds)

    said = console.run("extend", "https://git.example")

    assert (3, "") == (said.code, said.out)
    assert "hint: start one with: keylease login https://git.example\n" in said.err


def test_extend_fails_where_it_cannot_be_written_down(console):
    """No session is prolonged without a line in the audit log."""
    console.login()
    console.clock.advance(800)
    (console.state / "audit").rename(console.state / "away")
    (console.state / "audit").write_text("in the way")

    said = console.run("extend", "https://git.example")

    assert (7, "") == (said.code, said.out)
    console.clock.advance(100)
    assert [] == console.urls()
