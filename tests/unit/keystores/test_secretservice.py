"""The Secret Service store against services and buses that misbehave."""

from __future__ import annotations

import base64
import socket
import sys
import threading

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.secret_service import LOGIN, ROOT, GnomeKeyring

from keylease.errors import KeychainMissingError, KeychainUnavailableError
from keylease.keystores import open_keystore, secretservice
from keylease.keystores.base import Item
from keylease.keystores.secretservice import SecretServiceKeyStore
from keylease.keystores.unavailable import UnavailableKeyStore
from keylease.secrets.secret import Secret
from keylease.system.clock import Deadline

pytest.importorskip("jeepney", reason="secret-service: jeepney is not installed")
from support.scripted_secret_service import (
    ITEM,
    PROMPT,
    Answer,
    Failure,
    ScriptedSecretService,
)

KEY = bytes(range(224, 256))
VALUE = base64.b64encode(KEY)
SESSION = Item("0123456789abcdef", "session-key", 1)
AUDIT = Item("0123456789abcdef", "audit-key", 1)
FOUND = {
    "SearchItems": Answer("ao", ([ITEM],)),
    "GetSecrets": Answer(
        "a{o(oayays)}", ({ITEM: (f"{ROOT}/session/1", b"", VALUE, "text/plain")},)
    ),
}
LOCKED = Answer("v", (("b", True),))
UNLOCKED = Answer("v", (("b", False),))


@pytest.fixture(scope="module")
def bus():
    """Return a bus without a Secret Service and without a way to start one."""
    with GnomeKeyring(initialised=False, activatable=False) as keyring:
        yield keyring


@pytest.fixture
def served(bus, monkeypatch):
    """Return a function that puts a scripted service on this process's bus."""
    for name, value in bus.environment.items():
        monkeypatch.setenv(name, value)

    def served(**script):
        return ScriptedSecretService(bus.directory / "bus", script)

    return served


@pytest.fixture
def store():
    """Return a store with enough time."""
    return SecretServiceKeyStore(Deadline(20))


def absent(store, *items):
    """Return whether no item is there; secrets must not be compared with `==`."""
    return all(key is None for key in store.read(items))


def refused(call, kind=KeychainUnavailableError):
    """Return the error's message, which must be of exactly this kind."""
    with pytest.raises(KeychainUnavailableError) as caught:
        call()
    assert kind is type(caught.value)
    return str(caught.value)


OPERATIONS = {
    "read": lambda store: store.read([SESSION]),
    "add": lambda store: store.add(SESSION, Secret(KEY)),
    "delete": lambda store: store.delete(SESSION),
}


def test_the_script_is_a_service_like_any_other(served, store):
    """The control: by default the script is an unlocked, empty collection."""
    with served():
        store.probe()
        assert absent(store, SESSION, AUDIT)
        assert LOGIN == store.instance()
    with served(**FOUND):
        assert store.read([SESSION])[0].matches(Secret(KEY))


def test_a_prompt_for_adding_is_dismissed(served, store):
    """A prompt for adding is dismissed without being shown, and the key is not added."""
    with served(CreateItem=Answer("oo", ("/", PROMPT))) as service:
        said = refused(lambda: store.add(SESSION, Secret(KEY)))

    assert "it wants to ask the user first" in said
    assert "Dismiss" == service.asked[-1]
    assert "Prompt" not in service.asked


def test_a_prompt_for_deleting_is_dismissed(served, store):
    """A deletion that needs a prompt did not happen."""
    with served(**FOUND, Delete=Answer("o", (PROMPT,))) as service:
        said = refused(lambda: store.delete(SESSION))

    assert "it wants to ask the user first" in said
    assert "Dismiss" == service.asked[-1]


def test_reading_never_asks_the_service_to_search_unlock_or_prompt(served, store):
    """Reading calls only methods that cannot raise a prompt.

    NOTE: `SearchItems` must be the collection's method. The script cannot tell it from the
    service's, so the order shows it: each collection's lock is read first.
    """
    with served(**FOUND) as service:
        store.read([SESSION, AUDIT])

    allowed = ["OpenSession", "ReadAlias", "Collections", "Locked", "SearchItems", "GetSecrets"]
    assert allowed == list(dict.fromkeys(service.asked))


def test_both_keys_are_read_in_one_go(served, store):
    """Two keys cost one search each, and everything else only once."""
    with served(**FOUND) as service:
        store.read([SESSION, AUDIT])

    assert ["SearchItems"] * 2 == [name for name in service.asked if name == "SearchItems"]
    assert 1 == service.asked.count("GetSecrets")
    assert 1 == service.asked.count("OpenSession")


def test_a_collection_that_is_locked_while_it_is_searched_proves_nothing(served, store):
    """An empty result counts only if the collection is unlocked after the search too."""
    with served(Locked=[UNLOCKED, LOCKED]):
        assert "is locked" in refused(lambda: store.read([SESSION]))


def test_an_item_that_goes_while_it_is_read_is_unavailable(served, store):
    """An item that disappears during the read is unavailable, not absent."""
    with served(**FOUND | {"GetSecrets": Answer("a{o(oayays)}", ({},))}):
        assert f"it does not return {SESSION.service}" in refused(lambda: store.read([SESSION]))


def test_an_item_that_is_not_read_back_was_not_added(served, store):
    """An item that is not read back was not added."""
    with served():
        said = refused(lambda: store.add(SESSION, Secret(KEY)))

    assert f"{SESSION.service} was added but is not read back unchanged" in said


def test_an_item_that_stays_was_not_deleted(served, store):
    """An item that is still there was not deleted, whatever the service answered."""
    with served(**FOUND):
        said = refused(lambda: store.delete(SESSION))

    assert f"{SESSION.service} was deleted and is still there" in said


def test_no_collection_at_all_proves_nothing(served, store):
    """A service without a collection cannot prove that a key was deleted."""
    with served(Collections=Answer("v", (("ao", []),)), ReadAlias=Answer("o", ("/",))):
        assert "it has no default collection" in refused(lambda: store.read([SESSION]))


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize(
    ("failure", "said"),
    [
        ("org.freedesktop.Secret.Error.IsLocked", "it is locked"),
        ("org.freedesktop.DBus.Error.NoReply", "the service ended, or gave no answer in time"),
        ("org.freedesktop.DBus.Error.AccessDenied", "the bus does not let this process talk to it"),
        ("org.example.Odd", "it answered org.example.Odd"),
        ("org.freedesktop.DBus.Error.Spawn.ChildExited", "Spawn.ChildExited"),
    ],
)
def test_an_error_is_unavailable_and_its_text_is_not_shown(served, store, operation, failure, said):
    """A service's error text is not shown, as it could repeat what was sent."""
    failures = dict.fromkeys(("OpenSession", "CreateItem", "Delete"), Failure(failure, "hunter2"))
    found = {} if operation == "add" else FOUND
    with served(**found | failures):
        message = refused(lambda: OPERATIONS[operation](store))

    assert said in message
    assert "hunter2" not in message


def test_a_service_that_cannot_be_started_is_missing_for_a_new_vault(served, store):
    """A service that the bus neither knows nor can start is missing for a new vault."""
    gone = Failure("org.freedesktop.DBus.Error.Spawn.ServiceNotFound")
    with served(ReadAlias=gone):
        refused(store.probe, KeychainMissingError)
        refused(lambda: store.read([SESSION]), KeychainUnavailableError)


def test_a_service_that_breaks_while_it_is_started_is_not_passed_over(served, store):
    """A service that fails to start is no reason to use a weaker keychain."""
    with served(ReadAlias=Failure("org.freedesktop.DBus.Error.Spawn.ChildExited")):
        refused(store.probe, KeychainUnavailableError)


@pytest.mark.parametrize(
    "answers",
    [
        {"ReadAlias": Answer("s", ("/a",))},
        {"ReadAlias": Answer()},
        {"Collections": Answer("v", (("s", "x"),))},
        {"Collections": Answer("ao", ([],))},
        {"SearchItems": Answer("as", ([],))},
        {"SearchItems": Answer("aoao", ([], []))},
        {"SearchItems": Answer("ao", ([ITEM],)), "GetSecrets": Answer("a{oay}", ({ITEM: VALUE},))},
        {"SearchItems": Answer("ao", ([ITEM],)), "OpenSession": Answer("v", (("s", ""),))},
    ],
    ids=repr,
)
def test_an_answer_that_is_not_in_the_specification_is_unavailable(served, store, answers):
    """An answer outside the specification is unavailable, not interpreted."""
    with served(**answers):
        refused(lambda: store.read([SESSION]))


@pytest.mark.parametrize("locked", [("s", "no"), ("u", 0), ("i", 0), ("v", ("b", False))], ids=repr)
def test_a_lock_that_is_not_said_to_be_open_is_locked(served, store, locked):
    """Only a plain "no" counts as unlocked."""
    with served(Locked=Answer("v", (locked,))):
        assert "is locked" in refused(lambda: store.read([SESSION]))
        assert "is locked" in refused(store.probe)


def test_a_path_that_is_none_is_unavailable():
    """A bad object path is unavailable; jeepney accepts any text as one."""
    assert "not in the specification" in refused(lambda: secretservice._call("no path", "a.b", "C"))


def test_an_empty_question_asks_nobody(monkeypatch, store):
    """Reading no items contacts no keychain."""
    monkeypatch.delenv("DBUS_SESSION_BUS_ADDRESS", raising=False)
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)

    assert [] == store.read([])


def test_without_jeepney_it_is_missing(monkeypatch):
    """Without the jeepney package the next keychain is tried."""
    monkeypatch.setitem(sys.modules, "jeepney", None)

    store = open_keystore("secret-service", Deadline(20))

    assert isinstance(store, UnavailableKeyStore)
    assert "jeepney" in refused(store.probe, KeychainMissingError)


# Programs that only pretend to be a bus.


class Impostor:
    """A program that listens in place of the bus and sends these bytes."""

    AUTHENTICATED = b"OK 0123456789abcdef0123456789abcdef\r\n"

    def __init__(self, directory, *answers):
        self._answers = answers
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(f"{directory}/impostor")
        self._listener.listen()
        self.address = f"unix:path={directory}/impostor"
        self._hold = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self):
        """Listen."""
        self._thread.start()
        return self

    def __exit__(self, *_):
        """Hang up."""
        self._hold.set()
        self._thread.join(20)
        self._listener.close()

    def _serve(self):
        connection, _ = self._listener.accept()
        with connection:
            # A client sends AUTH and waits, then sends BEGIN and Hello and waits.
            for question, answer in zip((b"\r\n", b"Hello"), self._answers, strict=False):
                heard = b""
                while question not in heard:
                    more = connection.recv(4096)
                    if not more:
                        return
                    heard += more
                if answer is None:
                    self._hold.wait(20)
                    return
                connection.sendall(answer)


@pytest.fixture
def impostor(bus, monkeypatch):
    """Return a function that puts an impostor in place of this process's bus."""
    made = []

    def impostor(*answers):
        (bus.directory / "impostor").unlink(missing_ok=True)
        made.append(Impostor(bus.directory, *answers))
        monkeypatch.setenv("DBUS_SESSION_BUS_ADDRESS", made[-1].address)
        return made[-1]

    return impostor


OK = Impostor.AUTHENTICATED


@pytest.mark.parametrize(
    ("answers", "said"),
    [
        ([None], "the session bus gave no answer in time"),
        ([b"REJECTED EXTERNAL\r\n"], "the session bus does not let this user in"),
        ([b"HTTP/1.1 400 Bad Request\r\n\r\n"], "the session bus does not let this user in"),
        ([b"ERROR\r\n"], "the session bus does not let this user in"),
        ([OK, None], "it gave no answer in time"),
        ([OK, b"x" * 64], "the session bus does not speak D-Bus"),
        ([OK, b"\x00" * 64], "the session bus does not speak D-Bus"),
        ([OK, b""], "the session bus hung up: "),
        ([], "the session bus"),
    ],
    ids=["mute", "rejected", "http", "error", "half", "text", "zeros", "gone", "closed"],
)
def test_what_is_no_bus_is_unavailable(impostor, answers, said):
    """Whatever listens on the bus's socket, the error is ours and comes in time."""
    with impostor(*answers):
        store = SecretServiceKeyStore(Deadline(0.4))
        assert said in refused(lambda: store.read([SESSION]))


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.binary(max_size=96) | st.binary(max_size=96).map(lambda tail: b"l\x02\x00\x01" + tail))
def test_no_bytes_of_a_bus_escape_as_another_error(impostor, noise):
    """A message of any bytes is refused as a keychain failure."""
    with impostor(OK, noise):
        refused(lambda: SecretServiceKeyStore(Deadline(5)).read([SESSION]))


def test_the_removal_command_is_secret_tools(store):
    """`keylease status` shows the secret-tool command that removes a key."""
    expected = "secret-tool clear service keylease:0123456789abcdef:session-key.1 username keylease"
    assert expected == store.removal_command(SESSION)
