"""Wiring: choose the concrete state directory, keychain, clock and other collaborators.

No other module names concrete classes. Nothing is opened or made before its first use.
"""

from __future__ import annotations

import hashlib
import os
import sys
from typing import TYPE_CHECKING, Final

from keylease import config, keystores
from keylease.audit.caller import caller_of
from keylease.audit.chain import Surroundings
from keylease.audit.log import AuditLog, Configured
from keylease.audit.pin import FirstOf, Nowhere
from keylease.audit.witness import Nobody, SystemLog
from keylease.errors import ConfigError, StateError
from keylease.faults import border
from keylease.model import Options, Settings
from keylease.session.operation import HeldState, Operation
from keylease.shares.policy import PolicyShares
from keylease.statefile import Directory
from keylease.store.store import SessionStore
from keylease.system.clock import BootClock, Deadline
from keylease.system.paths import state_directory
from keylease.vault.vault import Vault

if TYPE_CHECKING:
    from collections.abc import Mapping

    from keylease.audit.pin import PinStore
    from keylease.audit.read.service import AuditService, Reading
    from keylease.audit.witness import Witness
    from keylease.keystores.base import KeyStore
    from keylease.model import Caller
    from keylease.secrets.secret import Secret
    from keylease.session.auth import AuthenticationService
    from keylease.session.service import SessionService
    from keylease.shares.base import ShareStore
    from keylease.store.askers import Asker
    from keylease.system.clock import Clock
    from keylease.vault.rotation import KeyCustody

ANSWER_SECONDS: Final = 1.8
"""The time for keychains and locks together. The helper answers within 2 s, including its start."""


class Beginning:
    """The services, and the parts of an operation that begins now, of what can `begin` one."""

    def begin(
        self,
        caller: Caller | None = None,
        options: Options | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> Operation:
        """Return a new operation. Each subclass has its own."""
        raise NotImplementedError

    @property
    def session(self) -> SessionService:
        """The operations on sessions."""
        from keylease.session.service import SessionService

        return SessionService(self.begin)

    @property
    def auth(self) -> AuthenticationService:
        """Login and logout. No helper needs it, so none imports it."""
        from keylease.session.auth import AuthenticationService

        return AuthenticationService(self.begin)

    @property
    def custody(self) -> KeyCustody:
        """The operations on the vault key. No helper needs it, so none imports it."""
        from keylease.vault.rotation import KeyCustody

        operation = self.begin()
        return KeyCustody(operation.clock, operation.vault, operation.store, operation.audit)

    @property
    def vault(self) -> Vault:
        """The vault, for one operation that begins now."""
        return self.begin().vault

    @property
    def store(self) -> SessionStore:
        """The sessions on the disk, for one operation that begins now."""
        return self.begin().store

    @property
    def audit(self) -> AuditLog:
        """The audit log, for one operation that begins now."""
        return self.begin().audit


class Wiring(Beginning):
    """Begins the operations of one process.

    Operations do not change it, so threads may share it. Each operation has its own configuration,
    clocks, files and keychain.

    Args:
        keychain: The keychain's name from the command line, if given.
        timeout: The idle timeout of new sessions in seconds from the command line, if given.
        seconds: How long keychains and locks may take in each operation.
        policy: The place of the machine's policy, for tests. No variable or option can set it.
    """

    def __init__(
        self,
        *,
        keychain: str | None = None,
        timeout: int | None = None,
        seconds: float = ANSWER_SECONDS,
        policy: config.Place | None = None,
    ) -> None:
        self._options = Options(timeout, keychain)
        self._seconds = seconds
        self._policy = policy

    def begin(
        self,
        caller: Caller | None = None,
        options: Options | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> Operation:
        """Return a new operation. Its deadline starts now.

        Args:
            caller: The caller; the parent of this process if not given.
            options: The caller's options; the constructor's if not given.
            environment: The caller's environment; that of this process if not given.
        """
        deadline = Deadline(self._seconds)
        options = self._options if options is None else options
        environment = os.environ if environment is None else environment
        configuration, settings = _configured(options, environment, self._policy)
        wanted = configuration.keychain if configuration else options.keychain or None
        caller = caller or parent_process()
        state = HeldState(open_state)
        return Operation(
            caller,
            BootClock(),
            deadline,
            settings,
            state,
            Vault(
                state,
                open_keystore=lambda name: keystores.open_keystore(name, deadline),
                choose_keystore=lambda: _choose_keystore(wanted, deadline),
                wanted=wanted,
                deadline=deadline,
            ),
            SessionStore(state, _shares(), deadline),
            AuditLog(state, deadline, caller, *_audited(configuration, open_pin())),
        )

    def asker(self, question: str, meaning: str) -> Asker:
        """Return the process that asks. Helpers do not import it.

        Args:
            question: The exact text of its question.
            meaning: Identifies the question among others of the same program.
        """
        from keylease.store.askers import Asker, asking

        return Asker(open_state, asking(parent_process(), question), meaning)

    @property
    def clock(self) -> Clock:
        """The machine's clocks."""
        return BootClock()

    @property
    def audit_service(self) -> AuditService:
        """The audit service. Helpers do not import it."""
        from keylease.audit.read.service import AuditService

        return AuditService(self._reading)

    def _reading(self) -> Reading:
        """Return the collaborators of one operation on the audit log."""
        from keylease.audit.read.service import Reading

        operation = self.begin()

        def keys() -> list[Secret]:
            return operation.vault.audit_keys() if os.path.isdir(state_directory()) else []

        return Reading(
            operation.audit,
            operation.clock,
            operation.deadline,
            open_pin(),
            audit_directory,
            open_state,
            keys,
        )


def parent_process() -> Caller:
    """Return the parent of this process, which is the default caller."""
    return caller_of(os.getppid())


def open_state() -> Directory:
    """Open the state directory; make it if necessary."""
    return Directory.open(state_directory(), create=True)


def audit_directory() -> str:
    """Return the absolute path of the audit log, which may not exist."""
    return os.path.join(state_directory(), "audit")


def _choose_keystore(wanted: str | None, deadline: Deadline) -> KeyStore:
    if wanted is None:
        return keystores.choose(deadline)
    keystore = keystores.open_keystore(wanted, deadline)
    keystore.probe()
    return keystore


def _configured(
    options: Options, environment: Mapping[str, str], policy: config.Place | None
) -> tuple[config.Configuration | None, Settings]:
    """Return the configuration, `None` if it is broken, and the settings of sessions."""
    try:
        with border(_unreadable):
            found = config.load(
                {"keychain": options.keychain or None, "idle_timeout": options.timeout},
                user=config.user_file(),
                policy=policy or config.machine_policy(),
                environment=environment,
            )
    except ConfigError as error:
        # Not swallowed: every release raises it. Ending goes on, because a typo in a file must not
        # keep a session alive that its user wants to end.
        return None, Settings(refusal=error)
    return found, found.settings


def _unreadable(fault: BaseException) -> ConfigError:
    name = type(fault).__name__
    return ConfigError(f"the configuration cannot be read: its parser failed with {name}")


def _audited(
    configuration: config.Configuration | None, pin: PinStore
) -> tuple[Surroundings, Configured | None]:
    """Return the audit log's arguments from the configuration."""
    if configuration is None:
        # The retention is unknown, so keep every day.
        return Surroundings(pin, Nobody(), None), None
    witness: Witness = SystemLog() if configuration.witness == "syslog" else Nobody()
    around = Surroundings(pin, witness, configuration.retention_days)
    return around, Configured(configuration.digest, configuration.files)


def open_pin() -> PinStore:
    """Return the pin store of this state directory's audit log."""
    try:
        name = state_name()
    except StateError:
        return Nowhere()  # opening the log raises the same error
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
        """Remove the pin of this state directory's audit log from the kernel."""
        from keylease.audit.pin import KernelPin
        from keylease.system.keyctl import Calls

        KernelPin(state_name(), Calls).remove()


def state_name() -> str:
    """Return 16 hexadecimal digits that identify the state directory."""
    return hashlib.sha256(os.fsencode(state_directory())).hexdigest()[:16]


def _shares() -> tuple[ShareStore, ...]:
    """Return the share stores of this platform, best first."""
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
        # Each state directory has its own, so that a sweep cannot remove the shares of another.
        path = os.path.join(runtime_directory(), f"keylease-{state_name()}")
        return Directory.open(path, create=create)
