"""Every keychain that this machine has, held against the one contract."""

from __future__ import annotations

import pytest

from keylease.testing import KeyStoreContract, MemoryKeyStore


class TestMemory(KeyStoreContract):
    """The stand-in of other tests keeps to the rules of what it stands in for."""

    @pytest.fixture
    def store(self):
        """Return an empty one."""
        return MemoryKeyStore()
