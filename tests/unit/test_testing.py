"""The doubles that we offer to other projects' tests behave like the real thing."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import keylease
from keylease.errors import KeychainMissingError, KeychainUnavailableError, SessionEndedError
from keylease.keystores.base import Item
from keylease.model import Credential, Target
from keylease.secrets.secret import Secret
from keylease.testing import (
    FrozenClock,
    KeyStoreContract,
    MemoryKeyStore,
    MemoryWiring,
    memory_service,
)

SECOND = 1_000_000_000
ITEM = Item("0123456789abcdef", "session-key", 1)
KEY = bytes(range(32))
TARGET = Target("web", "https", "api.example.com")
CALLS = {
    "instance": lambda store: store.instance(),
    "probe": lambda store: store.probe(),
    "read": lambda store: store.read([ITEM]),
    "add": lambda store: store.add(ITEM._replace(generation=2), Secret(KEY)),
    "delete": lambda store: store.delete(ITEM),
}


@pytest.fixture
def clock():
    """Return a clock at its start."""
    return FrozenClock()


@pytest.fixture
def store():
    """Return a keychain with one key in it."""
    store = MemoryKeyStore()
    store.add(ITEM, Secret(KEY))
    return store


def test_the_clock_stands_still(clock):
    """The clock does not move by itself, even in a slow test."""
    assert clock.now() == clock.now()


def test_advance_moves_both_clocks(clock):
    """Advancing moves the wall clock and the boot clock."""
    before = clock.now()
    clock.advance(0.5)
    after = clock.now()

    assert SECOND // 2 == after.wall_ns - before.wall_ns == after.boot_ns - before.boot_ns
    assert before.boot == after.boot


def test_suspend_counts_on_both_clocks(clock):
    """Suspended time counts on both clocks."""
    before = clock.now()
    clock.suspend(3600)

    assert 3600 * SECOND == clock.now().boot_ns - before.boot_ns


def test_set_wall_moves_the_wall_clock_alone(clock):
    """Setting the wall clock does not move the boot clock."""
    before = clock.now()
    clock.set_wall(0)

    assert (0, before.boot_ns, before.boot) == clock.now()


def test_reboot_is_another_boot_that_is_younger(clock):
    """After a reboot the boot id differs and the boot clock starts again."""
    before = clock.now()
    clock.reboot(30)
    after = clock.now()

    assert before.boot != after.boot
    assert after.boot_ns < before.boot_ns
    assert 30 * SECOND == after.wall_ns - before.wall_ns
    assert len(before.boot) == len(after.boot) == 32


@pytest.mark.parametrize(
    ("state", "kind"),
    [
        ("lock", KeychainUnavailableError),
        ("hang", KeychainUnavailableError),
        ("vanish", KeychainMissingError),
    ],
)
@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_a_state_refuses_every_call_and_loses_nothing(store, state, kind, call):
    """Locked, hung and missing refuse every call; afterwards everything is as before."""
    getattr(store, state)()
    with pytest.raises(KeychainUnavailableError) as caught:
        call(store)
    assert kind is type(caught.value)
    assert (ITEM,) == store.items

    store.recover()
    assert store.read([ITEM])[0].matches(Secret(KEY))


@pytest.mark.parametrize("survives", [True, False])
def test_a_reboot_empties_what_does_not_survive_it(survives):
    """A keychain in memory can act like the kernel's or like the desktop's."""
    store = MemoryKeyStore(survives_reboot=survives)
    store.add(ITEM, Secret(KEY))

    store.reboot()

    assert (ITEM,) * survives == store.items


def test_an_instance_can_be_given():
    """Two keychains of one kind can be told apart."""
    assert "here" == MemoryKeyStore(instance="here").instance()


def rules():
    """Return the tests of the contract by name."""
    return {name: rule for name, rule in vars(KeyStoreContract).items() if name[:5] == "test_"}


class Forgetful(MemoryKeyStore):
    """A keychain that accepts keys and stores none."""

    def add(self, item, key):
        """Do nothing."""


class Overwriting(MemoryKeyStore):
    """A keychain that replaces an existing key."""

    def add(self, item, key):
        """Delete first."""
        self.delete(item)
        super().add(item, key)


class Sharing(MemoryKeyStore):
    """A keychain that returns the object that it keeps."""

    def read(self, items):
        """Return the stored object itself."""
        return [self._keys.get(item) for item in items]


class Prefixing(MemoryKeyStore):
    """A keychain that matches names by their beginning."""

    def read(self, items):
        """Return the first match."""
        return [
            next(
                (Secret(k.reveal()) for i, k in self._keys.items() if i.service.startswith(s)), None
            )
            for s in (item.service for item in items)
        ]


class Sorting(MemoryKeyStore):
    """A keychain that answers in its own order."""

    def read(self, items):
        """Return the keys sorted by name."""
        return super().read(sorted(items))


class Sticky(MemoryKeyStore):
    """A keychain that deletes nothing."""

    def delete(self, item):
        """Report success."""
        return item in self._keys


class Shouting(MemoryKeyStore):
    """A keychain whose repr shows its keys."""

    def __repr__(self):
        """Show everything."""
        return " ".join(bytes(key.reveal()).hex() for key in self._keys.values())


@pytest.mark.parametrize(
    "broken", [Forgetful, Overwriting, Sharing, Prefixing, Sorting, Sticky, Shouting]
)
def test_the_contract_catches_a_broken_keychain(broken):
    """Each rule of the contract fails for a keychain that breaks it."""
    failed = []
    for name, rule in rules().items():
        try:
            rule(KeyStoreContract(), broken())
        except (AssertionError, KeychainUnavailableError) as error:
            failed.append(f"{name}: {error}")

    assert failed
    assert KEY.hex() not in "".join(failed)


def test_the_contract_passes_a_good_keychain():
    """The control: a good keychain passes, so the broken ones fail for their own fault."""
    for rule in rules().values():
        rule(KeyStoreContract(), MemoryKeyStore())


def test_memory_service_is_a_real_one_in_one_line(tmp_path):
    """One line gives a test its own sessions, in a directory that may not exist yet."""
    sessions = memory_service(tmp_path / "state")

    session = sessions.create(TARGET, Credential("ada", Secret(b"token")))

    assert session.id == sessions.get(TARGET).session.id
    assert 1 == len(list(tmp_path.glob("state/sessions/*/*.sealed")))


def test_memory_service_lives_by_what_the_test_moves(tmp_path, clock):
    """A test can advance time and lock the keychain, and sees what its users would see."""
    keystore = MemoryKeyStore()
    sessions = memory_service(tmp_path / "state", clock=clock, keystore=keystore)
    sessions.create(TARGET, Credential("ada", Secret(b"token")))

    keystore.lock()
    with pytest.raises(KeychainUnavailableError):
        sessions.get(TARGET)
    keystore.recover()
    clock.advance(900)
    with pytest.raises(SessionEndedError, match="idle"):
        sessions.get(TARGET)


def test_next_process_finds_the_sessions_of_the_one_before(tmp_path):
    """The sessions are in the state, so they outlive the object that made them."""
    one = MemoryWiring(tmp_path / "state")
    one.auth.login(TARGET, Credential("ada", Secret(b"token")))
    other = MemoryWiring(tmp_path / "state", clock=one.clock, keystore=one.keystore)

    assert "ada" == other.auth.current(TARGET).username


def test_importing_it_needs_no_pytest():
    """The clock can be used with another test runner than pytest."""
    done = subprocess.run(
        [sys.executable, "-c", "import sys, keylease.testing; print(*sys.modules)"],
        env=os.environ | {"PYTHONPATH": str(Path(keylease.__file__).parent.parent)},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )

    assert "keylease.testing" in done.stdout.split()
    assert "pytest" not in done.stdout.split()
