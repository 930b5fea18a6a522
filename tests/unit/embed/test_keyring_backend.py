"""The backend of the `keyring` library, beside a platform's backend that is kept in memory."""

import subprocess
import sys
import tomllib
import types
from pathlib import Path

import pytest
from keyring import backend, core, errors
from keyring.backends.chainer import ChainerBackend
from support.console import Console
from support.waiting import WAIT_SECONDS

from keylease.audit.log import AuditLog
from keylease.embed.keyring_backend import Keyring
from keylease.errors import AuditError, UsageError
from keylease.keystores.library import LibraryKeyStore
from keylease.programs import names
from keylease.system.clock import Deadline

URL = "https://pypi.example/simple"
PYPROJECT = Path(__file__).parents[3] / "pyproject.toml"


class Platform(backend.KeyringBackend):
    """The platform's own keychain."""

    priority = 5

    def __init__(self):
        super().__init__()
        self.held = {}

    def get_password(self, service, username):
        """Return the stored password."""
        return self.held.get((service, username))

    def set_password(self, service, username, password):
        """Store it."""
        self.held[service, username] = password

    def delete_password(self, service, username):
        """Delete it."""
        if self.held.pop((service, username), None) is None:
            msg = "not there"
            raise errors.PasswordDeleteError(msg)


class Second(Platform):
    """A second one with a lower priority, which cannot store or delete."""

    priority = 1

    def set_password(self, service, username, password):
        """Refuse."""
        raise NotImplementedError

    delete_password = set_password


@pytest.fixture
def console(tmp_path, monkeypatch, capsys):
    """Return a machine on which keylease was never used."""
    return Console(tmp_path / "state", monkeypatch, capsys)


@pytest.fixture
def platform(monkeypatch):
    """Return the platform's backend; the library finds it beside ours."""
    found = Platform()
    monkeypatch.setattr(
        backend, "get_all_keyring", lambda: [ChainerBackend(), Second(), Keyring(), found]
    )
    return found


@pytest.fixture
def ring(console, platform):
    """Return our backend."""
    del console, platform
    return Keyring()


def events(console):
    """Return every event of the audit log with its reason."""
    return [(line["event"], line["reason"]) for line in console.audit()]


def test_session_is_found_by_url_and_host(console, ring):
    """One login answers every way in which programs ask for the index."""
    console.login(URL, "ada", b"p\xc3\xa4ss")

    assert "päss" == ring.get_password(f"{URL}/", "ada")
    assert "päss" == ring.get_password("pypi.example", "ada")
    credential = ring.get_credential(f"{URL}/flask/", None)
    assert ("ada", "päss") == (credential.username, credential.password)


def test_reading_is_a_use_on_record(console, ring):
    """A password read through the library is logged and restarts the idle timeout."""
    console.login(URL)
    console.clock.advance(600)

    ring.get_password(URL, "ada")

    assert 1 == events(console).count(("session.released", None))
    assert 900 == console.status()["sessions"][0]["idle_seconds_left"]


def test_what_no_session_holds_is_the_platforms(console, ring, platform):
    """Programs still find their own passwords in the platform's keychain."""
    console.login("https://other.example")
    platform.held = {("org.example.App", "x"): "app", (URL, "bob"): "old"}

    assert "app" == ring.get_password("org.example.App", "x")
    assert "old" == ring.get_password(URL, "bob")
    assert "old" == ring.get_credential(URL, "bob").password
    assert ring.get_password(URL, "ada") is None
    assert ring.get_credential(URL, None) is None


def test_session_comes_before_the_platform(console, ring, platform):
    """An old password in the platform's keychain does not hide the session."""
    console.login(URL, password=b"new")
    platform.held = {(URL, "ada"): "old"}

    assert "new" == ring.get_password(URL, "ada")


def test_ended_session_is_a_miss(console, ring):
    """After a session's end the program gets no password and asks its user."""
    console.login(URL)
    console.clock.advance(901)

    assert ring.get_credential(URL, None) is None
    assert ("session.ended", "idle") in events(console)


def test_revoked_vault_is_a_miss(console, ring, platform):
    """After a revocation programs get no session's password, but still the platform's own."""
    console.login(URL)
    console.revoke()
    platform.held = {(URL, "ada"): "platform"}

    assert "platform" == ring.get_password(URL, "ada")


@pytest.mark.parametrize("service", [URL, "pypi.example:443"])
def test_locked_keychain_is_no_miss(console, ring, service):
    """A program hears that the keychain is locked, not that the password is missing."""
    console.login(URL)
    console.keystore.lock()

    with pytest.raises(errors.KeyringLocked, match="locked"):
        ring.get_password(service, "ada")
    with pytest.raises(errors.KeyringLocked):
        ring.get_credential(service, None)
    with pytest.raises(errors.KeyringLocked):
        ring.delete_password(service, "ada")
    with pytest.raises(errors.KeyringLocked):
        ring.set_password(service, "ada", "x")


def test_locked_keychain_does_not_touch_other_programs(console, ring, platform):
    """A fault of keylease does not keep a program from its own password."""
    console.login(URL)
    platform.held = {("org.example.App", "x"): "app", ("word", "x"): "word"}
    console.keystore.lock()

    assert "app" == ring.get_password("org.example.App", "x")
    assert "word" == ring.get_password("word", "x")


def test_release_that_cannot_be_written_down_does_not_happen(console, ring, monkeypatch):
    """Without its line in the log no password is released."""
    console.login(URL)

    def log(*_):
        msg = "the log cannot be written"
        raise AuditError(msg)

    monkeypatch.setattr(AuditLog, "log", log)

    with pytest.raises(errors.KeyringError, match="keylease: the log cannot be written"):
        ring.get_password(URL, "ada")


def test_password_of_a_url_becomes_a_session(console, ring, platform):
    """A password set for a server becomes a session, and is not in the platform's keychain."""
    ring.set_password(f"{URL}/", "ada", "päss")

    assert {} == platform.held
    assert "päss" == ring.get_password(URL, "ada")
    console.clock.advance(901)
    assert ring.get_password(URL, "ada") is None


def test_same_password_again_does_not_start_afresh(console, ring):
    """A program that sends back the password it got extends nothing."""
    ring.set_password(URL, "ada", "pass")
    ring.get_password(URL, "ada")
    ring.set_password(URL, "ada", "pass")

    assert ("session.confirmed", None) in events(console)
    assert 1 == len(console.urls())


def test_library_does_not_revive_what_a_rotation_ended(console, ring):
    """A program that sends back its password after a key rotation starts no session."""
    console.login(URL, "ada", b"pass")
    held = ring.get_password(URL, "ada")
    console.run("key", "rotate")

    with pytest.raises(errors.PasswordSetError, match="that of an ended session"):
        ring.set_password(URL, "ada", held)

    assert [] == console.urls()


def test_command_of_the_library_sets_what_a_person_types(console, ring, monkeypatch):
    """`keyring set` starts a session at once, even with a password just given to a tool."""
    console.login(URL, "ada", b"pass")
    ring.get_password(URL, "ada")
    console.run("key", "rotate")
    monkeypatch.setitem(sys.modules, "keyring.cli", types.ModuleType("keyring.cli"))

    ring.set_password(URL, "ada", "pass")

    assert "pass" == ring.get_password(URL, "ada")


def test_a_new_password_that_is_not_kept_is_told(console, ring, platform):
    """A new password that is not stored is reported, although the old session is alive."""
    ring.set_password(URL, "ada", "old")
    console.configure(console.user, 'store = "never"\n')

    with pytest.raises(errors.PasswordSetError, match="no session was started"):
        ring.set_password(URL, "ada", "new")

    assert {} == platform.held
    ring.set_password(URL, "ada", "old")
    assert "old" == ring.get_password(URL, "ada")


def test_configuration_that_lets_no_tool_store_is_told(console, ring, platform):
    """Where tools may not store, the program gets an error; the platform's keychain is not used."""
    console.configure(console.user, 'store = "never"\n')

    with pytest.raises(errors.PasswordSetError, match="keylease: no session") as caught:
        ring.set_password(URL, "ada", "pass")
    assert f"log in with: keylease login {URL} --username ada" in str(caught.value)

    assert {} == platform.held


@pytest.mark.parametrize("password", ["", "hunter2\ud800"])
def test_password_that_cannot_be_kept_is_refused_without_repeating_it(ring, password):
    """A password that cannot be stored is refused without being shown."""
    with pytest.raises(errors.PasswordSetError) as caught:
        ring.set_password(URL, "ada", password)

    assert "hunter2" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_other_passwords_go_to_the_platform(console, ring, platform):
    """An application's own key goes to the platform's keychain and never times out."""
    ring.set_password("org.example.App", "x", "key")

    assert {("org.example.App", "x"): "key"} == platform.held
    assert not console.state.exists()


def test_deletion_leaves_nothing_behind(console, ring, platform):
    """`keyring del` ends the session, and no older password appears in its place."""
    console.login(URL)
    platform.held = {(URL, "ada"): "old"}

    ring.delete_password(URL, "ada")

    assert {} == platform.held
    assert ring.get_password(URL, "ada") is None
    assert ("session.ended", "erased") in events(console)


def test_deletion_of_a_session_alone_is_enough(console, ring):
    """Deleting a session succeeds although the platform has nothing to delete."""
    console.login(URL)

    ring.delete_password(URL, "ada")

    assert [] == console.urls()


def test_deletion_of_nothing_is_told(console, ring):
    """Deleting a password that does not exist is an error, with and without other sessions."""
    with pytest.raises(errors.PasswordDeleteError):
        ring.delete_password(URL, "ada")
    console.login("https://other.example")
    with pytest.raises(errors.PasswordDeleteError):
        ring.delete_password(URL, "ada")


def test_machine_without_a_platform_keychain(console, ring, monkeypatch):
    """Without a platform keychain servers have sessions, and any other password is refused."""
    monkeypatch.setattr(backend, "get_all_keyring", lambda: [Keyring()])

    ring.set_password(URL, "ada", "pass")
    assert "pass" == ring.get_password(URL, "ada")
    assert ring.get_password("word", "x") is None
    assert ring.get_credential("word", "x") is None
    with pytest.raises(errors.NoKeyringError):
        ring.set_password("word", "x", "y")
    with pytest.raises(errors.PasswordDeleteError):
        ring.delete_password("word", "x")
    del console


def test_backends_that_a_program_rules_out_are_not_asked(ring, platform, monkeypatch):
    """keylease does not use a backend that the program has ruled out."""
    platform.held = {("word", "x"): "y"}
    monkeypatch.setattr(backend, "_limit", lambda each: each.priority > 10)

    assert ring.get_password("word", "x") is None


def test_names_of_our_own_keys_go_past_the_sessions(console, ring, platform, monkeypatch):
    """The vault's own key is read without opening the sessions."""
    console.login(URL)
    platform.held = {("keylease:0:session-key.1", "keylease"): "key"}

    def opened():
        msg = "the sessions were opened"
        raise AssertionError(msg)

    monkeypatch.setattr("keylease.embed.keyring_backend._wiring", opened)

    assert "key" == ring.get_password("keylease:0:session-key.1", "keylease")
    assert ring.get_credential("keylease:https://pypi.example", None) is None
    ring.set_password("keylease:1", "keylease", "x")
    ring.delete_password("keylease:1", "keylease")
    with pytest.raises(errors.KeyringError, match="internal error: AssertionError"):
        ring.get_password(URL, "ada")


def test_backend_is_no_keychain_for_the_vault_key():
    """The key that protects the sessions cannot be stored in them."""
    with pytest.raises(UsageError, match="reads the sessions that this key protects"):
        LibraryKeyStore("library", "keylease.embed.keyring_backend.Keyring", Deadline(5))


def test_library_prefers_it_to_its_chainer(platform):
    """The library prefers keylease to its chainer, which would ask both backends twice."""
    del platform

    assert Keyring is type(core._detect_backend())


def test_library_finds_it_by_its_entry_point():
    """A user who installs keylease beside keyring needs no set-up."""
    found = tomllib.loads(PYPROJECT.read_text("utf-8"))["project"]

    backends = found["entry-points"]["keyring.backends"]
    assert {"keylease": "keylease.embed.keyring_backend"} == backends
    assert "keyring" not in names()


def test_importing_it_costs_nothing():
    """Every program with keyring loads this module, so without sessions it loads no others."""
    code = (
        "import sys, keyring.core, keyring.backends.chainer; before = set(sys.modules);"
        "import keylease.embed.keyring_backend as b;"
        "b.backend.get_all_keyring = list;"
        "assert b.Keyring().get_password('https://pypi.example', 'ada') is None;"
        "print(*sorted(set(sys.modules) - before))"
    )

    told = subprocess.run(
        [sys.executable, "-I", "-c", code],
        env={"KEYLEASE_STATE_DIR": str(Path(sys.prefix) / "no-such-directory")},
        capture_output=True,
        check=True,
        text=True,
        timeout=WAIT_SECONDS,
    )

    expected = (
        "keylease keylease.embed keylease.embed.keyring_backend keylease.errors"
        " keylease.system keylease.system.paths"
    )
    assert expected.split() == told.stdout.split()
