"""A keychain through a named backend of the `keyring` library.

For the macOS Keychain, the Windows Credential Manager, and any other keychain that has a backend.
The library's own choice of a backend is never used: an environment variable or a configuration file
can change it, and then another store would answer "absent".

Backends that do not keep secrets, or keep them in a file, are refused. No call outlasts the
deadline: a backend has no timeouts, so each call runs in a thread, and a call that hangs is
abandoned with its thread. All exceptions of a backend become our own here.
"""

from __future__ import annotations

import sys
import threading
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final, Generic, NamedTuple, NoReturn, TypeVar

from keylease.errors import KeychainMissingError, KeychainUnavailableError, UsageError
from keylease.keystores.base import KEY_BYTES, USERNAME, Item, answering, key_from_text
from keylease.secrets import base64text
from keylease.secrets.memory import secure_clear

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from keyring.backend import KeyringBackend

    from keylease.keystores.base import KeyStore
    from keylease.secrets.secret import Secret
    from keylease.system.clock import Deadline

T = TypeVar("T")

MACOS: Final = "keyring.backends.macOS.Keyring"
WINDOWS: Final = "keyring.backends.Windows.WinVaultKeyring"

NAMES: Final = {"macos": (MACOS, "darwin"), "windows": (WINDOWS, "win32")}
"""The backends that have their own name in `KEYSTORES`, with their platform."""


class _Known(NamedTuple):
    """Facts about a backend beyond its class."""

    title: str
    removal: str
    """The platform's own command; `{0}` is the service."""
    properties: Mapping[str, Any]
    """Attributes to set on the backend."""
    not_found: int
    """The platform's code for "there is no such item"."""
    reasons: Mapping[int, str]
    """The platform's other codes, in words."""


KNOWN: Final = {
    MACOS: _Known(
        title="macOS Keychain",
        removal=f"security delete-generic-password -s {{0}} -a {USERNAME}",
        # If KEYCHAIN_PATH is set, the backend warns on stderr that it does not use it.
        properties={"keychain": None},
        # SecBase.h. The backend knows four of these and reports the rest as "Unknown Error".
        not_found=-25300,
        reasons={
            -25308: "it is locked, and this login may not ask to unlock it",
            -128: "access to it was denied",
            -25293: "access to it was denied",
            -25291: "no keychain service is running in this login",
            -25307: "this user has no default keychain",
            -34018: "this Python is not signed in the way that it demands",
            -67030: "this Python is not signed in the way that it demands",
        },
    ),
    WINDOWS: _Known(
        title="Windows Credential Manager",
        removal="cmdkey /delete:{0}",
        # By default the backend lets credentials roam with the profile to other machines.
        properties={"persist": "local machine"},
        # winerror.h. The backend passes on the system's errors unchanged.
        not_found=1168,
        reasons={
            5: "access to it was denied",
            1312: "this logon session has none (a service, or a login by ssh)",
            1783: "the value is too long for it",
        },
    ),
}

# Refuse a backend if it or a base class is defined in one of these modules or below. The reason
# follows the word "it".
REFUSED: Final = {
    "keyring.backends.null": "keeps nothing",
    "keyring.backends.fail": "refuses everything",
    "keyring.backends.chainer": "may read from one keychain and write to another",
    "keylease.embed.keyring_backend": "reads the sessions that this key protects",
    "keyrings.alt": "is not recommended by its own authors; most of its backends are files",
    "keyrings.cryptfile": "is a file with a password that the user has to type",
}

# keyring.backend.KeyringBackend.priority: "a priority of one or greater is recommended".
RECOMMENDED: Final = 1


@answering
class LibraryKeyStore:
    """One backend of the `keyring` library.

    Args:
        name: The name in `keylease.keystores.KEYSTORES`.
        backend: The class, as `MODULE.CLASS`.
        deadline: When every operation must have ended.

    Raises:
        UsageError: it is not a backend, or does not keep secrets.
        KeychainUnavailableError: it cannot be loaded.
    """

    survives_reboot = True

    def __init__(self, name: str, backend: str, deadline: Deadline) -> None:
        self.name = name
        self.title = f"keyring backend {backend}"
        self._path = backend
        self._deadline = deadline
        self._known: _Known | None = None
        self._instance: KeyringBackend | None = None
        self._class = self._load()
        lineage = map(_path, self._class.__mro__)
        self._known = next((KNOWN[path] for path in lineage if path in KNOWN), None)
        if self._known:
            self.title = self._known.title

    def instance(self) -> str:
        """Return an empty text: a backend cannot identify its keychain."""
        return ""

    def probe(self) -> None:
        """Return if the backend claims to work here, and answers.

        Raises:
            UsageError: its own authors do not recommend it for secrets.
            KeychainMissingError: it says that it does not work here.
            KeychainUnavailableError: it is locked, broken or too slow.
        """
        outcome = self._run(lambda: float(self._class.priority))
        if isinstance(outcome.error, RuntimeError):
            # keyring.backend.KeyringBackend.priority: an exception means "not suitable".
            msg = f"the {self.title} is not on this machine, or its packages are not installed"
            raise KeychainMissingError(msg)
        if self._value(outcome) < RECOMMENDED:
            msg = f"{self._path} is not recommended by its own authors for keeping secrets"
            raise UsageError(msg, _NAME_ANOTHER)
        # This item never exists; only the fact of an answer counts.
        self._get(Item("0" * 16, "session-key", 0))

    def read(self, items: Sequence[Item]) -> list[Secret | None]:
        """Return each key, or `None` if the keychain itself says that it has none.

        Raises:
            KeychainUnavailableError: it is locked, broken or too slow, or a value is not a key.
        """
        return [self._get(item) for item in items]

    def add(self, item: Item, key: Secret) -> None:
        """Store a new item, and read it back. Search first, because the library would overwrite.

        The search is no lock: the callers hold the lock of the vault.

        Raises:
            KeychainUnavailableError: the item exists already, or was not stored.
        """
        if self._text(item) is not None:
            self._refuse(f"{item.service} is there already, and an item is never overwritten")
        encoded = base64text.encode(key.reveal())
        # The library takes only `str`, and that copy cannot be wiped.
        text = str(encoded, "ascii")
        secure_clear(encoded)
        self._value(self._run(lambda: self._backend().set_password(item.service, USERNAME, text)))
        stored = self._get(item)
        if stored is None or not stored.matches(key):
            self._refuse(f"{item.service} was added but is not read back unchanged")

    def delete(self, item: Item) -> bool:
        """Delete the item, and check that it is absent.

        Raises:
            KeychainUnavailableError: it is locked, broken or too slow, or the item still exists.
        """
        if self._text(item) is None:
            return False
        deleted = self._run(lambda: self._backend().delete_password(item.service, USERNAME))
        # Only the check counts: an error can mean that another process deleted it first.
        if self._text(item) is not None:
            self._value(deleted)
            self._refuse(f"{item.service} was deleted and is still there")
        return True

    def removal_command(self, item: Item) -> str:
        """Return the platform's own command, or else the library's."""
        if self._known:
            return self._known.removal.format(item.service)
        return f"keyring --keyring-backend {self._path} del {item.service} {USERNAME}"

    def _load(self) -> type[KeyringBackend]:
        """Import the class. Check its name before the import, and its base classes after it."""
        _judge(self._path, self._path)
        no_backend = UsageError(
            f"{self._path} is no backend of the keyring library: expected MODULE.CLASS",
            _NAME_ANOTHER,
        )
        module, _, name = self._path.rpartition(".")
        if not all(part.isidentifier() for part in (*module.split("."), name)):
            raise no_backend
        outcome = self._run(lambda: (import_module("keyring.backend"), import_module(module)))
        if isinstance(outcome.error, ImportError):
            msg = f"{self._path} cannot be imported: no module {outcome.error.name}"
            raise KeychainMissingError(msg, "install the package that has it")
        library, imported = self._value(outcome)
        backend = getattr(imported, name, None)
        if not isinstance(backend, type) or not issubclass(backend, library.KeyringBackend):
            raise no_backend
        for ancestor in backend.__mro__:
            _judge(self._path, _path(ancestor))
        return backend

    def _backend(self) -> KeyringBackend:
        """Return the backend, built at its first use."""
        if self._instance is None:
            # The library sets a backend's properties from the variables KEYRING_PROPERTY_... They
            # can point the same class to another store, in which everything is absent.
            isolated = type(
                self._class.__name__, (self._class,), {"set_properties_from_env": _ignore}
            )
            backend: KeyringBackend = isolated()
            for name, value in self._known.properties.items() if self._known else ():
                setattr(backend, name, value)
            self._instance = backend
        return self._instance

    def _text(self, item: Item) -> object:
        """Return the keychain's value under the item's name, or `None` if it has none."""
        outcome = self._run(lambda: self._backend().get_password(item.service, USERNAME))
        error = outcome.error
        if error is not None and self._known and self._known.not_found in _codes(error):
            return None
        return self._value(outcome)

    def _get(self, item: Item) -> Secret | None:
        text = self._text(item)
        if text is None:
            return None
        key = key_from_text([ord(each) for each in text]) if isinstance(text, str) else None
        if key is None:
            self._refuse(f"{item.service} holds no key of {KEY_BYTES} bytes in base64")
        return key

    def _run(self, function: Callable[[], T]) -> _Outcome[T]:
        """Call the function in a thread, and wait until the deadline.

        The thread is a daemon, so a hung one does not keep the process alive.
        """
        outcome = _Outcome(function)
        remaining = self._deadline.remaining()
        if remaining:
            thread = threading.Thread(target=outcome.run, name="keylease-keychain", daemon=True)
            thread.start()
            thread.join(remaining)
        if not outcome.done:
            self._refuse("it gave no answer in time")
        return outcome

    def _value(self, outcome: _Outcome[T]) -> T:
        """Return the result of the call, or raise its exception as one of our errors."""
        if outcome.error is not None:
            self._refuse(_reason(outcome.error, self._known.reasons if self._known else {}))
        return outcome.value

    def _refuse(self, reason: str) -> NoReturn:
        msg = f"the {self.title} cannot be used: {reason}"
        raise KeychainUnavailableError(msg) from None


_NAME_ANOTHER: Final = "name another keychain with --keychain or KEYLEASE_KEYCHAIN"


class _Outcome(Generic[T]):
    """A call of foreign code, with its result or exception."""

    value: T

    def __init__(self, function: Callable[[], T]) -> None:
        self._function = function
        self.error: BaseException | None = None
        self.done = False

    def run(self) -> None:
        """Call the function, and keep any exception for the thread that waits.

        A backend may raise anything: errors of the library, of D-Bus or of the platform. The thread
        itself would print an exception with its traceback on stderr.
        """
        try:
            self.value = self._function()
        except BaseException as error:  # noqa: BLE001 - see above; `_value` raises our own error
            self.error = error
        self.done = True


def _judge(asked: str, path: str) -> None:
    """Refuse a class from a module whose backends do not keep secrets.

    Raises:
        UsageError: the class is from such a module.
    """
    for module, reason in REFUSED.items():
        if path.startswith(f"{module}."):
            msg = f"{asked} cannot be a keychain: it {reason}"
            raise UsageError(msg, _NAME_ANOTHER)


def _path(backend: type) -> str:
    return f"{backend.__module__}.{backend.__qualname__}"


def _ignore(_: object) -> None:
    """Do not read properties from the environment."""


def _codes(error: BaseException) -> list[object]:
    """Return the platform's codes in a Windows error, or in the cause of a library's error."""
    cause = error.__cause__
    return [getattr(error, "winerror", None), *(cause.args[:1] if cause else ())]


def _reason(error: BaseException, reasons: Mapping[int, str]) -> str:
    """Return why a backend failed, without its own message, which can repeat its input."""
    from keyring.errors import InitError, KeyringLocked

    for code in _codes(error):
        if isinstance(code, int) and code in reasons:
            return reasons[code]
    if isinstance(error, KeyringLocked):
        return "it is locked"
    if isinstance(error, InitError):
        return "it cannot be opened"
    codes = "".join(f" {code}" for code in _codes(error) if isinstance(code, int))
    return f"it failed with {type(error).__name__}{codes}"


def open_keystore(name: str, deadline: Deadline) -> KeyStore:
    """Return the backend, or a keychain that refuses with the reason.

    Raises:
        UsageError: it is not a backend, or does not keep secrets.
    """
    from keylease.keystores.unavailable import UnavailableKeyStore

    backend, platform = NAMES.get(name, (name.partition(":")[2], sys.platform))
    if platform != sys.platform:
        reason = f"the {KNOWN[backend].title} is not on this platform ({sys.platform})"
        return UnavailableKeyStore(name, reason, KeychainMissingError)
    try:
        return LibraryKeyStore(name, backend, deadline)
    except KeychainUnavailableError as error:
        return UnavailableKeyStore(name, str(error), type(error), error.hint)
