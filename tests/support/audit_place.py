"""An audit log by itself, with a clock, a pin in memory and a recording witness."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from support import audit_chain

from keylease.audit.chain import Surroundings
from keylease.audit.events import Entry
from keylease.audit.log import AuditLog, Configured
from keylease.audit.witness import SystemLog
from keylease.model import Caller
from keylease.secrets.secret import Secret
from keylease.statefile import Directory
from keylease.system.clock import Deadline
from keylease.testing import FrozenClock

if TYPE_CHECKING:
    from pathlib import Path

    from keylease.audit.witness import Checkpoint

KEY = b"k" * 32
CALLER = Caller(4711, "/usr/bin/git", "/usr/bin/bash", None)


class MemoryPin:
    """A pin in memory that a test can erase."""

    def __init__(self) -> None:
        self.data: bytes | None = None

    def read(self) -> bytes | None:
        """Return the pin."""
        return self.data

    def write(self, data: bytes) -> bool:
        """Store a pin."""
        self.data = data
        return True


class MemoryWitness(SystemLog):
    """A system log that records what it is sent."""

    def __init__(self) -> None:
        self.told: list[Checkpoint] = []

    def tell(self, checkpoint: Checkpoint) -> None:
        """Record the checkpoint."""
        self.told.append(checkpoint)


class Place:
    """A log and its files."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.audit = path / "audit"
        self.clock = FrozenClock()
        self.pin = MemoryPin()
        self.witness = MemoryWitness()
        self.days: int | None = 90
        self.configured: Configured | None = None

    def log(self, *, key: bytes | None = KEY, seconds: float = 2.0) -> AuditLog:
        """Return the log as a new process opens it."""
        around = Surroundings(self.pin, self.witness, self.days)
        log = AuditLog(self.state, Deadline(seconds), CALLER, around, self.configured)
        log.key = Secret(key) if key else None
        return log

    def state(self) -> Directory:
        """Open the state directory."""
        return Directory.open(str(self.path), create=True)

    def write(self, event: Any = "session.released", **more: Any) -> None:
        """Append a synced line as a new process."""
        self.clock.advance(1)
        self.log().log(Entry(event, **more), self.clock.now())

    def end(self, *, key: bytes | None = KEY) -> None:
        """Append an unsynced line."""
        self.clock.advance(1)
        entry = Entry("session.ended", "ok", "logout")
        self.log(key=key).log_or_gap(entry, self.clock.now())

    def files(self) -> list[str]:
        """Return the names in the audit directory, without the lock and the head."""
        return sorted(
            path.name for path in self.audit.iterdir() if path.name not in {"lock", "head"}
        )

    def newest(self) -> Path:
        """Return the newest day file."""
        return max(self.audit.glob("*.jsonl"))

    def take(self, count: int) -> None:
        """Remove lines from the end of the newest day file."""
        path = self.newest()
        path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:-count]))

    def raw(self) -> list[bytes]:
        """Return every line, ordered by number."""
        return audit_chain.raw_lines(self.path)

    def records(self) -> list[dict[str, Any]]:
        """Return every record, ordered by number."""
        return audit_chain.records(self.path)

    def told(self) -> list[tuple[int, str, int | None]]:
        """Return number, event and `lost` of every line, ordered by number."""
        return [(line["seq"], line["event"], line.get("lost")) for line in self.records()]

    def verify(self) -> int:
        """Check every number, link and MAC, and return the number of lines."""
        return audit_chain.verify(self.path, KEY)
