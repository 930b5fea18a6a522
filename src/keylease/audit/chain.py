"""The chain on the disk: find its end and append a line. The caller holds the audit lock.

A valid head gives the end without reading a day file. It is valid if its MAC fits, it is of this
boot, and it names today's file with its current size. Otherwise read the last line of every day
file. Head and pin also prove that lines are missing.
"""

from __future__ import annotations

from contextlib import suppress
from time import gmtime, strftime
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from keylease.audit import dayfile, retention
from keylease.audit.dayfile import TORN, LastLine
from keylease.audit.evidence import Evidence
from keylease.audit.head import HEAD_BYTES, Head, later
from keylease.audit.head import pack as pack_head
from keylease.audit.head import parse as parse_head
from keylease.audit.head import verify as verify_head
from keylease.audit.line import NO_LINE, digest, format_time, key_id, pack
from keylease.audit.retention import Day
from keylease.audit.witness import checkpoint
from keylease.errors import StateError
from keylease.model import NANOSECONDS

if TYPE_CHECKING:
    from keylease.audit.events import Event
    from keylease.audit.pin import PinStore
    from keylease.audit.witness import Witness
    from keylease.model import Moment
    from keylease.secrets.secret import Secret
    from keylease.statefile import Directory
    from keylease.system.clock import Deadline

HEAD: Final = "head"
NO_CONFIGURATION: Final = "0" * 16
"""The configuration in a head if it is unknown."""
_ORPHAN_SECONDS: Final = 60.0
_MARK: Final = b"-"


class Surroundings(NamedTuple):
    """The parts of a chain outside its directory."""

    pin: PinStore
    witness: Witness
    retention_days: int | None
    """`None` if unknown: then no day is removed."""


class Chain:
    """The chain of one audit directory, for one entry and the lines that must precede it.

    Args:
        directory: The audit directory, with its lock held.
        at: The clock reading of the entry.
        key: The audit key, if available.
        around: The pin, the witness and the retention.
        deadline: How long reading the files may take.

    Raises:
        StateError: a day file cannot be read, or its end was not written by keylease; or reading
            takes too long.
    """

    def __init__(
        self,
        directory: Directory,
        at: Moment,
        key: Secret | None,
        around: Surroundings,
        deadline: Deadline,
    ) -> None:
        self._directory = directory
        self._deadline = deadline
        self._at = at
        self._key = key
        self._key_id = None if key is None else key_id(key)
        self._around = around
        self._file = strftime("%Y-%m-%d", gmtime(at.wall_ns // NANOSECONDS)) + retention.SUFFIX
        data = directory.read_start(HEAD, HEAD_BYTES + 1) or b""
        self._left, is_marked = data[:HEAD_BYTES], len(data) > HEAD_BYTES
        self._claimed = parse_head(self._left)
        head, pin = self._believed(self._left), self._believed(around.pin.read())
        self._end = later(head, pin)
        """The last line that head or pin prove, if either is valid."""
        self.configuration = self._end.configuration if self._end else NO_CONFIGURATION
        """The digest of the configuration at the last line, if known."""
        self._synced = self._end.synced if self._end else 0
        self._days: dict[str, LastLine] = {}
        self._tail, self._size = LastLine(0, NO_LINE), 0
        self.notes: list[tuple[Event, dict[str, Any]]] = []
        """Events to append before the next line, with their extra fields."""
        if is_marked or not (head and head is self._end and self._is_whole(head)):
            self._look()

    def append(self, fields: dict[str, Any], *, sync: bool) -> None:
        """Append one record with its number, time and links.

        Args:
            fields: The other fields. Names in them are already cut.
            sync: Return only when the line is on the disk.

        Raises:
            StateError: the line could not be written.
        """
        seq = self._tail.seq + 1
        line = {
            "seq": seq,
            "time": format_time(self._at.wall_ns),
            "boottime_ns": self._at.boot_ns,
            **fields,
            "prev": self._tail.digest,
        }
        # `prev` is the digest of the line before, including its mac, so each mac covers all earlier
        # lines.
        packed = pack(line, self._key, self._key_id)
        is_first = self._size == 0
        is_due = self._around.witness.wants(str(fields["event"]), seq, is_first=is_first)
        # Sync the first line of a file, which also syncs the file's name. Later syncs cover only
        # the bytes, and a power cut could lose the whole file.
        sync = sync or is_first or is_due
        self._directory.append(self._file, packed, sync=sync)
        self._tail = LastLine(seq, digest(packed))
        self._size += len(packed)
        if sync:
            self._synced = seq
        self._keep_head()
        if is_due and self._key and self._key_id:
            told = checkpoint(seq, self._tail.digest, self._key, self._key_id)
            self._around.witness.tell(told)

    def expired(self) -> dict[str, Any] | None:
        """Return the days to remove, if this line opens a new day."""
        days = self._around.retention_days
        # Only a line with a mac can prove the chain after removed days.
        if self._size or days is None or self._key is None:
            return None
        old = retention.expired(self._days, self._file, days)
        if not old:
            return None
        known = []
        for name, tail in self._days.items():
            self._in_time()
            known.append(Day(name, dayfile.first_seq(self._directory, name), *tail))
        going = retention.removable(known, old)
        last = max(going, key=lambda day: day.last, default=None)
        if last is None:
            return None
        files = [day.name for day in going]
        return {"files": files, "through": last.last, "digest": last.digest}

    def remove(self, files: list[str]) -> None:
        """Remove day files and their set-aside parts, until the deadline."""
        try:
            going = set(files)
            aside = [name for name in self._directory.names() if name.partition(TORN)[0] in going]
            # Remove the day files last: the next rotation finds them again if this one stops.
            for name in sorted(going.union(aside), key=going.__contains__):
                self._in_time()
                self._directory.remove(name)
            self._directory.sweep(_ORPHAN_SECONDS)
        except StateError:
            # The removal is recorded, and the next rotation removes the rest. Old files must not
            # stop a release.
            return

    def _in_time(self) -> None:
        """Raise if the answer is late. The files can have any size and number."""
        if not self._deadline.remaining():
            msg = "the audit directory has too many or too large files to read in time"
            hint = "try again; if that does not help, move large or foreign files out of audit"
            raise StateError(msg, hint)

    def _believed(self, data: bytes | None) -> Head | None:
        """Return the head if its MAC fits. Without the key, no head is valid."""
        if data is None or self._key is None or not verify_head(data, self._key):
            return None
        return parse_head(data)

    def _is_whole(self, head: Head) -> bool:
        """Return whether the head's line is the last of today's file; if so, use it as the end."""
        if head.boot != self._at.boot or head.file != self._file:
            return False
        if self._directory.size(head.file) != head.size:
            return False
        self._tail, self._size = LastLine(head.seq, head.digest), head.size
        return True

    def _look(self) -> None:
        """Find the end of the chain in the files, and missing lines."""
        torn = 0
        # The number decides, not the file's name: if the wall clock was set back, later lines are
        # in an older file. Reading 90 files takes 2 to 3 ms.
        for name in retention.day_files(self._directory.names()):
            self._in_time()
            last_line, cut = dayfile.mend(self._directory, name, self._in_time)
            torn += cut
            if last_line:
                self._days[name] = last_line
        last = max(self._days, key=lambda name: self._days[name].seq, default=None)
        if last:
            self._tail = self._days[last]
        self._size = self._directory.size(self._file) or 0
        self.notes += [("audit.recovered", {"lost": 0})] * torn
        self._compare()
        if last and last != self._file:
            self._leave(last)

    def _compare(self) -> None:
        """Compare the end in the files with the one that head or pin prove."""
        end, found, key = self._end, self._tail, self._key
        evidence = Evidence(self._directory, self._days, self._in_time)
        if end is None:
            if key and evidence.has_mac():
                # An attacker who removes lines also removes head and pin. Record their absence
                # before the next head covers the rest.
                self.notes.append(("audit.unvouched", {}))
            return
        if (end.seq, end.digest) == found:
            return
        if end.seq < found.seq and evidence.has_end(end):
            return
        lost = max(1, end.seq - found.seq) if end.seq >= found.seq else None
        is_reboot = end.boot != self._at.boot and end.synced < end.seq
        # Another boot id alone is no reboot: see `keylease.rules.boot_is_over`.
        up_since = (self._at.wall_ns - self._at.boot_ns) // NANOSECONDS
        began = strftime("%Y-%m-%dT%H:%M:%S", gmtime(up_since)).encode("ascii")
        if key and is_reboot and evidence.has_synced(end, key, began):
            # A power cut lost lines that were never on the disk. None is of a release, which waits
            # for its line. Their numbers are used again.
            self.notes.append(("audit.recovered", {"lost": lost}))
            return
        # The lines were on the disk, or in the memory of this boot: they were removed or replaced.
        # Continue the chain after the proved end.
        self.notes.append(("audit.truncated", {"lost": lost}))
        self._tail = LastLine(max(end.seq, found.seq), end.digest)

    def _leave(self, last: str) -> None:
        """Prepare for a line in another file."""
        # `synced` covers all lines up to its own, so sync those in the former file.
        self._directory.append(last, b"", sync=True)
        if self._end and self._key and self._claimed:
            # Invalidate the old head now. Otherwise it would fit again if this process died before
            # it writes the new head, and the clock was set back to the old file's day.
            self._write_head(self._end._replace(file=self._file, size=0))

    def _keep_head(self) -> None:
        head = Head(
            self._tail.seq,
            self._synced,
            self._file,
            self._size,
            self._tail.digest,
            self._at.boot,
            self.configuration,
            self._key_id,
        )
        if self._key:
            self._around.pin.write(self._write_head(head))
        elif self._claimed and self._claimed.file != self._file:
            # Without the key there is no new head. The old one does not fit the size of its file
            # any more, unless that file gets no more lines. So mark it as outdated with a byte.
            self._rewrite_head(self._left + _MARK)

    def _write_head(self, head: Head) -> bytes:
        data = pack_head(head, self._key)
        self._rewrite_head(data)
        return data

    def _rewrite_head(self, data: bytes) -> None:
        # A failure is harmless: the line is written. The old head does not fit the file, so the
        # next process reads the files; `audit verify` reports it.
        with suppress(StateError):
            self._directory.rewrite(HEAD, data)
