"""Every keychain of this machine keeps the same contract."""

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
    """The fake that other tests use keeps the contract too."""

    @pytest.fixture
    def store(self):
        """Return an empty fake."""
        return MemoryKeyStore()


class TestKernel(KeyStoreContract):
    """The real kernel keyring keeps the contract."""

    @pytest.fixture
    def store(self):
        """Return the keyring, if this kernel and its sandbox allow it."""
        require_kernel_keyring()
        return KernelKeyStore()

    def reopen(self, store):
        """Return another object; neither has state."""
        del store
        return KernelKeyStore()


@pytest.fixture(scope="module")
def gnome_keyring():
    """Share one unlocked keyring among all tests of this module."""
    with GnomeKeyring() as keyring:
        yield keyring


@pytest.fixture
def desktop(gnome_keyring, monkeypatch):
    """Connect this process to the keyring's desktop bus."""
    for name, value in gnome_keyring.environment.items():
        monkeypatch.setenv(name, value)


class TestSecretService(KeyStoreContract):
    """A real gnome-keyring on a private bus keeps the contract."""

    @pytest.fixture
    def store(self, desktop):
        """Return the unlocked keyring."""
        del desktop
        return SecretServiceKeyStore(Deadline(20))

    def reopen(self, store):
        """Return another object with its own connection."""
        del store
        return SecretServiceKeyStore(Deadline(20))


class TestLibrary(KeyStoreContract):
    """The keyring library with a real gnome-keyring keeps the contract."""

    BACKEND = "keyring.backends.SecretService.Keyring"

    @pytest.fixture
    def store(self, desktop):
        """Return the unlocked keyring."""
        del desktop
        return self.reopen(None)

    def reopen(self, store):
        """Return another object with its own backend."""
        del store
        return LibraryKeyStore(f"library:{self.BACKEND}", self.BACKEND, Deadline(20))
