"""The one module that names concrete classes.

It puts the layers together: which state directory, which keychain, which clock. Nothing is opened
or made before it is used.
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
"""What keychains and locks may take together. The helper answers within 2 s, its start included."""


class Wiring:
    """What a process answers with. It is made once; each operation begins with `begin`.

    Nothing here is changed by an operation, and threads may share it. The configuration, the clocks
    and everything that opens a file or a keychain are an operation's own.

    Args:
        keychain: The name of the keychain, if the command line has one.
        timeout: The idle timeout of new sessions in seconds, if the command line has one.
        seconds: How long keychains and locks may take, in each operation.
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
        self._options = Options(timeout, keychain)
        self._seconds = seconds
        self._policy = policy
        self._shares = _shares()

    def begin(
        self,
        caller: Caller | None = None,
        options: Options | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> Operation:
        """Return what one operation works with. Its time runs from now.

        Args:
            caller: Who asks; the parent of this process if not given.
            options: What the caller's command line says; what the constructor was given otherwise.
            environment: The caller's variables; those of this process if not given.
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
            SessionStore(state, self._shares, deadline),
            AuditLog(state, deadline, caller, *_audited(configuration, open_pin())),
        )

    def choose_keystore(self) -> KeyStore:
        """Return the keychain for a new vault, into which a key can be put now.

        Raises:
            UsageError: the one that is named does not exist.
            KeychainUnavailableError: it cannot be used, or there is none.
        """
        return self.vault.choose_keystore()

    def asker(self, question: str, meaning: str) -> Asker:
        """Return the program that asks. No helper needs it, so none imports it.

        Args:
            question: Its question, word for word.
            meaning: What tells the question from others of the same program.
        """
        from keylease.store.askers import Asker, asking

        return Asker(open_state, asking(parent_process(), question), meaning)

    @property
    def session(self) -> SessionService:
        """What can be done with sessions."""
        from keylease.session.service import SessionService

        return SessionService(self.begin)

    @property
    def clock(self) -> Clock:
        """The machine's clocks."""
        return BootClock()

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

    @property
    def custody(self) -> KeyCustody:
        """What can be done with the vault key. No helper asks for it, so none imports it."""
        from keylease.vault.rotation import KeyCustody

        operation = self.begin()
        return KeyCustody(operation.clock, operation.vault, operation.store, operation.audit)

    @property
    def audit_service(self) -> AuditService:
        """What people do with the audit log. No helper asks for it, so none imports it."""
        from keylease.audit.read.service import AuditService

        return AuditService(self._reading)

    @property
    def auth(self) -> AuthenticationService:
        """Login and logout. No helper asks for it, so none imports it."""
        from keylease.session.auth import AuthenticationService

        return AuthenticationService(self.begin)

    def _reading(self) -> Reading:
        """Return what one operation on the audit log works with."""
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
    """Return who has started this process: the caller, where nobody else is."""
    return caller_of(os.getppid())


def open_state() -> Directory:
    """Open the state directory, made if need be."""
    return Directory.open(state_directory(), create=True)


def audit_directory() -> str:
    """Return the absolute path of the audit log, which need not be there."""
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
    """Return what is configured, if that can be told, and how sessions live."""
    try:
        with border(_unreadable):
            found = config.load(
                {"keychain": options.keychain or None, "idle_timeout": options.timeout},
                user=config.user_file(),
                policy=policy or config.machine_policy(),
                environment=environment,
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
