"""One process that answers many callers at once: no operation leaves a trace in another.

One wiring, eight threads, ten thousand operations, and constant failures. No later operation shows
a trace of an earlier one: not in an answer, a line of the log, or a waiting time.
"""

from __future__ import annotations

import ctypes
import gc
import json
import random
import shutil
import tempfile
import threading
import time
from itertools import count
from pathlib import Path

import pytest
from support.waiting import WAIT_SECONDS

from keylease import config, keystores, wiring
from keylease.audit.chain import Chain
from keylease.audit.events import Entry
from keylease.audit.pin import Nowhere
from keylease.config import Place
from keylease.errors import KeychainUnavailableError, KeyleaseError, LockTimeoutError, StateError
from keylease.exchange import serve
from keylease.model import Caller, Options, Target
from keylease.protocols.base import Call
from keylease.protocols.peers import load
from keylease.secrets import memory
from keylease.session.service import SessionService
from keylease.shares.policy import PolicyShares
from keylease.statefile import Directory
from keylease.store.store import SessionStore
from keylease.system.clock import Deadline
from keylease.testing import MemoryKeyStore

OPERATIONS = 10_000
THREADS = 8
SECONDS = 60.0
"""Time limit of an operation. It is never reached, although eight threads share one lock."""
PATIENCE = 0.5
"""How long a line about an end waits for its turn in the log."""


class Failing:
    """A fault that occurs now and then while the test wants it."""

    def __init__(self) -> None:
        self.active = False
        self._turns = count(1)

    def __call__(self, each: int) -> bool:
        """Return whether this turn fails: one in `each`."""
        return self.active and next(self._turns) % each == 0


class FlakyKeyStore(MemoryKeyStore):
    """A keychain that is locked now and then."""

    def __init__(self, failing: Failing) -> None:
        super().__init__()
        self._failing = failing

    def read(self, items):
        """Return the keys, or refuse."""
        if self._failing(23):
            msg = "the keychain is locked at this moment"
            raise KeychainUnavailableError(msg)
        return super().read(items)


@pytest.fixture
def failing():
    """Return the switch of all faults."""
    return Failing()


@pytest.fixture
def state(monkeypatch):
    """Return a state directory of real files in memory, so that no operation waits for a disk."""
    place = "/dev/shm" if Path("/dev/shm").is_dir() else None  # noqa: S108 - as mkdtemp makes it
    path = Path(tempfile.mkdtemp(prefix="keylease-", dir=place))
    monkeypatch.setenv("KEYLEASE_STATE_DIR", str(path / "state"))
    yield path / "state"
    shutil.rmtree(path)


@pytest.fixture
def process(state, monkeypatch, failing):
    """Return the only wiring of a process, with a keychain, log and lock that fail now and then."""
    keystore = FlakyKeyStore(failing)
    nowhere = Place("user", str(state.parent / "none.toml"), frozenset())
    monkeypatch.setattr(config, "user_file", lambda: nowhere)
    monkeypatch.setattr(config, "machine_policy", lambda: nowhere)
    monkeypatch.setattr(wiring, "_shares", lambda: (PolicyShares(),))
    monkeypatch.setattr(wiring, "open_pin", Nowhere)
    monkeypatch.setattr(keystores, "choose", lambda _: keystore)
    monkeypatch.setattr(keystores, "open_keystore", lambda *_: keystore)
    append, locked = Chain.append, SessionStore._locked

    def full(chain, fields, *, sync):
        if failing(29):
            msg = "no space left on device"
            raise StateError(msg)
        append(chain, fields, sync=sync)

    def held(store, deadline=None):
        if failing(31):
            msg = "lock is held by another process for too long"
            raise LockTimeoutError(msg)
        return locked(store, deadline)

    monkeypatch.setattr(Chain, "append", full)
    monkeypatch.setattr(SessionStore, "_locked", held)
    made = wiring.Wiring(seconds=SECONDS)
    yield made
    for item in keystore.items:
        keystore.delete(item)


class Client:
    """One caller with its own credentials, and all the ways in which it asks.

    Args:
        process: Answers.
        number: Tells this caller from others.
    """

    def __init__(self, process, number):
        self.process = process
        self.number = number
        self.host = f"h{number}.example"
        self.caller = Caller(1000 + number, f"/usr/bin/tool{number}", None, None, str(number))
        self.secret = f"secret-of-{number}-only".encode()
        self.environment = {"VAULT_ADDR": f"https://{self.host}"}
        self.session = SessionService(lambda: process.begin(self.caller, Options(), {}))
        self.ways = (
            *(self.git_get, self.git_get, self.git_get, self.git_store, self.git_erase),
            *(self.docker_get, self.docker_store, self.docker_list, self.bazel_get),
            *(self.vault_get, self.vault_store, self.extend, self.sessions),
            *(self.malformed, self.malformed, self.misused),
        )

    def ask(self, tool, action, message=b""):
        """Return what the tool is told, on stdout and stderr, and the exit code."""
        room = memory.allocate(len(message))
        room[:] = message
        arguments = () if action is None else (action,)
        call = Call(arguments, self.environment, room, self.caller, terminal=True)
        answered = serve(load(tool), call, self.process)
        try:
            try:
                with answered.gate:
                    said = b"".join(answered.parts)
            except KeyleaseError as error:
                answered = answered.refuse(error)
                said = b"".join(answered.parts)
        finally:
            answered.wipe()
            memory.secure_clear(room)
        return said, answered.told, answered.exit_code

    def git_get(self):
        """Ask as git does."""
        said, told, code = self.ask("git", "get", b"protocol=https\nhost=%b\n\n" % self._name())
        wanted = b"username=ada\npassword=%b\n" % self.secret
        assert said == (wanted if said else b"")
        self._check(told)
        return said, code

    def git_store(self):
        """Store a credential as git does."""
        message = b"protocol=https\nhost=%b\nusername=ada\npassword=%b\n\n"
        said, told, _ = self.ask("git", "store", message % (self._name(), self.secret))
        assert b"" == said
        self._check(told)

    def git_erase(self):
        """Erase the credential as git does."""
        _, told, _ = self.ask("git", "erase", b"protocol=https\nhost=%b\n\n" % self._name())
        self._check(told)

    def docker_get(self):
        """Ask as docker does."""
        said, told, code = self.ask("docker", "get", self._name())
        if code == 0:
            assert {"Secret": self.secret.decode(), "Username": "ada"}.items() <= json.loads(
                said
            ).items()
        self._check(told, said)

    def docker_store(self):
        """Store a login as docker does."""
        login = {"ServerURL": self.host, "Username": "ada", "Secret": self.secret.decode()}
        said, told, _ = self.ask("docker", "store", json.dumps(login).encode())
        self._check(told, said)

    def docker_list(self):
        """Ask for the list, which has all names and no secret."""
        said, _, code = self.ask("docker", "list", b"unused")
        assert b"secret" not in said
        if code == 0:
            assert set(json.loads(said).values()) <= {"ada"}

    def bazel_get(self):
        """Ask as Bazel does."""
        said, told, code = self.ask("bazel", "get", b'{"uri":"https://%b/x"}' % self._name())
        if code == 0:
            assert said.startswith(b'{"headers":{')
        self._check(told)

    def vault_get(self):
        """Ask as Vault does: only the environment names the server."""
        said, told, _ = self.ask("vault", "get")
        assert said in {b"", self.secret}
        self._check(told)

    def vault_store(self):
        """Store a token as Vault does."""
        _, told, _ = self.ask("vault", "store", self.secret)
        self._check(told)

    def extend(self):
        """Extend the session with the session service."""
        try:
            session, _ = self.session.extend(Target("web", "https", self.host))
        except KeyleaseError as error:
            self._check(str(error))
        else:
            assert (self.host, "ada") == (session.target.host, session.username)

    def sessions(self):
        """List all sessions."""
        try:
            found = self.session.sessions([])
        except KeyleaseError as error:
            self._check(str(error))
        else:
            assert {"ada", None} >= {session.username for session, _ in found}

    def malformed(self):
        """Send a message that git never sends."""
        said, _, code = self.ask("git", "get", b"host=%b\nhost=evil\n\n" % self._name())
        assert (b"", 1) == (said, code)

    def misused(self):
        """Call a helper with a wrong command line."""
        said, told, code = self.ask("git", None)
        assert (b"", 129) == (said, code)
        assert told.startswith("keylease: error: expected one operation")

    def _check(self, *told):
        """Check that no refusal names another caller's host."""
        for text in told:
            words = text.decode() if isinstance(text, bytes) else text
            others = {f"h{number}.example" for number in range(THREADS + 1)} - {self.host}
            assert not any(other in words for other in others), words

    def _name(self):
        return self.host.encode()


def test_the_last_of_ten_thousand_operations_is_as_the_first(process, state, failing):
    """The last of ten thousand operations has its own answer, caller, patience and deadline."""
    reference = Client(process, THREADS)
    reference.git_store()
    first = [*observed(process, reference, state), *waited(process, state)]
    gc.collect()
    secrets, descriptors = lying_about(), open_descriptors()

    failing.active = True
    faults = []
    threads = [
        threading.Thread(target=work, args=(Client(process, number), faults))
        for number in range(THREADS)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10 * WAIT_SECONDS)
    failing.active = False

    assert [] == faults
    assert not any(thread.is_alive() for thread in threads)
    gc.collect()
    assert secrets == lying_about(), "a secret was left in memory"
    assert descriptors == open_descriptors()
    callers_are_their_own(state)
    last = [*observed(process, reference, state), *waited(process, state)]
    assert first == last


def work(client, faults):
    """Do one thread's part in its own random order; report a failure to the test."""
    chosen = random.Random(client.number)
    try:
        for _ in range(OPERATIONS // THREADS):
            chosen.choice(client.ways)()
    except BaseException as error:  # noqa: BLE001 - the thread's own end, which the test raises
        faults.append(error)


def observed(process, client, state):
    """Return what one operation shows: its answer, its line in the log, and its deadline."""
    said = client.git_get()
    line = lines(state)[-1]
    left = process.begin(client.caller, Options(), {}).deadline.remaining()
    shape = {name: type(value).__name__ for name, value in line.items()}
    return said, line["caller"], line["event"], line["session"], shape, round(left)


def waited(process, state):
    """Return whether a line that cannot be written waits for its full time."""
    with (
        Directory.open(str(state / "audit"), create=False) as audit,
        audit.lock("lock", Deadline(SECONDS)),
    ):
        began = time.monotonic()
        process.audit.log_or_gap(Entry("logout"), process.clock.now())
        return [(time.monotonic() - began) >= PATIENCE]


def lines(state):
    """Return every line of the log."""
    days = sorted((state / "audit").glob("*.jsonl"))
    return [json.loads(line) for day in days for line in day.read_text("ascii").splitlines()]


def callers_are_their_own(state):
    """Check that each line about a host names the caller that owns the host."""
    found = {
        (line["target"]["host"], line["caller"]["pid"], line["caller"]["executable"])
        for line in lines(state)
        if line["target"] is not None and line["event"] != "session.ended"
    }
    expected = {
        (f"h{number}.example", 1000 + number, f"/usr/bin/tool{number}")
        for number in range(THREADS + 1)
    }
    assert expected == found


def lying_about():
    """Return how many bytes of the memory for secrets are not zero."""
    mapped = dict(memory._arena._mapped)
    return sum(
        len(bytes_ := ctypes.string_at(address, size)) - bytes_.count(0)
        for address, size in mapped.items()
    )


def open_descriptors():
    """Return the open descriptors of this process."""
    return {path.name for path in Path("/dev/fd").iterdir()}


def test_two_operations_have_no_share_store_in_common():
    """An operation remembers where it found a share, and no later operation can see that."""
    made = wiring.Wiring()
    first, second = (made.begin().store._shares._stores for _ in range(2))

    assert first.keys() == second.keys()
    assert not any(first[kind] is second[kind] for kind in first)
