"""The home of tests and demo: it takes in nothing of the user and leaves nothing behind."""

import json
import os
import secrets
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support.kernel_keyring import require_kernel_keyring
from support.leftovers import living_keys
from support.throwaway import Throwaway
from support.waiting import ended, wait_until

from keylease.keystores.base import KEY_BYTES, Item
from keylease.keystores.kernel import KernelKeyStore
from keylease.secrets.secret import Secret


@pytest.fixture
def kernel():
    """The kernel's keyring of this user."""
    require_kernel_keyring()
    return KernelKeyStore()


def write_vault(home, vault, generation, audit_generation):
    """Write a vault as keylease does."""
    home.state.mkdir(parents=True)
    record = {
        "vault": vault,
        "keychain": "kernel",
        "generation": generation,
        "audit_generation": audit_generation,
    }
    (home.state / "vault.json").write_text(json.dumps(record))


def alive(keystore, items):
    """Return which of the keys are in the keychain."""
    return [key is not None for key in keystore.read(items)]


def test_no_setting_of_the_user_comes_in(tmp_path, monkeypatch):
    """Variables that the user exported do not change the result of a test."""
    for name in ("GIT_CONFIG_PARAMETERS", "DBUS_SESSION_BUS_ADDRESS", "KEYLEASE_KEYCHAIN"):
        monkeypatch.setenv(name, "the user's own")

    with Throwaway(tmp_path) as home:
        done = home.run(sys.executable, "-c", "import os; print(*os.environ.values())")

    assert str(home.home) in done.stdout
    assert "the user's own" not in done.stdout


def test_environment_that_is_given_comes_in(tmp_path):
    """A test that uses a private bus can set its address."""
    with Throwaway(tmp_path, {"DBUS_SESSION_BUS_ADDRESS": "unix:path=/nowhere"}) as home:
        assert "unix:path=/nowhere" == home.environment["DBUS_SESSION_BUS_ADDRESS"]


def test_home_is_private(tmp_path):
    """Another user of the machine cannot read the home."""
    if sys.platform == "win32":
        pytest.skip("permissions are of another kind on Windows")

    with Throwaway(tmp_path) as home:
        assert 0o40700 == home.home.stat().st_mode


def test_keys_of_every_generation_are_deleted(tmp_path, kernel):
    """The keys of tests are deleted, so a user's keychain does not fill up."""
    vault = secrets.token_hex(8)
    items = [
        Item(vault, "session-key", 1),
        Item(vault, "session-key", 2),
        Item(vault, "audit-key", 1),
    ]
    for item in items:
        kernel.add(item, Secret(bytes(KEY_BYTES)))

    with Throwaway(tmp_path) as home:
        write_vault(home, vault, generation=2, audit_generation=1)
        assert [True, True, True] == alive(kernel, items)

    assert [False, False, False] == alive(kernel, items)


def test_keys_are_deleted_after_a_failure_too(tmp_path, kernel):
    """A test that fails leaves no key behind either."""
    item = Item(secrets.token_hex(8), "session-key", 1)
    kernel.add(item, Secret(bytes(KEY_BYTES)))

    home = Throwaway(tmp_path)
    write_vault(home, item.vault, generation=1, audit_generation=0)
    assert [True] == alive(kernel, [item])

    with pytest.raises(KeyboardInterrupt), home:
        raise KeyboardInterrupt

    assert [False] == alive(kernel, [item])


@pytest.mark.parametrize("kept", ["all", "no vault", "no session file"])
def test_shares_of_sessions_that_live_are_deleted(tmp_path, kernel, kept):
    """The kernel keeps no share of a test's session, even if the test removed vault or files."""
    del kernel  # the fixture only checks that there is a kernel keyring
    with Throwaway(tmp_path, {"KEYLEASE_KEYCHAIN": "kernel"}) as home:
        words = ("login", "https://a.example", "--username", "ada", "--password-stdin")
        stored = home.run("keylease", *words, stdin="s")
        assert 0 == stored.returncode, stored.stderr
        (session,) = {line["session"] for line in home.audit()} - {None}
        assert b"share:" + session.encode() in Path("/proc/keys").read_bytes(), "the control"
        vault = home.state / "vault.json"
        if kept == "no vault":
            vault.rename(home.home / "vault.json")
        if kept == "no session file":
            shutil.rmtree(home.state / "sessions")

    # The kernel removes an unlinked key from its list at a time of its choice.
    wait_until(
        lambda: not any(key.name.endswith(session) for key in living_keys_of_this_user()),
        f"the share of {session} to go",
    )
    if kept == "no vault":
        (home.home / "vault.json").rename(vault)
        home.delete_keys()


def living_keys_of_this_user():
    """Return our keys that the kernel has and can still read."""
    return living_keys(Path("/proc/keys").read_text("utf-8", "replace"), os.getuid())


def test_keys_that_cannot_be_deleted_are_named(tmp_path):
    """A key that cannot be deleted is named, so that the user can delete it by hand."""
    home = Throwaway(tmp_path)
    write_vault(home, "0123456789abcdef", generation=1, audit_generation=0)
    vault = home.vault() | {"keychain": "no-such-keychain"}
    (home.state / "vault.json").write_text(json.dumps(vault))

    with pytest.raises(RuntimeError, match=r"keylease:0123456789abcdef:session-key\.1"):
        home.delete_keys()


def test_missing_program_is_named(tmp_path):
    """A program that is not installed is told from one that fails."""
    with Throwaway(tmp_path) as home, pytest.raises(FileNotFoundError, match="no-such-program"):
        home.run("no-such-program")


@pytest.mark.skipif(sys.platform == "win32", reason="a process group is POSIX's own")
def test_interruption_ends_what_the_program_started(tmp_path):
    """A program that times out leaves no child that writes into a home that goes away."""
    child = "while :; do mkdir -p late; done"
    parent = f"({child}) & echo $! >pid; wait"

    with Throwaway(tmp_path) as home:
        with pytest.raises(subprocess.TimeoutExpired):
            home.run("sh", "-c", parent, timeout_seconds=1)
        assert (home.home / "late").is_dir(), "the control"
        assert ended(int((home.home / "pid").read_text()))
