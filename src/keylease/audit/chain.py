"""The chain on the disk: where it ends, and one line more. The audit lock is held by the caller.

The head tells where the chain ends without a look into any day file, if it can be believed: its MAC
fits, it is of this boot, and the file it names is today's and as long as it says. Else every day
file's last line is read. Head and pin also tell what the files do not: that lines were there which
are gone.
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
"""What a head has where the configuration is not known."""
_ORPHAN_SECONDS: Final = 60.0
_MARK: Final = b"-"


class Surroundings(NamedTuple):
    """What a chain is told of that is not in its directory."""

    pin: PinStore
    witness: Witness
    retention_days: int | None
    """`None` if it is not known: then nothing is removed."""


class Chain:
    """The chain of one audit directory, for the time of one entry and what comes before it.

    Args:
        directory: The audit directory, its lock held.
        at: The clock reading of the entry.
        key: The audit key, if it is at hand.
        around: Where the pin is, who is a witness, and how long days are kept.
        deadline: How long the files may be looked at.

    Raises:
        StateError: a day file cannot be read, or ends with what keylease did not write; or there is
            too much to look at.
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
        """The last line that head or pin vouch for, if either does."""
        self.configuration = self._end.configuration if self._end else NO_CONFIGURATION
        """What the configuration was at the last line, as far as that is known."""
        self._synced = self._end.synced if self._end else 0
        self._days: dict[str, LastLine] = {}
        self._tail, self._size = LastLine(0, NO_LINE), 0
        self.notes: list[tuple[Event, dict[str, Any]]] = []
        """What is to be told before the next line: events, and the fields of their own."""
        if is_marked or not (head and head is self._end and self._is_whole(head)):
            self._look()

    def append(self, fields: dict[str, Any], *, sync: bool) -> None:
        """Append one record, numbered, dated and chained.

        Args:
            fields: What it says. Names in it are no longer than a line has room for.
            sync: Return only when it is on the disk.

        Raises:
            StateError: it is not there.
        """
        seq = self._tail.seq + 1
        line = {
            "seq": seq,
            "time": format_time(self._at.wall_ns),
            "boottime_ns": self._at.boot_ns,
            **fields,
            "prev": self._tail.digest,
        }
        # The digest of the line before is in `prev`, and that line's own mac is in its digest: so
        # each mac vouches for all that came before it.
        packed = pack(line, self._key, self._key_id)
        is_first = self._size == 0
        is_due = self._around.witness.wants(str(fields["event"]), seq, is_first=is_first)
        # A file's name reaches the disk with its first line. A later line that is synced brings
        # only its bytes there, and a power cut could take the whole file.
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
        """Return which days may go, if this line opens a day and some may."""
        days = self._around.retention_days
        # Only a line with a mac can vouch for what follows what was removed.
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
        """Remove day files, and what was set aside of them, as far as the time allows."""
        try:
            going = set(files)
            aside = [name for name in self._directory.names() if name.partition(TORN)[0] in going]
            # The day files last, for a rotation goes by those that are there.
            for name in sorted(going.union(aside), key=going.__contains__):
                self._in_time()
                self._directory.remove(name)
            self._directory.sweep(_ORPHAN_SECONDS)
        except StateError:
            # They are on record as removed, and the next rotation removes what is left of them. A
            # release is not refused because old lines are still there.
            return

    def _in_time(self) -> None:
        """Raise if the answer is late. Files can be of any size, and of any number."""
        if not self._deadline.remaining():
            msg = "the audit directory has more in it than can be looked through in time"
            hint = "try again; if that does not help, move what is large or foreign out of audit"
            raise StateError(msg, hint)

    def _believed(self, data: bytes | None) -> Head | None:
        """Return a head for which the key vouches. Without the key none is believed."""
        if data is None or self._key is None or not verify_head(data, self._key):
            return None
        return parse_head(data)

    def _is_whole(self, head: Head) -> bool:
        """Return whether the head's line is the last one there is, and where the next one goes."""
        if head.boot != self._at.boot or head.file != self._file:
            return False
        if self._directory.size(head.file) != head.size:
            return False
        self._tail, self._size = LastLine(head.seq, head.digest), head.size
        return True

    def _look(self) -> None:
        """Find the end of the chain in the files, and what is missing of it."""
        torn = 0
        # The number decides, not the file's name: a wall clock that was set back for a while has
        # left its lines in an older file. Looking at 90 files takes 2 to 3 ms.
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
        """Hold the end that was found against the one that head or pin vouch for."""
        end, found, key = self._end, self._tail, self._key
        evidence = Evidence(self._directory, self._days, self._in_time)
        if end is None:
            if key and evidence.has_mac():
                # Whoever takes lines takes the head and the pin along. Their absence is on record
                # before the next head vouches for what is left.
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
            # A power cut took lines that were never on the disk. What was released is not among
            # them, for a release waits; and their numbers are free.
            self.notes.append(("audit.recovered", {"lost": lost}))
            return
        # They were on the disk, or in the memory of a machine that still runs: somebody took them,
        # or put others in their place. The chain goes on from where it was.
        self.notes.append(("audit.truncated", {"lost": lost}))
        self._tail = LastLine(max(end.seq, found.seq), end.digest)

    def _leave(self, last: str) -> None:
        """Prepare for a line in another file than the last one."""
        # `synced` speaks of all lines up to its own, so of those in the file that is left, too.
        self._directory.append(last, b"", sync=True)
        if self._end and self._key and self._claimed:
            # If this process dies after the line and before the head, and the clock is set back
            # to the old file's day, nobody must find that the old head fits.
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
            # Without the key the head that vouches for more is left as it is, which does not fit
            # the file's size any more; except where it would fit that of an older file for ever.
            # A byte behind it tells that it is not to go by.
            self._rewrite_head(self._left + _MARK)

    def _write_head(self, head: Head) -> bytes:
        data = pack_head(head, self._key)
        self._rewrite_head(data)
        return data

    def _rewrite_head(self, data: bytes) -> None:
        # If it cannot be written the line is on record all the same, and that is what counts. The
        # head that is left does not fit the file, so the next process looks for itself; `audit
        # verify` says what it lacks.
        with suppress(StateError):
            self._directory.rewrite(HEAD, data)
