"""`keylease gc`: what is over is removed, and what is live is neither removed nor used."""

from __future__ import annotations

import os

import pytest
from support.shares import MemoryShares

from keylease.shares.policy import PolicyShares


def files(console):
    """Return every file below the sessions' directory, and every unfinished one."""
    below = [*console.state.glob("sessions/*/*"), *console.state.rglob(".tmp-*")]
    return sorted(path.name for path in below)


def orphan(directory):
    """Leave what a killed writer leaves, from some minutes ago."""
    path = directory / ".tmp-0123456789abcdef"
    path.write_bytes(b"half")
    path.chmod(0o600)
    os.utime(path, (0, 0))
    return path


def test_gc_removes_what_is_over_of_every_host(console):
    """An ended session is removed without another request for its host."""
    console.login("https://one.example")
    console.login("https://two.example")
    console.clock.advance(600)
    console.run("extend", "https://two.example")
    console.clock.advance(301)

    said = console.run("gc")

    assert (0, "removed 1 session that had ended\n", "") == said
    assert ["https://two.example"] == console.urls()
    ended = [line for line in console.audit() if line["event"] == "session.ended"]
    assert [("idle", "one.example")] == [(line["reason"], line["target"]["host"]) for line in ended]


def test_gc_is_no_use(console):
    """Run every minute, it keeps no session alive."""
    console.login()
    for _ in range(14):
        console.clock.advance(60)
        assert "nothing to remove\n" == console.run("gc").out
    console.clock.advance(60)

    assert "removed 1 session that had ended\n" == console.run("gc").out


def test_gc_removes_what_killed_processes_left(console):
    """Unfinished files go wherever they are, and a young one is left to its writer."""
    console.login()
    bucket = next(console.state.glob("sessions/*/*.sealed")).parent
    orphans = [orphan(place) for place in (console.state, bucket.parent, bucket)]
    young = bucket / ".tmp-00"
    young.write_bytes(b"half")

    said = console.run("gc")

    assert "removed 3 unfinished files\n" == said.out
    assert [] == [path for path in orphans if path.exists()]
    assert young.exists()
    assert ["https://git.example"] == console.urls()


def test_gc_removes_records_that_no_echo_can_need(console):
    """A record of use outlives its session for two minutes, and then it is of no use."""
    console.login()
    (record,) = console.state.glob("sessions/*/*.touch")
    kept = record.read_bytes()
    console.run("logout", "--all")
    record.parent.mkdir(0o700, exist_ok=True)
    record.write_bytes(kept)
    record.chmod(0o600)

    assert "removed 1 record of its last use\n" == console.run("gc").out
    assert [] == files(console)
    assert [] == list(
        console.state.glob("sessions/" + "[0-9a-f]" * 32)
    ), "nor is the empty bucket left"


def test_gc_destroys_shares_without_a_file(console):
    """Where shares do not die by themselves, those of lost sessions are swept."""
    shares = MemoryShares(console.clock)
    console.shares = (shares, PolicyShares())
    console.login("https://one.example")
    console.login("https://two.example")
    lost, _ = sorted(console.state.glob("sessions/*/*.sealed"))
    lost.unlink()

    said = console.run("gc")

    assert "removed 1 record of its last use, 1 volatile share\n" == said.out
    assert 1 == len(shares.held)
    assert 1 == len(console.urls())


def test_gc_ends_files_without_a_share(console):
    """A file whose share is gone can never be opened again, so it goes."""
    shares = MemoryShares(console.clock)
    console.shares = (shares, PolicyShares())
    console.login()
    shares.held.clear()

    assert "removed 1 session that had ended\n" == console.run("gc").out
    assert [] == files(console)


def test_gc_deletes_the_keys_of_killed_rotations(console, monkeypatch):
    """An old key and a copy of an old file are a password, so neither is left lying about."""

    def killed(_):
        raise KeyboardInterrupt

    console.login()
    for _ in range(2):
        with monkeypatch.context() as patch:
            patch.setattr(console.keystore, "delete", killed)
            console.run("key", "rotate")

    assert "removed 2 old vault keys\n" == console.run("gc").out
    assert "nothing to remove\n" == console.run("gc").out


def test_gc_with_a_locked_keychain_does_what_needs_no_key(console):
    """A session is not ended because nothing can be said about it."""
    console.login()
    left = orphan(console.state)
    console.keystore.lock()

    said = console.run("gc")

    assert 4 == said.code
    assert not left.exists()
    assert 1 == len(list(console.state.glob("sessions/*/*.sealed")))


def test_gc_of_a_revoked_vault_leaves_nothing(console):
    """If the key was deleted, gc removes the files that it sealed."""
    console.login()
    console.revoke()

    assert 5 == console.run("gc").code
    assert [] == files(console)


@pytest.mark.parametrize("made", [False, True])
def test_gc_makes_nothing_where_there_is_nothing(console, made):
    """On a new machine it has nothing to do."""
    if made:
        console.state.mkdir(0o700)

    assert (0, "nothing to remove\n", "") == console.run("gc")
    assert made == console.state.exists()
