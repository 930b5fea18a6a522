"""A keychain is chosen by name, or by what the machine has."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from support import backends

import keylease
from keylease import keystores
from keylease.errors import KeychainMissingError, KeychainUnavailableError, UsageError
from keylease.keystores import KEYSTORES, PREFERENCE, choose, open_keystore
from keylease.system.clock import Deadline
from keylease.testing import MemoryKeyStore


@pytest.mark.parametrize(
    "name",
    [
        "",
        ":",
        "Kernel",
        "kernel ",
        "kernel\n",
        "kernel:",
        "macos:x",
        "secretservice",
        "library",
        "library:",
        "plaintext",
        "file",
        "null",
        "\x1b[2J",
        "\u202ekernel",
    ],
    ids=ascii,
)
def test_an_unknown_name_is_refused_with_those_that_are_known(name):
    """An unknown name is refused with the known ones, and without control characters."""
    with pytest.raises(UsageError) as caught:
        open_keystore(name, Deadline(20))

    message = str(caught.value)
    assert "expected secret-service, kernel, macos, windows or library:MODULE.CLASS" in message
    assert message.isascii()
    assert message.isprintable()


@pytest.mark.parametrize("name", [*(set(KEYSTORES) - {"library"}), "library:support.backends.Full"])
def test_a_keychain_has_the_name_by_which_it_was_opened(name):
    """The name written into vault.json opens the same keychain again on every platform."""
    assert name == open_keystore(name, Deadline(20)).name


def test_every_platforms_preference_can_be_opened():
    """Every keychain in the preference table exists."""
    names = {name for order in PREFERENCE.values() for name in order}

    assert {name: name for name in names} == {
        name: open_keystore(name, Deadline(20)).name for name in names
    }


@pytest.mark.parametrize(
    ("platform", "first"),
    [("linux", "secret-service"), ("darwin", "macos"), ("win32", "windows")],
)
def test_the_keychain_of_the_desktop_comes_first(platform, first):
    """On a desktop the desktop's own keychain comes first."""
    assert first == PREFERENCE[platform][0]


IMPORTED = """
import sys
from keylease.system.clock import Deadline
from keylease.keystores import open_keystore
open_keystore(sys.argv[1], Deadline(20))
print(*sys.modules)
"""


@pytest.mark.parametrize(
    ("name", "needed", "unneeded"),
    [
        ("kernel", "ctypes", {"jeepney", "keyring", "asyncio", "dataclasses", "pathlib"}),
        ("secret-service", "jeepney", {"keyring", "asyncio", "dataclasses", "pathlib"}),
        ("library:support.backends.Full", "keyring", {"jeepney", "keylease.keystores.kernel"}),
    ],
)
def test_only_the_keychain_that_is_named_is_imported(name, needed, unneeded):
    """A helper imports only the keychain that it uses."""
    if needed == "jeepney":
        pytest.importorskip("jeepney", reason="secret-service: jeepney is not installed")
    source = [str(Path(keylease.__file__).parent.parent), str(Path(backends.__file__).parents[1])]
    done = subprocess.run(
        [sys.executable, "-c", IMPORTED, name],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(source)},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    modules = set(done.stdout.split())

    assert set() == unneeded & modules
    assert needed in modules


@pytest.fixture
def prefer(monkeypatch):
    """Return a function that replaces this machine's keychains, best first."""

    def prefer(**stores):
        monkeypatch.setitem(PREFERENCE, sys.platform, tuple(stores))
        monkeypatch.setattr(keystores, "open_keystore", lambda name, _: stores[name])

    return prefer


def made(state):
    """Return a keychain in memory with this state."""
    store = MemoryKeyStore()
    getattr(store, state)()
    return store


def test_the_first_that_works_is_chosen(prefer):
    """The first keychain that works is used."""
    best = MemoryKeyStore()
    prefer(best=best, other=MemoryKeyStore())

    assert best is choose(Deadline(20))


def test_a_missing_one_is_passed_over(prefer):
    """A missing keychain is skipped, so a server without a desktop uses the next."""
    other = MemoryKeyStore()
    prefer(best=made("vanish"), other=other)

    assert other is choose(Deadline(20))


@pytest.mark.parametrize("state", ["lock", "hang"])
def test_one_that_is_there_and_not_usable_is_never_passed_over(prefer, state):
    """A locked keychain is not skipped, so the key never goes into a weaker one."""
    other = MemoryKeyStore()
    prefer(best=made(state), other=other)

    with pytest.raises(KeychainUnavailableError) as caught:
        choose(Deadline(20))

    assert KeychainUnavailableError is type(caught.value)
    assert () == other.items


def test_where_all_are_missing_each_is_named_with_its_reason(prefer):
    """If all are missing, one line names each with its reason and says what to do."""
    prefer(best=made("vanish"), other=made("vanish"))

    with pytest.raises(KeychainMissingError) as caught:
        choose(Deadline(20))

    expected = (
        "no keychain can be used here (best: there is no keychain in memory;"
        " other: there is no keychain in memory)"
    )
    assert expected == str(caught.value)
    assert "--keychain" in caught.value.hint


def test_a_platform_without_any_says_so(monkeypatch):
    """An unknown system is refused; a file is never used instead."""
    monkeypatch.setattr(sys, "platform", "plan9")

    with pytest.raises(KeychainMissingError, match="none is known on plan9"):
        choose(Deadline(20))
