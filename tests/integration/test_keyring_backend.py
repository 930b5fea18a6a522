"""The `keyring` library on a real desktop: keylease before the Secret Service, and beside it."""

from __future__ import annotations

import sys

import pytest
from support.requirements import require

URL = "https://pypi.example/simple"
PASSWORD = "hunter2-canary"

pytest.importorskip("secretstorage", reason="keyring has no backend for the Secret Service here")


@pytest.fixture
def keyring(desktop):
    """Return a function that runs the library's own program on a desktop."""

    def run(*words, stdin=""):
        return desktop.home.run(sys.executable, "-m", "keyring", *words, stdin=stdin)

    return run


def backend(desktop):
    """Return the name of the backend that the library chooses by default."""
    code = "import keyring; print(keyring.get_keyring())"
    return desktop.home.run(sys.executable, "-c", code).stdout.strip()


def test_library_chooses_keylease_beside_the_secret_service(desktop, keyring):
    """With a desktop's keychain there are two backends, and ours comes before the chainer."""
    listed = keyring("--list-backends").stdout

    assert "keyring.backends.SecretService.Keyring (priority: 5)" in listed
    assert "keyring.backends.chainer.ChainerBackend (priority: 10)" in listed
    assert "keylease.embed.keyring_backend.Keyring (priority: 15)" == backend(desktop)


def test_servers_have_sessions_and_the_rest_is_the_desktops(desktop, keyring):
    """A server's password ends with its session; an application's own stays in the keychain."""
    require(desktop.home.find("secret-tool"), "secret-tool", "it is not on PATH")
    for service in (URL, "org.example.App"):
        assert 0 == keyring("set", service, "ada", stdin=PASSWORD).returncode

    assert f"{PASSWORD}\n" == keyring("get", URL, "ada").stdout
    assert f"{PASSWORD}\n" == keyring("get", "org.example.App", "ada").stdout
    held = desktop.home.run("secret-tool", "lookup", "service", "org.example.App")
    assert PASSWORD == held.stdout
    assert "" == desktop.home.run("secret-tool", "lookup", "service", URL).stdout
    assert ["session.created"] == [
        line["event"] for line in desktop.home.audit() if line["event"] == "session.created"
    ]


def test_vault_key_is_found_by_its_own_name(desktop, keyring):
    """The library still reaches the documented vault key, and uses no session for it."""
    done = keyring("set", URL, "ada", stdin=PASSWORD)
    assert 0 == done.returncode, done.stderr
    lines = len(desktop.home.audit())

    found = keyring("get", desktop.home.service("audit-key"), "keylease")

    assert 44 == len(found.stdout.strip())
    assert lines == len(desktop.home.audit())


def test_revocation_is_a_miss_and_the_desktops_own_is_still_there(desktop, keyring):
    """After the key is deleted a server's password is gone, and no other password is."""
    keyring("set", URL, "ada", stdin=PASSWORD)
    keyring("set", "org.example.App", "ada", stdin=PASSWORD)
    key = ("application", "keylease", "kind", "session-key")
    desktop.home.run("secret-tool", "clear", *key)

    assert (1, "") == (keyring("get", URL, "ada").returncode, keyring("get", URL, "ada").stdout)
    assert f"{PASSWORD}\n" == keyring("get", "org.example.App", "ada").stdout


def test_locked_keychain_is_said(desktop, keyring):
    """A program hears that the keychain is locked, within the time that a tool waits."""
    keyring("set", URL, "ada", stdin=PASSWORD)
    desktop.keyring.lock()

    done = keyring("get", URL, "ada")
    desktop.keyring.unlock()

    assert done.returncode != 0
    assert "keyring.errors.KeyringLocked: keylease: " in done.stderr
    assert PASSWORD not in done.stdout + done.stderr
