"""An audit log of any length, made of real lines without the writer."""

from __future__ import annotations

from time import gmtime, strftime
from typing import TYPE_CHECKING, Any

from keylease.audit import head as heads
from keylease.audit.events import FIELDS
from keylease.audit.line import NO_LINE, digest, key_id, pack
from keylease.secrets.secret import Secret

if TYPE_CHECKING:
    from pathlib import Path

KEY = b"audit key of a log for the tests"
OTHER_KEY = b"another audit key, for the tests"
# 2026-11-20T00:00:00Z
START = 1_795_132_800
DAY = 86_400
BOOT = "b" * 32
TARGET = {"namespace": "web", "protocol": "https", "host": "git.example", "path": None}


class Log:
    """A log below `directory`, with the head and pin that fit its last line."""

    def __init__(self, directory: Path, key: bytes | None = KEY) -> None:
        self.directory = directory
        self.key = key
        self.seq, self.prev, self.file = 0, NO_LINE, ""
        self.synced = 0
        directory.mkdir(exist_ok=True)

    def add(self, at: float, event: str = "session.released", **fields: Any) -> bytes:
        """Append a line at so many seconds after the log's start, and return it."""
        wall = START + at
        micros = round(wall % 1 * 1_000_000)
        named = FIELDS[event].names
        self.seq = fields.pop("seq", self.seq + 1)
        usual = {
            "seq": self.seq,
            "time": f"{strftime('%Y-%m-%dT%H:%M:%S', gmtime(wall))}.{micros:06d}Z",
            "boottime_ns": int(at * 1_000_000_000) + 1,
            "event": event,
            "outcome": "ok",
            "reason": None,
            "session": "0123456789abcdef" * 2 if named else None,
            "target": TARGET if named else None,
            "username": "ada" if named else None,
            "caller": {"pid": 7, "executable": "/usr/bin/git", "parent": None, "terminal": None},
            "prev": fields.pop("prev", self.prev),
        }
        with Secret(self.key or b"") as key:
            used = key if self.key else None
            line = pack(usual | fields, used, key_id(key) if self.key else None)
        self.file = strftime("%Y-%m-%d.jsonl", gmtime(wall))
        with (self.directory / self.file).open("ab") as file:
            file.write(line)
        self.prev = digest(line)
        return line

    def fill(self, days: int = 4, lines: int = 6) -> Log:
        """Append the same number of lines on each of several days."""
        for day in range(days):
            for number in range(lines):
                self.add(day * DAY + number * 60)
        return self

    def head(self, **changes: Any) -> bytes:
        """Return the head, or the pin, for the present end."""
        with Secret(self.key or b"") as key:
            name = key_id(key) if self.key else None
            size = (self.directory / self.file).stat().st_size
            head = heads.Head(
                self.seq, self.synced, self.file, size, self.prev, BOOT, "c" * 16, name
            )
            return heads.pack(head._replace(**changes), key if self.key else None)

    def seal(self) -> bytes:
        """Write the head beside the log and return it; the pin is the same."""
        data = self.head()
        (self.directory / "head").write_bytes(data)
        return data

    def rows(self) -> list[tuple[Path, int]]:
        """Return the file and position of every line, ordered by day."""
        return [
            (path, number)
            for path in sorted(self.directory.glob("*.jsonl"))
            for number in range(len(path.read_bytes().splitlines()))
        ]
