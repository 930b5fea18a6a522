"""The one module that names concrete classes.

It puts the layers together for one process: which state directory, which keychain, which clock.
Nothing is opened or made before it is used.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from keylease import keystores
from keylease.audit.log import AuditLog
from keylease.clock import BootClock, Deadline
from keylease.model import Limits
from keylease.paths import state_directory
from keylease.session import SessionService
from keylease.shares.policy import PolicyShares
from keylease.statefile import Directory
from keylease.store import SessionStore
from keylease.vault import Vault

if TYPE_CHECKING:
    from keylease.auth import AuthenticationService
    from keylease.keystores.base import KeyStore

ANSWER_SECONDS: Final = 1.8
"""What keychains and locks may take together. The helper answers within 2 s, its start included."""
KEYCHAIN_VARIABLE: Final = "KEYLEASE_KEYCHAIN"


class Wiring:
    """The collaborators of one process.

    Args:
        keychain: The name of the keychain, if the user gave one; else `KEYLEASE_KEYCHAIN` counts.
        limits: How long new sessions live.
        seconds: How long keychains and locks may take.
    """

    def __init__(
        self,
        *,
        keychain: str | None = None,
        limits: Limits = Limits(),  # noqa: B008 - a tuple of numbers, made once and never changed
        seconds: float = ANSWER_SECONDS,
    ) -> None:
        deadline = Deadline(seconds)
        wanted = keychain or os.environ.get(KEYCHAIN_VARIABLE) or None

        def open_state() -> Directory:
            return Directory.open(state_directory(), create=True)

        def choose_keystore() -> KeyStore:
            if wanted is None:
                return keystores.choose(deadline)
            keystore = keystores.open_keystore(wanted, deadline)
            keystore.probe()
            return keystore

        self.clock = BootClock()
        self.audit = AuditLog(open_state, deadline)
        self.store = SessionStore(open_state, PolicyShares(), deadline)
        self.vault = Vault(
            open_state,
            open_keystore=lambda name: keystores.open_keystore(name, deadline),
            choose_keystore=choose_keystore,
            wanted=wanted,
            deadline=deadline,
        )
        self.session = SessionService(
            clock=self.clock,
            vault=self.vault,
            store=self.store,
            audit=self.audit,
            limits=limits,
            deadline=deadline,
        )

    @property
    def auth(self) -> AuthenticationService:
        """Login and logout. No helper asks for it, so none imports it."""
        from keylease.auth import AuthenticationService

        return AuthenticationService(self.session, self.audit, self.clock)
