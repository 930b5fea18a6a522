"""A store of sealed files in a directory, with a key and a clock that tests control."""

from support.rig import EXAMPLE, PASSWORD, credential
from support.shares import MemoryShares

from keylease.model import Session
from keylease.secrets.secret import Secret
from keylease.shares.policy import PolicyShares
from keylease.statefile import Directory
from keylease.store.store import SessionStore
from keylease.system.clock import Deadline
from keylease.testing import FrozenClock
from keylease.vault.vault import VaultKeys

KEY = b"v" * 32
AUDIT_KEY = b"a" * 32


class Place:
    """A store and its files."""

    def __init__(self, path, *, shared=False):
        self.path = path
        self.clock = FrozenClock()
        self.shares = MemoryShares(self.clock)
        self.stores = (self.shares, PolicyShares()) if shared else (PolicyShares(),)
        self.made = 0

    def state(self):
        """Open the state directory."""
        return Directory.open(str(self.path), create=True)

    def store(self, seconds=2.0):
        """Return the store as a new process opens it."""
        return SessionStore(self.state, self.stores, Deadline(seconds))

    def keys(self, key=KEY, generation=1):
        """Return fresh keys of the vault."""
        return VaultKeys(generation, Secret(key), Secret(AUDIT_KEY), audit_generation=1)

    def sessions(self, **more):
        """Return the sessions, under the lock."""
        return self.store().exclusive(self.keys(**more))

    def session(self, target=EXAMPLE, username="alice", **more):
        """Return the facts of a new session."""
        self.made += 1
        now = self.clock.now()
        fields = {
            "id": f"{self.made:032x}",
            "target": target,
            "username": username,
            "authtype": None,
            "expires": None,
            "generation": 1,
            "created": now,
            "used": now,
            "released": None,
            "idle_seconds": 900,
            "cap_seconds": 28_800,
        }
        return Session(**{**fields, **more})

    def put(self, target=EXAMPLE, password=PASSWORD, **more):
        """Seal a session and return its facts."""
        session = self.session(target, **more)
        with self.sessions() as sessions:
            seconds = min(session.idle_seconds, session.cap_seconds)
            sessions.put(session, credential(password, session.username), seconds=seconds)
        return session

    def find(self, target=EXAMPLE, **more):
        """Return what the store finds for a target."""
        with self.sessions(**more) as sessions:
            return sessions.of(target)

    def file(self, session, suffix=".sealed"):
        """Return the path of a session's file."""
        (path,) = self.path.glob(f"sessions/*/{session.id}{suffix}")
        return path

    def names(self):
        """Return every name below the sessions, without the lock."""
        found = (self.path / "sessions").rglob("*")
        return sorted(path.name for path in found if path.is_file() and path.name != "lock")
