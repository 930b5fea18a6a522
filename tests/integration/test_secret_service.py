"""The Secret Service store against a real gnome-keyring, in each of its states."""

from __future__ import annotations

import base64
import os
import shutil
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from support.requirements import require
from support.secret_service import LOGIN, ROOT, GnomeKeyring
from support.waiting import WAIT_SECONDS

from keylease.errors import KeychainMissingError, KeychainUnavailableError
from keylease.keystores import choose
from keylease.keystores.base import Item
from keylease.keystores.secretservice import SecretServiceKeyStore
from keylease.secrets.secret import Secret
from keylease.system.clock import Deadline

KEY = bytes(range(224, 256))
OTHER_KEY = bytes(range(32))
SESSION = Item("0123456789abcdef", "session-key", 1)
AUDIT = Item("0123456789abcdef", "audit-key", 1)
SHORT = 0.4
"""Seconds until a test gives up a hung keychain. No test measures this time."""


pytest.importorskip("jeepney", reason="secret-service: jeepney is not installed")


@pytest.fixture
def log_in(monkeypatch):
    """Log this process in to a desktop, whose bus its environment names."""

    def log_in(keyring):
        for name, value in keyring.environment.items():
            monkeypatch.setenv(name, value)

    return log_in


@pytest.fixture
def keyring(log_in):
    """Give an unlocked keyring that this process is logged in to."""
    with GnomeKeyring() as keyring:
        log_in(keyring)
        yield keyring


@pytest.fixture
def store(keyring):
    """Return the store with a generous timeout."""
    del keyring
    return SecretServiceKeyStore(Deadline(20))


@pytest.fixture
def secret_tool(keyring):
    """Return a function that runs secret-tool in that desktop."""
    require(shutil.which("secret-tool"), "secret-service", "secret-tool is not on PATH")

    def run(*words, value=None, check=True):
        return subprocess.run(
            ["secret-tool", *words],
            env=os.environ | keyring.environment,
            input=value,
            capture_output=True,
            timeout=20,
            check=check,
        )

    return run


def patient():
    """Return a store with a generous timeout."""
    return SecretServiceKeyStore(Deadline(20))


def hasty():
    """Return a store with a short timeout."""
    return SecretServiceKeyStore(Deadline(SHORT))


def absent(store, *items):
    """Return whether none of the items exists. A secret is never compared with `==`."""
    return all(key is None for key in store.read(items))


def holds(key, found):
    """Return whether the read returned this key."""
    return found is not None and found.matches(Secret(key))


def open_files():
    """Return the descriptors of this process, including the one that lists them."""
    return sorted(file.name for file in Path("/proc/self/fd").iterdir())


def refused(call, kind=KeychainUnavailableError):
    """Return the refusal's message. A call that hangs fails the test instead of hanging it."""
    caught = []

    def run():
        with pytest.raises(kind) as error:
            call()
        caught.append(error.value)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(60)
    assert caught, "the call hangs, or it was not refused"
    return str(caught[0])


OPERATIONS = {
    "read": lambda store: store.read([SESSION]),
    "add": lambda store: store.add(SESSION, Secret(KEY)),
    "delete": lambda store: store.delete(SESSION),
    "probe": lambda store: store.probe(),
}


# What users and their tools see.


def test_secret_tool_finds_the_key_in_base64(store, secret_tool):
    """An admin finds the key by the service name and keylease's user name."""
    store.add(SESSION, Secret(KEY))

    found = secret_tool("lookup", "service", SESSION.service, "username", "keylease")

    assert base64.b64encode(KEY) == found.stdout


def test_the_keyring_command_finds_the_key_in_base64(store, keyring):
    """The keyring library's own command finds it under the same two names."""
    store.add(SESSION, Secret(KEY))

    words = ["-b", "keyring.backends.SecretService.Keyring", "get", SESSION.service, "keylease"]
    found = subprocess.run(
        [sys.executable, "-m", "keyring", *words],
        env=os.environ | keyring.environment,
        capture_output=True,
        timeout=60,
        check=True,
    )

    assert base64.b64encode(KEY) == found.stdout.strip()


def test_the_item_says_what_deleting_it_does(store, secret_tool):
    """The item's label in a keyring's window says what it is for."""
    store.add(SESSION, Secret(KEY))

    found = secret_tool("search", "--all", "application", "keylease", "kind", "session-key")
    text = (found.stdout + found.stderr).decode()

    assert "label = keylease session key: delete it to end every session at once\n" in text
    assert "attribute.vault = 0123456789abcdef\n" in text


def test_secret_tool_clear_revokes_the_session_key_only(store, secret_tool):
    """The documented command deletes the session key; the audit log can still be verified."""
    store.add(SESSION, Secret(KEY))
    store.add(AUDIT, Secret(OTHER_KEY))

    secret_tool("clear", "application", "keylease", "kind", "session-key")
    session, audit = store.read([SESSION, AUDIT])

    assert session is None
    assert holds(OTHER_KEY, audit)


def test_the_removal_command_works_as_it_is_shown(store, keyring, secret_tool):
    """The command that status shows can be pasted into a shell, and deletes this item alone."""
    del secret_tool
    store.add(SESSION, Secret(KEY))
    store.add(AUDIT, Secret(OTHER_KEY))

    words = store.removal_command(SESSION).split()
    subprocess.run(words, env=os.environ | keyring.environment, timeout=20, check=True)
    session, audit = store.read([SESSION, AUDIT])

    assert session is None
    assert holds(OTHER_KEY, audit)


def test_a_key_that_the_keyring_library_put_back_is_found(store, secret_tool):
    """A key that another tool restored, without keylease's own attributes, is accepted."""
    words = ["store", "--label=x", "service", SESSION.service, "username", "keylease"]
    secret_tool(*words, value=base64.b64encode(KEY))

    assert holds(KEY, store.read([SESSION])[0])


# Locked.


@pytest.mark.parametrize("operation", OPERATIONS)
def test_locked_is_unavailable_and_loses_nothing(keyring, operation):
    """A locked keyring proves nothing about a key; after unlocking the key is found again."""
    patient().add(SESSION, Secret(KEY))
    keyring.lock()

    said = refused(lambda: OPERATIONS[operation](patient()))

    assert f"the Secret Service cannot be used: its collection {LOGIN} is locked" == said
    keyring.unlock()
    assert holds(KEY, patient().read([SESSION])[0])


@pytest.mark.parametrize("operation", OPERATIONS)
def test_locked_and_empty_is_unavailable_too(keyring, operation):
    """A key that a locked keyring hides is not reported as absent."""
    keyring.lock()

    refused(lambda: OPERATIONS[operation](patient()))


@pytest.fixture
def prompting(keyring, secret_tool):
    """Return a function that runs a tool which prompts for the password and never gets one."""
    del secret_tool
    tools = []

    def prompting():
        tool = subprocess.Popen(
            ["secret-tool", "lookup", "service", SESSION.service],
            env=os.environ | keyring.environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        tools.append(tool)
        keyring.wait_until_prompted()

    yield prompting
    for tool in tools:
        tool.kill()
        tool.wait(WAIT_SECONDS)


def test_no_operation_ever_prompts(keyring, prompting):
    """The helper never makes the keyring prompt for a password."""
    patient().add(SESSION, Secret(KEY))
    keyring.lock()
    for operation in OPERATIONS.values():
        refused(lambda operation=operation: operation(patient()))

    assert not keyring.prompted
    prompting()  # the control: a tool that does prompt is noticed
    assert keyring.prompted


@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_prompt_that_is_never_answered_does_not_hang_the_helper(keyring, prompting, operation):
    """While another program waits at a prompt, the helper reports the keyring as locked."""
    patient().add(SESSION, Secret(KEY))
    keyring.lock()
    prompting()

    assert "is locked" in refused(lambda: OPERATIONS[operation](patient()))


def test_another_locked_collection_makes_absence_uncertain(keyring):
    """A key that is not found is not absent while a locked collection could hold it."""
    other = keyring.create_collection("other")
    keyring.lock(other)

    assert f"its collection {other} is locked" in refused(lambda: patient().read([SESSION]))
    assert f"its collection {other} is locked" in refused(lambda: patient().delete(SESSION))


def test_another_locked_collection_does_not_hide_a_key_or_stop_a_new_one(keyring):
    """keylease works although a second keyring is always locked."""
    keyring.lock(keyring.create_collection("other"))
    store = patient()

    store.probe()
    store.add(SESSION, Secret(KEY))

    assert holds(KEY, store.read([SESSION])[0])
    assert store.delete(SESSION)


def test_a_key_in_a_collection_that_is_no_longer_the_default_is_found(keyring):
    """Making another keyring the default one revokes nothing."""
    store = patient()
    store.add(SESSION, Secret(KEY))
    before = store.instance()
    keyring.set_default(keyring.create_collection("other"))

    assert holds(KEY, store.read([SESSION])[0])
    assert [LOGIN, f"{ROOT}/collection/other"] == [before, store.instance()]
    assert store.delete(SESSION)
    assert absent(store, SESSION)


# Hung, dead or missing.


@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_hung_service_is_unavailable_at_the_deadline(keyring, operation):
    """The helper gives up on a service that does not answer, and concludes nothing from it."""
    patient().add(SESSION, Secret(KEY))
    keyring.stop()
    try:
        said = refused(lambda: OPERATIONS[operation](hasty()))
    finally:
        keyring.resume()

    assert "the Secret Service cannot be used: it gave no answer in time" == said
    assert holds(KEY, patient().read([SESSION])[0])


def test_a_hung_service_is_not_passed_over_for_a_weaker_keychain(keyring):
    """A slow desktop does not move a new vault's key to the kernel."""
    keyring.stop()
    try:
        said = refused(lambda: choose(Deadline(SHORT)))
    finally:
        keyring.resume()

    assert "the Secret Service cannot be used: it gave no answer in time" == said


def test_a_hung_bus_is_unavailable_at_the_deadline(keyring):
    """A hung bus is given up in time, too."""
    patient().add(SESSION, Secret(KEY))
    keyring.stop_bus()
    try:
        said = refused(lambda: hasty().read([SESSION]))
    finally:
        keyring.resume_bus()

    assert "the Secret Service cannot be used: the session bus gave no answer in time" == said
    assert holds(KEY, patient().read([SESSION])[0])


def test_no_time_left_is_unavailable_without_asking(keyring):
    """After its deadline the store does not wait again."""
    del keyring
    assert "no answer in time" in refused(
        lambda: SecretServiceKeyStore(Deadline(0)).read([SESSION])
    )


def test_a_killed_service_comes_back_locked_and_is_unavailable(keyring):
    """A new service that the bus starts without the password cannot say what is absent."""
    patient().add(SESSION, Secret(KEY))
    keyring.kill()

    assert "is locked" in refused(lambda: patient().read([SESSION]))
    keyring.unlock()
    assert holds(KEY, patient().read([SESSION])[0])


def test_a_service_that_is_gone_is_missing_for_a_new_vault_and_unavailable_for_an_old_one(log_in):
    """A vault whose keychain service has gone was not revoked."""
    with GnomeKeyring(activatable=False) as keyring:
        log_in(keyring)
        patient().add(SESSION, Secret(KEY))
        keyring.kill()

        assert "there is no Secret Service on the session bus" == refused(
            patient().probe, KeychainMissingError
        )
        with pytest.raises(KeychainUnavailableError) as caught:
            patient().read([SESSION])
        assert KeychainUnavailableError is type(caught.value)
        keyring.start()
        assert holds(KEY, patient().read([SESSION])[0])


def test_a_keyring_that_was_never_made_is_missing(log_in):
    """An account that never had a keyring gets the next kind of keychain."""
    with GnomeKeyring(initialised=False) as keyring:
        log_in(keyring)

        assert "no keyring was ever made" in refused(patient().probe, KeychainMissingError)
        assert not keyring.prompted
        assert keyring.owned


def test_a_service_without_the_users_keyrings_does_not_say_absent(log_in):
    """A service without the user's keyrings still has a collection in memory; it proves nothing.

    A daemon that was started with another HOME is in this state.
    """
    with GnomeKeyring(initialised=False) as keyring:
        log_in(keyring)

        assert "it has no default collection" in refused(lambda: patient().read([SESSION]))
        assert "it has no default collection" in refused(lambda: patient().delete(SESSION))
        refused(lambda: patient().add(SESSION, Secret(KEY)))


def test_no_service_at_all_goes_on_to_the_next_kind(log_in):
    """A bus without a Secret Service means only that the service is missing."""
    with GnomeKeyring(initialised=False, activatable=False) as keyring:
        log_in(keyring)

        assert "there is no Secret Service on the session bus" == refused(
            patient().probe, KeychainMissingError
        )


# The way to the bus.


def test_no_session_bus_is_missing_for_a_new_vault_and_unavailable_for_an_old_one(monkeypatch):
    """An ssh login or a cron job without a bus revokes nothing."""
    monkeypatch.delenv("DBUS_SESSION_BUS_ADDRESS", raising=False)
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)

    expected = "this login has no session bus: DBUS_SESSION_BUS_ADDRESS is not set"
    assert expected == refused(patient().probe, KeychainMissingError)
    with pytest.raises(KeychainUnavailableError) as caught:
        patient().read([SESSION])
    assert KeychainUnavailableError is type(caught.value)


def test_the_bus_in_the_runtime_directory_is_found_without_the_variable(keyring, monkeypatch):
    """Cron jobs and services find the bus that systemd started."""
    patient().add(SESSION, Secret(KEY))
    monkeypatch.delenv("DBUS_SESSION_BUS_ADDRESS")
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(keyring.directory))

    assert holds(KEY, patient().read([SESSION])[0])


@pytest.mark.parametrize(
    "address",
    [
        "",
        ":",
        "disabled:",
        "autolaunch:",
        "unix:",
        "unix:path",
        "unix:tmpdir=/tmp",
        "tcp:host=localhost,port=1",
        "nonce",
        "unix:path=/nonexistent/keylease/bus",
        "unix:abstract=/nonexistent/keylease/bus",
    ],
)
def test_an_address_where_no_bus_is_is_missing(address, monkeypatch):
    """A bus address that leads nowhere means that the service is unavailable."""
    monkeypatch.setenv("DBUS_SESSION_BUS_ADDRESS", address)
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)

    refused(patient().probe, KeychainMissingError)
    refused(lambda: patient().read([SESSION]))


@pytest.mark.parametrize("path", ["x" * 200, "a%00b", "."])
def test_an_address_that_cannot_be_connected_to_is_unavailable(path, tmp_path, monkeypatch):
    """A bus path that is too long, has a NUL or is a directory is refused in our own words."""
    monkeypatch.setenv("DBUS_SESSION_BUS_ADDRESS", f"unix:path={tmp_path}/{path}")

    assert "the session bus" in refused(lambda: patient().read([SESSION]))


def test_a_socket_whose_bus_has_died_is_missing(keyring, monkeypatch):
    """A socket without a listener is not a bus."""
    left = keyring.directory / "left"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(left))
    monkeypatch.setenv("DBUS_SESSION_BUS_ADDRESS", f"unix:path={left}")

    said = refused(patient().probe, KeychainMissingError)

    assert "no program listens on the session bus: Connection refused" == said


# Items that keylease did not make so.


def test_a_value_that_is_no_key_is_unavailable_and_not_shown(store, secret_tool):
    """A foreign value under our name is neither a key nor a sign of revocation."""
    words = ["store", "--label=x", "service", SESSION.service, "username", "keylease"]
    secret_tool(*words, value=b"hunter2")

    said = refused(lambda: store.read([SESSION]))

    assert f"{SESSION.service} holds no key of 32 bytes in base64" in said
    assert "hunter2" not in said


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"\n",
        b"\xff\x00",
        base64.b64encode(KEY[:31]),
        base64.b64encode(KEY * 2),
        base64.b64encode(KEY) + b"\n",
        b" " + base64.b64encode(KEY),
    ],
    ids=repr,
)
def test_a_value_that_is_nearly_a_key_is_unavailable(store, secret_tool, value):
    """A key is 32 bytes in base64 without a line end; every other value is refused."""
    words = ["store", "--label=x", "service", SESSION.service, "username", "keylease"]
    secret_tool(*words, value=value)

    assert "holds no key" in refused(lambda: store.read([SESSION]))


def test_two_items_that_differ_are_unavailable(store, secret_tool):
    """Two different keys for one item are refused: keylease does not guess."""
    store.add(SESSION, Secret(KEY))
    words = ["--label=x", "service", SESSION.service, "username", "keylease", "copy", "1"]
    secret_tool("store", *words, value=base64.b64encode(OTHER_KEY))

    assert "2 different items" in refused(lambda: store.read([SESSION]))


def test_a_copy_of_the_key_is_the_key_and_is_deleted_with_it(store, secret_tool):
    """A duplicate of the item with the same key does no harm, and deleting removes both."""
    store.add(SESSION, Secret(KEY))
    words = ["--label=x", "service", SESSION.service, "username", "keylease", "copy", "1"]
    secret_tool("store", *words, value=base64.b64encode(KEY))

    assert holds(KEY, store.read([SESSION])[0])
    assert store.delete(SESSION)
    assert absent(store, SESSION)


# Cost.


READ = """
import sys
from keylease.system.clock import Deadline
from keylease.keystores import open_keystore
from keylease.keystores.base import Item
open_keystore("secret-service", Deadline(20)).read([Item("0123456789abcdef", "session-key", 1)])
print(*sys.modules)
"""


def test_nothing_heavy_is_imported(keyring):
    """The helper, which starts for every git command, loads no event loop and no second client."""
    told = subprocess.run(
        [sys.executable, "-c", READ],
        env=os.environ | keyring.environment | {"PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    modules = set(told.stdout.split())

    heavy = {"asyncio", "keyring", "secretstorage", "logging", "dataclasses", "pathlib"}
    assert set() == heavy & modules
    assert "jeepney" in modules


def test_no_connection_is_left_open(keyring):
    """A long-lived process leaks no descriptor, however often it asks and whatever it is told."""
    patient().add(SESSION, Secret(KEY))
    before = open_files()

    for _ in range(3):
        patient().read([SESSION, AUDIT])
    keyring.lock()
    refused(lambda: patient().read([SESSION]))
    keyring.stop()
    refused(lambda: hasty().read([SESSION]))
    keyring.resume()

    assert before == open_files()
