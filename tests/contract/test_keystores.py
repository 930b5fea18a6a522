"""Every keychain that this machine has, held against the one contract."""

from __future__ import annotations

import pytest
from support.kernel_keyring import require_kernel_keyring
from support.secret_service import GnomeKeyring

from keylease.keystores.kernel import KernelKeyStore
from keylease.keystores.library import LibraryKeyStore
from keylease.keystores.secretservice import SecretServiceKeyStore
from keylease.system.clock import Deadline
from keylease.testing import KeyStoreContract, MemoryKeyStore


class TestMemory(KeyStoreContract):
    """The stand-in of other tests keeps to the rules of what it stands in for."""

    @pytest.fixture
    def store(self):
        """Return an empty one."""
        return MemoryKeyStore()


class TestKernel(KeyStoreContract):
    """The real keyring of the kernel that the tests run on."""

    @pytest.fixture
    def store(self):
        """Return it, if this kernel and its sandbox let anybody have it."""
        require_kernel_keyring()
        return KernelKeyStore()

    def reopen(self, store):
        """Return another object: there is no state in either."""
        del store
        return KernelKeyStore()


@pytest.fixture(scope="module")
def gnome_keyring():
    """Give one unlocked keyring to all tests of this module."""
    with GnomeKeyring() as keyring:
        yield keyring


@pytest.fixture
def desktop(gnome_keyring, monkeypatch):
    """Log this process in to the desktop that has the keyring."""
    for name, value in gnome_keyring.environment.items():
        monkeypatch.setenv(name, value)


class TestSecretService(KeyStoreContract):
    """A real gnome-keyring on a bus of its own."""

    @pytest.fixture
    def store(self, desktop):
        """Return it, unlocked."""
        del desktop
        return SecretServiceKeyStore(Deadline(20))

    def reopen(self, store):
        """Return another object, with a connection of its own."""
        del store
        return SecretServiceKeyStore(Deadline(20))


class TestLibrary(KeyStoreContract):
    """A backend of the keyring library that keeps its secrets in a real gnome-keyring."""

    BACKEND = "keyring.backends.SecretService.Keyring"

    @pytest.fixture
    def store(self, desktop):
        """Return it, unlocked."""
        del desktop
        return self.reopen(None)

    def reopen(self, store):
        """Return another object, with a backend of its own."""
        del store
        return LibraryKeyStore(f"library:{self.BACKEND}", self.BACKEND, Deadline(20))
