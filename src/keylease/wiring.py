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
from keylease.audit.chain import Surroundings
from keylease.audit.log import AuditLog, Configured
from keylease.audit.pin import FirstOf, Nowhere
from keylease.audit.witness import Nobody, SystemLog
from keylease.errors import ConfigError, StateError
from keylease.faults import border
from keylease.model import Settings
from keylease.session.service import SessionService
from keylease.shares.policy import PolicyShares
from keylease.statefile import Directory
from keylease.store.listed import Listings, parent
from keylease.store.store import SessionStore
from keylease.system.clock import BootClock, Deadline
from keylease.system.paths import state_directory
from keylease.vault.vault import Vault

if TYPE_CHECKING:
    from keylease.audit.pin import PinStore
    from keylease.audit.read.service import AuditService
    from keylease.audit.witness import Witness
    from keylease.keystores.base import KeyStore
    from keylease.session.auth import AuthenticationService
    from keylease.shares.base import ShareStore
    from keylease.store.askers import Asker
    from keylease.vault.rotation import KeyCustody

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
        deadline = self._deadline = Deadline(seconds)
        wished = keychain or None
        configuration, settings = _configured(wished, timeout, policy)
        wanted = configuration.keychain if configuration else wished

        self._deadline, self._wanted = deadline, wanted
        self.clock = BootClock()
        self.pin = open_pin()
        self.audit = AuditLog(open_state, deadline, *_audited(configuration, self.pin))
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
            listings=Listings(open_state, parent),
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

    def asker(self, question: str, meaning: str) -> Asker:
        """Return the program that asks. No helper needs it, so none imports it.

        Args:
            question: Its question, word for word.
            meaning: What tells the question from others of the same program.
        """
        from keylease.store.askers import Asker, asking

        return Asker(open_state, asking(question), meaning)

    @property
    def custody(self) -> KeyCustody:
        """What can be done with the vault key. No helper asks for it, so none imports it."""
        from keylease.vault.rotation import KeyCustody

        return KeyCustody(self.clock, self.vault, self.store, self.audit)

    @property
    def audit_service(self) -> AuditService:
        """What people do with the audit log. No helper asks for it, so none imports it."""
        from keylease.audit.read.service import AuditService

        return AuditService(
            self.audit,
            self.clock,
            audit_directory,
            open_state,
            self.pin,
            lambda: self.vault.audit_keys() if os.path.isdir(state_directory()) else [],
            self._deadline,
        )

    @property
    def auth(self) -> AuthenticationService:
        """Login and logout. No helper asks for it, so none imports it."""
        from keylease.session.auth import AuthenticationService

        return AuthenticationService(self.session, self.audit, self.clock)


def open_state() -> Directory:
    """Open the state directory, made if need be."""
    return Directory.open(state_directory(), create=True)


def audit_directory() -> str:
    """Return the absolute path of the audit log, which need not be there."""
    return os.path.join(state_directory(), "audit")


def _configured(
    keychain: str | None, timeout: int | None, policy: config.Place | None
) -> tuple[config.Configuration | None, Settings]:
    """Return what is configured, if that can be told, and how sessions live."""
    options = {"keychain": keychain, "idle_timeout": timeout}
    try:
        with border(_unreadable):
            found = config.load(
                options, user=config.user_file(), policy=policy or config.machine_policy()
            )
    except ConfigError as error:
        # Not swallowed: whatever releases anything refuses with it. What ends sessions goes on,
        # or a slip in a file would keep alive what its user wants to end.
        return None, Settings(refusal=error)
    return found, found.settings


def _unreadable(fault: BaseException) -> ConfigError:
    name = type(fault).__name__
    return ConfigError(f"the configuration cannot be read: its parser failed with {name}")


def _audited(
    configuration: config.Configuration | None, pin: PinStore
) -> tuple[Surroundings, Configured | None]:
    """Return what the audit log is told of the configuration."""
    if configuration is None:
        # How long days are kept is not known, so all of them are.
        return Surroundings(pin, Nobody(), None), None
    witness: Witness = SystemLog() if configuration.witness == "syslog" else Nobody()
    around = Surroundings(pin, witness, configuration.retention_days)
    return around, Configured(configuration.digest, configuration.files)


def open_pin() -> PinStore:
    """Return where the pin of this state directory's audit log is."""
    try:
        name = state_name()
    except StateError:
        return Nowhere()  # nor is there a log; whoever opens it is told why
    if sys.platform == "linux":
        from keylease.audit.pin import KernelPin, RuntimeDirPin
        from keylease.system.keyctl import Calls

        runtime = RuntimeDirPin(lambda: _open_runtime(create=True), _open_runtime)
        return FirstOf(KernelPin(name, Calls), runtime)
    if sys.platform == "win32":
        from keylease.audit.pin import WindowsPin

        return WindowsPin(name)
    return Nowhere()


if sys.platform == "linux":

    def remove_pin() -> None:
        """Take the pin of this state directory's audit log out of the kernel."""
        from keylease.audit.pin import KernelPin
        from keylease.system.keyctl import Calls

        KernelPin(state_name(), Calls).remove()


def state_name() -> str:
    """Return 16 hexadecimal digits that tell one state directory from another."""
    return hashlib.sha256(os.fsencode(state_directory())).hexdigest()[:16]


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
    from keylease.system.paths import runtime_directory

    def _open_runtime(*, create: bool = False) -> Directory:
        # One directory for each state directory, so that none sweeps the shares of another.
        path = os.path.join(runtime_directory(), f"keylease-{state_name()}")
        return Directory.open(path, create=create)
