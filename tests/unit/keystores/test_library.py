"""The store on the keyring library: good, broken and lying backends, and platform errors."""

from __future__ import annotations

import os
import subprocess
import sys
import types
from pathlib import Path

import keyring.backends.macOS
import keyring.backends.Windows
import pytest
from keyring.errors import InitError, KeyringError, KeyringLocked, NoKeyringError, PasswordSetError
from support import backends

import keylease
from keylease.errors import KeychainMissingError, KeychainUnavailableError, UsageError
from keylease.keystores import open_keystore
from keylease.keystores.base import Item
from keylease.keystores.library import KNOWN, MACOS, WINDOWS, LibraryKeyStore
from keylease.keystores.unavailable import UnavailableKeyStore
from keylease.secrets.secret import Secret
from keylease.system.clock import Deadline
from keylease.testing import KeyStoreContract

KEY = bytes(range(224, 256))
VALUE = "4OHi4+Tl5ufo6err7O3u7/Dx8vP09fb3+Pn6+/z9/v8="
SESSION = Item("0123456789abcdef", "session-key", 1)


@pytest.fixture(autouse=True)
def _empty(monkeypatch):
    """Start every test with no stored values."""
    monkeypatch.setattr(backends.Dictionary, "kept", {})


def opened(backend, seconds=20):
    """Return the store on one of the backends in `support.backends`."""
    path = f"support.backends.{backend}"
    return LibraryKeyStore(f"library:{path}", path, Deadline(seconds))


def refused(call, kind=KeychainUnavailableError):
    """Return the error, which must be of exactly this kind."""
    with pytest.raises((KeychainUnavailableError, UsageError)) as caught:
        call()
    assert kind is type(caught.value)
    return caught.value


OPERATIONS = {
    "probe": lambda store: store.probe(),
    "read": lambda store: store.read([SESSION]),
    "add": lambda store: store.add(SESSION, Secret(KEY)),
    "delete": lambda store: store.delete(SESSION),
}


class TestDictionary(KeyStoreContract):
    """A plain backend makes a keychain that keeps the contract."""

    @pytest.fixture
    def store(self):
        """Return a store on the dictionary backend."""
        return opened("Dictionary")


# Which backends may be named.


def test_the_value_is_the_key_in_base64():
    """`keyring get SERVICE keylease` prints the key in base64."""
    opened("Dictionary").add(SESSION, Secret(KEY))

    assert {("main", SESSION.service, "keylease"): VALUE} == backends.Dictionary.kept


@pytest.mark.parametrize(
    ("backend", "reason"),
    [
        ("keyring.backends.null.Keyring", "it keeps nothing"),
        ("keyring.backends.fail.Keyring", "it refuses everything"),
        ("keyring.backends.chainer.ChainerBackend", "it may read from one keychain and write to"),
        ("keyrings.alt.file.PlaintextKeyring", "most of its backends are files"),
        ("keyrings.alt.file.EncryptedKeyring", "most of its backends are files"),
        ("keyrings.alt.Windows.RegistryKeyring", "most of its backends are files"),
        ("keyrings.cryptfile.cryptfile.CryptFileKeyring", "a file with a password"),
        ("support.backends.Null", "it keeps nothing"),
        ("support.backends.Fail", "it refuses everything"),
        ("support.backends.NullKeyring", "it keeps nothing"),
    ],
)
def test_what_does_not_keep_secrets_is_refused(backend, reason):
    """Null, fail, chainer and file backends are refused by name and by base class."""
    error = refused(lambda: open_keystore(f"library:{backend}", Deadline(20)), UsageError)

    assert str(error).startswith(f"{backend} cannot be a keychain: it ")
    assert reason in str(error)


@pytest.mark.parametrize(
    "backend",
    [
        "support.backends.NoBackend",
        "support.backends.a_function",
        "support.backends.Missing",
        "os.path",
        "os.environ",
        "Keyring",
        ".Keyring",
        "..",
        "a..B",
        "a.B c",
        "a.",
    ],
)
def test_what_is_no_backend_is_refused(backend):
    """A name that is no backend is refused as a mistake in the name."""
    error = refused(lambda: open_keystore(f"library:{backend}", Deadline(20)), UsageError)

    expected = f"{backend} is no backend of the keyring library: expected MODULE.CLASS"
    assert expected == str(error)
    assert "--keychain" in error.hint


@pytest.mark.parametrize("backend", ["no.such.module.Keyring", "support.nothing.Keyring"])
def test_a_backend_that_is_not_installed_is_missing(backend):
    """A backend that is not installed is missing, so no session counts as revoked."""
    store = open_keystore(f"library:{backend}", Deadline(20))

    assert isinstance(store, UnavailableKeyStore)
    assert f"library:{backend}" == store.name
    error = refused(lambda: store.read([SESSION]), KeychainMissingError)
    assert str(error).startswith(f"{backend} cannot be imported: no module ")


def test_a_backend_that_its_author_does_not_recommend_is_refused():
    """A backend with a priority below 1, which the library discourages, is refused."""
    error = refused(opened("Discouraged").probe, UsageError)

    assert "support.backends.Discouraged is not recommended by its own authors" in str(error)


def test_a_backend_for_another_machine_is_missing():
    """A backend for another platform is missing, so the next keychain is tried."""
    error = refused(opened("Elsewhere").probe, KeychainMissingError)

    assert "keyring backend support.backends.Elsewhere is not on this machine" in str(error)


def test_an_unfinished_backend_is_unavailable():
    """A backend that cannot be instantiated is unavailable."""
    assert "it failed with TypeError" in str(refused(opened("Abstract").probe))


@pytest.mark.parametrize(
    ("name", "platform"), [("macos", "the macOS Keychain"), ("windows", "the Windows Credential")]
)
def test_a_platforms_keychain_is_missing_on_another(monkeypatch, name, platform):
    """A vault made on another system is refused with that reason."""
    monkeypatch.setattr(sys, "platform", "plan9")

    error = refused(open_keystore(name, Deadline(20)).probe, KeychainMissingError)

    assert str(error).startswith(platform)
    assert "is not on this platform (plan9)" in str(error)


# The environment.


def test_the_environment_does_not_turn_a_backend_into_another_store(monkeypatch):
    """The environment cannot redirect a backend, as then every key seems absent."""
    opened("Dictionary").add(SESSION, Secret(KEY))
    monkeypatch.setenv("KEYRING_PROPERTY_SHELF", "other")
    assert backends.Dictionary().get_password(SESSION.service, "keylease") is None  # the control

    assert opened("Dictionary").read([SESSION])[0].matches(Secret(KEY))


def test_the_environment_does_not_choose_the_backend(monkeypatch):
    """The named backend is used, whatever the library would choose."""
    monkeypatch.setenv("PYTHON_KEYRING_BACKEND", "keyring.backends.null.Keyring")

    opened("Dictionary").add(SESSION, Secret(KEY))

    assert opened("Dictionary").read([SESSION])[0].matches(Secret(KEY))


# Backends that hang, fail or lie.


@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_call_that_hangs_is_left_behind_at_the_deadline(operation):
    """A prompt that stays unanswered does not hang the helper."""
    error = refused(lambda: OPERATIONS[operation](opened("Hanging", 0.1)))

    assert str(error).endswith("cannot be used: it gave no answer in time")


def test_no_time_left_is_unavailable_without_asking():
    """A deadline that passed during loading is not waited for again."""
    store = opened("Dictionary", 0.05)
    while store._deadline.remaining():
        pass

    assert "no answer in time" in str(refused(lambda: store.read([SESSION])))


HANG = """
from keylease.system.clock import Deadline
from keylease.errors import KeychainUnavailableError
from keylease.keystores import open_keystore
from keylease.keystores.base import Item
try:
    store = open_keystore("library:support.backends.Hanging", Deadline(1))
    store.read([Item("0123456789abcdef", "session-key", 1)])
except KeychainUnavailableError as error:
    print(error)
"""


def test_a_call_that_hangs_does_not_keep_the_process():
    """The helper exits silently while the backend still waits."""
    source = [str(Path(keylease.__file__).parent.parent), str(Path(backends.__file__).parents[1])]
    done = subprocess.run(
        [sys.executable, "-c", HANG],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(source)},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )

    assert "it gave no answer in time\n" in done.stdout
    assert "" == done.stderr


class _OddError(Exception):
    """An exception that no code expects from a library."""


ERRORS = {
    KeyringLocked("hunter2"): "it is locked",
    InitError("hunter2"): "it cannot be opened",
    KeyringError("hunter2"): "it failed with KeyringError",
    PasswordSetError("hunter2"): "it failed with PasswordSetError",
    NoKeyringError("hunter2"): "it failed with NoKeyringError",
    OSError(5, "hunter2"): "it failed with OSError",
    RuntimeError("hunter2"): "it failed with RuntimeError",
    NotImplementedError(): "it failed with NotImplementedError",
    UnicodeDecodeError("utf-8", b"hunter2", 0, 1, "hunter2"): "it failed with UnicodeDecodeError",
    KeyError("hunter2"): "it failed with KeyError",
    _OddError("hunter2"): "it failed with _OddError",
    SystemExit("hunter2"): "it failed with SystemExit",
    KeyboardInterrupt("hunter2"): "it failed with KeyboardInterrupt",
    GeneratorExit("hunter2"): "it failed with GeneratorExit",
}


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize(("error", "reason"), ERRORS.items(), ids=repr)
def test_every_error_of_a_backend_becomes_ours(monkeypatch, capfd, operation, error, reason):
    """Any error of a backend means unavailable, never absent, and its text is not shown."""
    monkeypatch.setattr(backends.Raising, "error", error)

    found = refused(lambda: OPERATIONS[operation](opened("Raising")))

    assert str(found).endswith(f"cannot be used: {reason}")
    assert found.__cause__ is None
    assert found.__context__ is None
    assert ("", "") == capfd.readouterr()


def test_an_error_that_repeats_the_key_does_not_show_it():
    """An error that repeats the key is not shown."""
    error = refused(lambda: opened("Full").add(SESSION, Secret(KEY)))

    assert str(error).endswith("it failed with OSError")


@pytest.mark.parametrize("backend", ["Forgetful", "Changing"])
def test_a_key_that_is_not_read_back_was_not_added(backend):
    """A key that is not read back unchanged was not added."""
    with pytest.raises(KeychainUnavailableError):
        opened(backend).add(SESSION, Secret(KEY))


@pytest.mark.parametrize("backend", ["Keeping", "Undeletable"])
def test_a_key_that_stays_was_not_deleted(backend):
    """A key that is still there was not deleted."""
    store = opened(backend)
    store.add(SESSION, Secret(KEY))

    with pytest.raises(KeychainUnavailableError):
        store.delete(SESSION)
    assert store.read([SESSION])[0].matches(Secret(KEY))


def test_a_key_that_somebody_else_deleted_meanwhile_is_deleted():
    """An error on deletion does not matter if the key is gone."""
    store = opened("Vanishing")
    store.add(SESSION, Secret(KEY))

    assert store.delete(SESSION)


@pytest.mark.parametrize(
    "answer",
    [
        "",
        "hunter2",
        "ä" * 44,
        "\ud800",
        VALUE[:-4],
        VALUE + "\n",
        " " + VALUE,
        VALUE.encode() * 2,
        b"",
        7,
        False,
        [],
    ],
    ids=ascii,
)
def test_an_answer_that_is_no_key_is_unavailable_and_not_shown(monkeypatch, answer):
    """A foreign value is neither a key nor a revocation: only `None` means absent."""
    monkeypatch.setattr(backends.Answering, "answer", answer)

    error = refused(lambda: opened("Answering").read([SESSION]))

    assert str(error).endswith(f"{SESSION.service} holds no key of 32 bytes in base64")


def test_the_removal_command_names_the_backend():
    """Where the platform has no tool, the library's own command is shown."""
    expected = (
        "keyring --keyring-backend support.backends.Dictionary del"
        " keylease:0123456789abcdef:session-key.1 keylease"
    )
    assert expected == opened("Dictionary").removal_command(SESSION)


# macOS. The backend is the library's own, the system below it is a fake. So these tests show how
# status codes are handled, not what a real Mac answers.


class Keychain:
    """The functions of keyring.backends.macOS.api over a dictionary, with a status to fail with."""

    class Error(Exception):
        """As in the library."""

    class NotFound(Error):  # noqa: N818 - the library's name
        """As in the library."""

    class KeychainDenied(Error):  # noqa: N818 - the library's name
        """As in the library."""

    class SecAuthFailure(Error):  # noqa: N818 - the library's name
        """As in the library."""

    def __init__(self):
        self.kept = {}
        self.status = 0
        self.keychains = set()

    def _raise_for_status(self, status):
        kinds = {-25300: self.NotFound, -128: self.KeychainDenied, -25293: self.SecAuthFailure}
        kinds[-67030] = self.SecAuthFailure
        if status:
            raise kinds.get(status, self.Error)(status, "Unknown Error")

    def find_generic_password(self, keychain, service, username):
        """Return the stored password."""
        self.keychains.add(keychain)
        self._raise_for_status(self.status or (0 if (service, username) in self.kept else -25300))
        return self.kept[service, username]

    def set_generic_password(self, keychain, service, username, password):
        """Store the password."""
        self.keychains.add(keychain)
        self._raise_for_status(self.status)
        self.kept[service, username] = password

    def delete_generic_password(self, keychain, service, username):
        """Delete the password."""
        self.keychains.add(keychain)
        self._raise_for_status(self.status or (0 if (service, username) in self.kept else -25300))
        del self.kept[service, username]


@pytest.fixture
def keychain(monkeypatch):
    """Put a fake Security framework below the library's backend."""
    keychain = Keychain()
    monkeypatch.setattr(keyring.backends.macOS, "api", keychain, raising=False)
    monkeypatch.setattr("platform.system", lambda: "Darwin")
    return keychain


class TestMacos(KeyStoreContract):
    """The library's backend for macOS keeps the contract on a fake of the system."""

    @pytest.fixture
    def store(self, keychain):
        """Return a store on the macOS backend."""
        del keychain
        return LibraryKeyStore("macos", MACOS, Deadline(20))


@pytest.mark.parametrize(
    ("status", "reason"),
    [*KNOWN[MACOS].reasons.items(), (-25299, "it failed with KeyringError -25299")],
)
def test_a_status_of_macos_is_unavailable(keychain, status, reason):
    """A locked keychain is unavailable, not empty, whichever code says so."""
    keychain.status = status

    error = refused(lambda: LibraryKeyStore("macos", MACOS, Deadline(20)).read([SESSION]))

    assert f"the macOS Keychain cannot be used: {reason}" == str(error)


def test_not_found_is_absent_on_macos(keychain):
    """errSecItemNotFound means a deleted key."""
    keychain.status = -25300

    (found,) = LibraryKeyStore("macos", MACOS, Deadline(20)).read([SESSION])

    assert found is None


def test_the_environment_names_no_other_keychain_on_macos(keychain, monkeypatch, recwarn):
    """KEYCHAIN_PATH neither redirects the store nor prints a warning."""
    monkeypatch.setattr(keyring.backends.macOS.Keyring, "keychain", "/elsewhere")

    LibraryKeyStore("macos", MACOS, Deadline(20)).read([SESSION])

    assert {None} == keychain.keychains
    assert [] == list(recwarn)


def test_the_removal_command_on_macos_is_securitys():
    """`keylease status` shows the command of macOS's own tool."""
    store = LibraryKeyStore("macos", MACOS, Deadline(20))

    expected = f"security delete-generic-password -s {SESSION.service} -a keylease"
    assert expected == store.removal_command(SESSION)
    assert "macOS Keychain" == store.title


# Windows, with a fake in the same way.


class WindowsError(Exception):
    """pywintypes.error, which is no OSError."""

    def __init__(self, winerror, funcname):
        super().__init__(winerror, funcname, "hunter2")
        self.winerror = winerror
        self.funcname = funcname


class CredentialManager:
    """The functions of win32cred over a dictionary, with an error to fail with."""

    CRED_TYPE_GENERIC = 1
    CRED_PERSIST_LOCAL_MACHINE = 2
    CRED_PERSIST_ENTERPRISE = 3

    def __init__(self):
        self.kept = {}
        self.winerror = 0
        self.function = "CredRead"

    def _raise(self, winerror, funcname):
        if winerror:
            raise WindowsError(winerror, funcname)

    def CredRead(self, Type, TargetName):  # noqa: N802, N803 - Windows' names
        """Return the stored credential in UTF-16, as Windows keeps it."""
        del Type
        self._raise(self.winerror or (0 if TargetName in self.kept else 1168), self.function)
        kept = self.kept[TargetName]
        return {**kept, "CredentialBlob": kept["CredentialBlob"].encode("utf-16")}

    def CredWrite(self, credential, flags):  # noqa: N802
        """Store the credential."""
        del flags
        self._raise(self.winerror, "CredWrite")
        self.kept[credential["TargetName"]] = credential

    def CredDelete(self, Type, TargetName):  # noqa: N802, N803
        """Delete the credential."""
        del Type
        self._raise(self.winerror, "CredDelete")
        del self.kept[TargetName]


@pytest.fixture
def credential_manager(monkeypatch):
    """Put a fake Credential Manager below the library's backend."""
    manager = CredentialManager()
    pywintypes = types.SimpleNamespace(error=WindowsError)
    monkeypatch.setattr(keyring.backends.Windows, "win32cred", manager, raising=False)
    monkeypatch.setattr(keyring.backends.Windows, "pywintypes", pywintypes, raising=False)
    monkeypatch.setattr(keyring.backends.Windows, "missing_deps", None)
    return manager


class TestWindows(KeyStoreContract):
    """The library's backend for Windows keeps the contract on a fake of the system."""

    @pytest.fixture
    def store(self, credential_manager):
        """Return a store on the Windows backend."""
        del credential_manager
        return LibraryKeyStore("windows", WINDOWS, Deadline(20))


def test_keys_do_not_roam_to_other_windows_machines(credential_manager):
    """Keys persist on the local machine only and do not roam."""
    LibraryKeyStore("windows", WINDOWS, Deadline(20)).add(SESSION, Secret(KEY))

    assert [2] == [kept["Persist"] for kept in credential_manager.kept.values()]


def test_the_environment_does_not_make_keys_roam(credential_manager, monkeypatch):
    """The environment cannot make keys roam."""
    monkeypatch.setenv("KEYRING_PROPERTY_PERSIST", "enterprise")

    LibraryKeyStore("windows", WINDOWS, Deadline(20)).add(SESSION, Secret(KEY))

    assert [2] == [kept["Persist"] for kept in credential_manager.kept.values()]


@pytest.mark.parametrize(
    ("winerror", "reason"),
    [*KNOWN[WINDOWS].reasons.items(), (8, "it failed with WindowsError 8")],
)
def test_an_error_of_windows_is_unavailable(credential_manager, winerror, reason):
    """A login without a credential store is unavailable, not empty."""
    credential_manager.winerror = winerror

    error = refused(lambda: LibraryKeyStore("windows", WINDOWS, Deadline(20)).read([SESSION]))

    assert f"the Windows Credential Manager cannot be used: {reason}" == str(error)


@pytest.mark.parametrize("function", ["CredRead", "CredReadW"])
def test_not_found_is_absent_on_windows(credential_manager, function):
    """ERROR_NOT_FOUND from any function means a deleted key."""
    credential_manager.winerror = 1168
    credential_manager.function = function

    (found,) = LibraryKeyStore("windows", WINDOWS, Deadline(20)).read([SESSION])

    assert found is None


def test_the_removal_command_on_windows_is_cmdkeys():
    """`keylease status` shows the command of Windows' own tool."""
    store = LibraryKeyStore("windows", WINDOWS, Deadline(20))

    expected = "cmdkey /delete:keylease:0123456789abcdef:session-key.1"
    assert expected == store.removal_command(SESSION)
    assert "Windows Credential Manager" == store.title
