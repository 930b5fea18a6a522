"""Services for a program that embeds keylease, which last as long as the program."""

from __future__ import annotations

import inspect
import shutil
import threading
import time
from pathlib import Path

import pytest
from support.rig import PASSWORD, credential, text
from support.waiting import WAIT_SECONDS

from keylease import keystores, wiring
from keylease.audit.pin import Nowhere
from keylease.config import FILE
from keylease.embed.services import (
    audit_service,
    authentication_service,
    require_session,
    session_service,
)
from keylease.errors import SessionNotFoundError, UsageError
from keylease.model import CAP_SECONDS, IDLE_SECONDS, Target
from keylease.session.auth import AuthenticationService
from keylease.session.service import SessionService
from keylease.shares.policy import PolicyShares
from keylease.system import clock
from keylease.system.paths import config_directory
from keylease.testing import FrozenClock, MemoryKeyStore

API = "https://api.example.com"
TARGET = Target("web", "https", "api.example.com")


class Slow(MemoryKeyStore):
    """A keychain that records its time limits."""

    given: float = 0

    def open(self, deadline):
        """Replace the function that opens keychains."""
        self.given = deadline.remaining()
        return self


@pytest.fixture
def keystore(tmp_path, monkeypatch):
    """Return the keychain of a user whose state is the test's."""
    keystore = Slow()
    monkeypatch.setenv("KEYLEASE_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.delenv("KEYLEASE_KEYCHAIN", raising=False)
    monkeypatch.setattr(wiring, "BootClock", FrozenClock)
    monkeypatch.setattr(wiring, "_shares", lambda: (PolicyShares(),))
    monkeypatch.setattr(wiring, "open_pin", Nowhere)
    monkeypatch.setattr(keystores, "choose", keystore.open)
    monkeypatch.setattr(keystores, "open_keystore", lambda _, deadline: keystore.open(deadline))
    return keystore


@pytest.mark.usefixtures("keystore")
def test_both_services_are_on_the_same_sessions():
    """A session of one service is visible to the other."""
    authentication_service().login(TARGET, credential())

    assert PASSWORD == text(session_service().get(TARGET).credential.secret)
    assert "alice" == authentication_service().current(TARGET).username


def test_nothing_is_made_before_the_first_operation(tmp_path, monkeypatch):
    """Making a service at load time never fails, whatever the state of the machine."""
    monkeypatch.setenv("KEYLEASE_STATE_DIR", "not an absolute path")

    sessions = session_service()
    require_session(API)
    with pytest.raises(UsageError, match="KEYLEASE_STATE_DIR"):
        sessions.validate(TARGET)

    assert [] == list(tmp_path.iterdir())


def test_every_operation_has_the_whole_time(keystore, monkeypatch):
    """Each operation gets its full time limit, even in a program that runs for days."""
    sessions = session_service(seconds=20)
    sessions.create(TARGET, credential())
    days = time.monotonic() + 100_000
    monkeypatch.setattr(clock.time, "monotonic", lambda: days)

    sessions.get(TARGET)

    assert 20 == pytest.approx(keystore.given)


@pytest.mark.usefixtures("keystore")
def test_program_can_have_a_timeout_of_its_own():
    """A program can shorten the idle timeout; the cap does not change."""
    session = session_service(idle_seconds=60).create(TARGET, credential())

    assert (60, CAP_SECONDS) == (session.idle_seconds, session.cap_seconds)


def test_keychain_that_is_named_is_used(keystore, monkeypatch):
    """A program that names its own keychain gets a vault in it."""
    asked = []
    monkeypatch.setattr(keystores, "open_keystore", lambda name, _: asked.append(name) or keystore)

    session_service(keychain="memory").create(TARGET, credential())

    assert {"memory"} == set(asked)


@pytest.mark.parametrize(
    ("service", "kind"),
    [(session_service, SessionService), (authentication_service, AuthenticationService)],
)
def test_service_is_what_it_says(service, kind):
    """Every operation exists with its own arguments and its own description."""
    found = service()
    names = [name for name in vars(kind) if not name.startswith("_")]

    assert names
    assert isinstance(found, kind)
    for name in names:
        assert inspect.signature(getattr(kind, name)) == inspect.signature(
            getattr(type(found), name)
        )


@pytest.mark.usefixtures("keystore")
def test_configuration_that_changed_counts_at_the_next_operation(tmp_path, monkeypatch):
    """Each operation reads the configuration anew, even in a program that runs for days."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    sessions = session_service()
    before = sessions.create(TARGET, credential())
    file = Path(config_directory()) / FILE
    # A umask that lets a group write must not decide whether the file is trusted.
    for directory in (file.parent.parent, file.parent):
        directory.mkdir(mode=0o700)
    file.touch(0o600)
    file.write_text("idle_timeout = 60\n")

    after = sessions.create(TARGET, credential())

    assert (IDLE_SECONDS, 60) == (before.idle_seconds, after.idle_seconds)


def test_threads_share_a_service_and_a_function(keystore):
    """Concurrent calls from many threads each get the right answer."""
    del keystore
    session_service().create(TARGET, credential())
    kept = []

    @require_session(API)
    def fetch(number, *, session):
        kept.append(session.credential())
        return number, text(session.credential().secret)

    answers = []
    threads = [
        threading.Thread(target=lambda number=number: answers.append(fetch(number)))
        for number in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT_SECONDS)

    assert [(number, PASSWORD) for number in range(8)] == sorted(answers)
    for each in kept:
        with pytest.raises(ValueError, match="the secret was wiped"):
            each.secret.reveal()


@pytest.mark.usefixtures("keystore")
def test_function_requires_a_session_of_the_user():
    """By default a function requires a session from the user's own state."""
    fetch = require_session(API)(lambda session: session.username)

    with pytest.raises(SessionNotFoundError, match=f"keylease login {API}"):
        fetch()
    authentication_service().login(TARGET, credential(username="ada"))

    assert "ada" == fetch()


@pytest.mark.usefixtures("keystore")
def test_function_can_require_a_session_of_another_service():
    """A program's test can use its own sessions instead of the user's."""

    class Named(SessionService):
        """Returns every session as bob's."""

        def validate(self, target, username=None):
            """Return the real session with bob's name."""
            session, left = session_service().validate(target, username)
            return session._replace(username="bob"), left

    session_service().create(TARGET, credential(username="ada"))
    service = Named.__new__(Named)
    service.extend = lambda *_, **__: None

    assert "bob" == require_session(API, service=service)(lambda session: session.username)()


@pytest.mark.usefixtures("keystore")
def test_a_log_that_was_removed_does_not_hide_its_key(tmp_path):
    """After the log is deleted, new lines still carry a MAC, because the key is in the keychain."""
    service = session_service(keychain="memory")
    service.create(TARGET, credential())
    (directory,) = tmp_path.rglob("audit")
    shutil.rmtree(directory)

    audit_service(keychain="memory").log("login", target=TARGET)

    (file,) = directory.glob("*.jsonl")
    assert b'"mac":null' not in file.read_bytes()
