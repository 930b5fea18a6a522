"""`keylease init`: a vault without a session, and a new key after a revocation."""

from __future__ import annotations


def test_init_makes_the_vault_and_nothing_else(console):
    """The keychain is chosen and the key made before the first login."""
    said = console.run("init")

    expected = "made a vault key: generation 1 in memory of this process (memory)\n"
    assert (0, expected, "") == said
    assert ["session-key", "audit-key"] == [item.kind for item in console.keystore.items]
    assert [] == console.urls()
    assert ["vault.created"] == [line["event"] for line in console.audit()]


def test_init_where_there_is_a_vault_changes_nothing(console):
    """Run again by a script, it keeps key and sessions."""
    console.login()
    items = console.keystore.items

    said = console.run("init")

    assert 0 == said.code
    assert said.out.startswith("the vault exists already: generation 1 in ")
    assert items == console.keystore.items
    assert ["https://git.example"] == console.urls()


def test_init_ends_a_revocation(console):
    """A person says that there may be sessions again; no old one comes back."""
    console.login()
    console.run("revoke", "--yes")

    said = console.run("init")

    assert (0, "") == (said.code, said.err)
    assert said.out.startswith("made a vault key: generation 2 in ")
    assert (0, []) == (console.run("status").code, console.urls())


def test_init_destroys_what_a_deleted_key_left(console):
    """The key was deleted by hand, and init is the first to notice."""
    console.login()
    console.revoke()

    assert 0 == console.run("init").code

    assert [] == list(console.state.glob("sessions/*/*"))
    assert ("session.ended", "revoked") in [
        (line["event"], line["reason"]) for line in console.audit()
    ]


def test_init_with_a_locked_keychain_makes_nothing(console):
    """A locked keychain is not passed over, and there is no half of a vault."""
    console.keystore.lock()

    assert 4 == console.run("init").code
    assert "none" == console.status()["keychain"]["state"]
