"""The one module that names concrete classes.

It puts the layers together for one process: which state directory, which keychain, which clock.
Nothing is opened or made before it is used.
"""

from __future__ import annotations

import hashlib
import os
import sys
from typing import TYPE_CHECKING, Final

from keylease import config, keystores
from keylease.audit.log import AuditLog
from keylease.clock import BootClock, Deadline
from keylease.errors import ConfigError
from keylease.model import Settings
from keylease.paths import state_directory
from keylease.session import SessionService
from keylease.shares.policy import PolicyShares
from keylease.statefile import Directory
from keylease.store import SessionStore
from keylease.vault import Vault

if TYPE_CHECKING:
    from keylease.auth import AuthenticationService
    from keylease.custody import KeyCustody
    from keylease.keystores.base import KeyStore
    from keylease.shares.base import ShareStore

ANSWER_SECONDS: Final = 1.8
"""What keychains and locks may take together. The helper answers within 2 s, its start included."""


class Wiring:
    """The collaborators of one process.

    Args:
        keychain: The name of the keychain, if the command line has one.
        timeout: The idle timeout of new sessions in seconds, if the command line has one.
        seconds: How long keychains and locks may take.
        policy: Where the policy of the machine is, for tests; no variable and no option says so.
    """

    def __init__(
        self,
        *,
        keychain: str | None = None,
        timeout: int | None = None,
        seconds: float = ANSWER_SECONDS,
        policy: config.Place | None = None,
    ) -> None:
        deadline = Deadline(seconds)
        settings, wanted = _configured(keychain, timeout, policy)

        def open_state() -> Directory:
            return Directory.open(state_directory(), create=True)

        self._deadline, self._wanted = deadline, wanted
        self.clock = BootClock()
        self.audit = AuditLog(open_state, deadline)
        self.store = SessionStore(open_state, _shares(), deadline)
        self.vault = Vault(
            open_state,
            open_keystore=lambda name: keystores.open_keystore(name, deadline),
            choose_keystore=self.choose_keystore,
            wanted=wanted,
            deadline=deadline,
        )
        self.session = SessionService(
            clock=self.clock,
            vault=self.vault,
            store=self.store,
            audit=self.audit,
            settings=settings,
            deadline=deadline,
        )

    def choose_keystore(self) -> KeyStore:
        """Return the keychain for a new vault, into which a key can be put now.

        Raises:
            UsageError: the one that is named does not exist.
            KeychainUnavailableError: it cannot be used, or there is none.
        """
        if self._wanted is None:
            return keystores.choose(self._deadline)
        keystore = keystores.open_keystore(self._wanted, self._deadline)
        keystore.probe()
        return keystore

    @property
    def custody(self) -> KeyCustody:
        """What can be done with the vault key. No helper asks for it, so none imports it."""
        from keylease.custody import KeyCustody

        return KeyCustody(self.clock, self.vault, self.store, self.audit)

    @property
    def auth(self) -> AuthenticationService:
        """Login and logout. No helper asks for it, so none imports it."""
        from keylease.auth import AuthenticationService

        return AuthenticationService(self.session, self.audit, self.clock)


def _configured(
    keychain: str | None, timeout: int | None, policy: config.Place | None
) -> tuple[Settings, str | None]:
    """Return how sessions live, and the name of the keychain if there is one."""
    options = {"keychain": keychain or None, "idle_timeout": timeout}
    try:
        found = config.load(
            options, user=config.user_file(), policy=policy or config.machine_policy()
        )
    except ConfigError as error:
        # Not swallowed: whatever releases anything refuses with it. What ends sessions goes on,
        # or a slip in a file would keep alive what its user wants to end.
        return Settings(refusal=error), keychain or None
    return found.settings, found.keychain


def _shares() -> tuple[ShareStore, ...]:
    """Return where volatile shares can live on this platform, best first."""
    if sys.platform == "linux":
        from keylease.shares.kernel import KernelShares
        from keylease.shares.runtimedir import RuntimeDirShares

        return (
            KernelShares(),
            RuntimeDirShares(lambda: _open_runtime(create=True), _open_runtime),
            PolicyShares(),
        )
    if sys.platform == "win32":
        from keylease.shares.windows import WindowsShares

        return (WindowsShares(), PolicyShares())
    return (PolicyShares(),)


if sys.platform == "linux":
    from keylease.paths import runtime_directory

    def _open_runtime(*, create: bool = False) -> Directory:
        # One directory for each state directory, so that none sweeps the shares of another.
        name = hashlib.sha256(state_directory().encode("utf-8", "surrogateescape")).hexdigest()
        path = os.path.join(runtime_directory(), f"keylease-{name[:16]}")
        return Directory.open(path, create=create)
