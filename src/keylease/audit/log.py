"""Write the audit log: one JSON object a line, one file a UTC day, appended and never rewritten.

The line of a release is written before the release. If it cannot be written, the release fails. The
end of a session goes on without its line; an `audit.gap` line follows when the log works again
(docs/decisions/0002-audit-fails-closed-for-release.md). No line contains a secret, its length or
its digest.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from keylease.audit import retention
from keylease.audit.chain import NO_CONFIGURATION, Chain, Surroundings
from keylease.audit.events import Entry
from keylease.audit.pin import Nowhere
from keylease.audit.witness import Nobody
from keylease.errors import AuditError, StateError
from keylease.faults import Steps
from keylease.system.clock import Deadline

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from contextlib import AbstractContextManager

    from keylease.model import Caller, Moment, Reason, Target
    from keylease.secrets.secret import Secret
    from keylease.statefile import Directory

LONGEST_NAME: Final = 1024
"""The longest name in characters; a longer one is cut and marked."""
_LOCK: Final = "lock"
_GAP: Final = "audit.gap"
_GAP_LOCK: Final = "audit.gap.lock"
_ENDING_SECONDS: Final = 0.5
"""How long a line about an end may wait for the lock, because the end waits with it."""
_GAP_SECONDS: Final = 0.1
"""How long the count of a lost line may wait for its lock, even after the deadline."""
_GAP_DIGITS: Final = 20
_NO_GAP: Final = b"0" * _GAP_DIGITS
_CALLER: Final = ("pid", "executable", "parent", "terminal")
"""The fields of the caller in a line."""


ALONE: Final = Surroundings(Nowhere(), Nobody(), retention.DAYS)
"""No pin, no witness, and the default retention."""


class Configured(NamedTuple):
    """The files of the configuration."""

    digest: str
    """16 hexadecimal digits that change with every byte of the files."""
    files: tuple[str, ...]
    """The existing files."""


class AuditLog:
    """The audit log of one state directory, for one operation.

    For that operation it holds the key, and remembers a failed write so that later lines do not
    wait again.

    Args:
        state: Opens the state directory; called for each line.
        deadline: The deadline of the operation, also for the wait for the lock.
        caller: The caller in each line.
        around: The pin, the witness and the retention.
        configured: The files of the configuration; `None` if they could not be read.
    """

    def __init__(
        self,
        state: Callable[[], AbstractContextManager[Directory]],
        deadline: Deadline,
        caller: Caller,
        around: Surroundings = ALONE,
        configured: Configured | None = None,
    ) -> None:
        self._state = state
        self._deadline = deadline
        self._caller = _cut_all({name: getattr(caller, name) for name in _CALLER})
        self._around = around
        self._configured = configured
        self._patience = _ENDING_SECONDS
        self._told: BaseException | None = None
        self.key: Secret | None = None
        """The audit key, once the keychain was read. A line without it has no `mac`; the next line
        with a `mac` covers it through `prev`."""

    def forget(self) -> None:
        """Wipe the key at the end of the operation."""
        key, self.key = self.key, None
        if key is not None:
            key.wipe()

    def log(self, entry: Entry, at: Moment) -> None:
        """Append one line about a release. On return it is on the disk, with a MAC.

        Args:
            entry: The entry.
            at: The clock reading that decided it.

        Raises:
            AuditError: the line could not be written, or there is no audit key.
            ValueError: the event, outcome or reason is not in the fixed lists.
        """
        if self.key is None:
            msg = "the audit key was deleted from the keychain, so no line can have a MAC"
            raise AuditError(msg, "make a new one with: keylease login URL")
        self._write(entry, at, sync=True, deadline=self._deadline)

    def log_or_gap(self, entry: Entry, at: Moment) -> None:
        """Append one line about an end or a refusal. A failure must not delay the end.

        Count the lines that cannot be written. The next line that can be written is preceded by an
        `audit.gap` line with their number.
        """
        entry.check()
        with Steps() as steps:
            with steps.step():
                deadline = Deadline(min(self._patience, self._deadline.remaining()))
                self._write(entry, at, sync=False, deadline=deadline)
            if steps.failures:
                # After a failed write, do not wait for the lock again.
                self._patience = 0.0
                with steps.step():
                    self._count_lost()

    def log_ended(self, sessions: Iterable[str], reason: Reason, at: Moment, steps: Steps) -> None:
        """Append a line for each ended session. A failure does not stop the next line.

        Args:
            sessions: The ids.
            reason: Why they ended.
            at: The clock reading that decided it.
            steps: Delays an interrupt until the last line.
        """
        for session in sessions:
            with steps.step():
                self.log_or_gap(Entry("session.ended", "ok", reason, session), at)

    def log_fault(
        self,
        error: BaseException,
        at: Moment,
        target: Target | None = None,
        username: str | None = None,
    ) -> None:
        """Record a refusal because of a fault (`keylease.faults`), once for each fault."""
        if error is not self._told:
            self._told = error
            entry = Entry("session.refused", "refused", "internal", None, target, username)
            self.log_or_gap(entry, at)

    def _write(self, entry: Entry, at: Moment, *, sync: bool, deadline: Deadline) -> None:
        entry.check()
        try:
            with (
                self._state() as state,
                state.child("audit", create=True) as directory,
                directory.lock(_LOCK, deadline),
            ):
                chain = Chain(directory, at, self.key, self._around, deadline)
                self._rotate(chain)
                for event, extra in chain.notes:
                    chain.append(self._fields(Entry(event, extra=extra)), sync=True)
                self._tell_gap(chain, state, deadline)
                self._tell_configuration(chain)
                chain.append(self._fields(entry), sync=sync)
        except StateError as error:
            msg = f"the audit log cannot be written: {error}"
            # Keep the original hint, which is more specific.
            raise AuditError(msg, error.hint or AuditError.hint) from error

    def _tell_configuration(self, chain: Chain) -> None:
        """Append a `config.changed` line if the configuration changed since the last line."""
        # Check once: the operation uses the files as they were when it began.
        configured, before = self._configured, chain.configuration
        if configured is None or self.key is None:
            return
        chain.configuration = configured.digest
        if before not in {configured.digest, NO_CONFIGURATION}:
            extra = {
                "configuration": configured.digest,
                "files": [_cut(name) for name in configured.files],
            }
            chain.append(self._fields(Entry("config.changed", extra=extra)), sync=False)
        self._configured = None

    def _count_lost(self) -> None:
        try:
            with self._state() as state, state.lock(_GAP_LOCK, Deadline(_GAP_SECONDS)):
                # Rewrite the count in place: a full disk has no room for a new file. The first line
                # makes this file.
                lost = int(state.read(_GAP, _GAP_DIGITS) or b"0") + 1
                state.rewrite(_GAP, b"%0*d" % (_GAP_DIGITS, lost))
        except (StateError, ValueError):
            # Without the state directory the line cannot even be counted. An uncounted line is
            # better than a session that does not end.
            return

    def _rotate(self, chain: Chain) -> None:
        """If this entry opens a new day, record the removal of old days, then remove them."""
        removed = chain.expired()
        if removed:
            chain.append(
                self._fields(Entry("audit.rotated", extra={"removed": removed})), sync=True
            )
            chain.remove(removed["files"])

    def _tell_gap(self, chain: Chain, state: Directory, deadline: Deadline) -> None:
        """Append an `audit.gap` line if lines were lost since the last one."""
        if state.read(_GAP, _GAP_DIGITS) == _NO_GAP:
            return
        with state.lock(_GAP_LOCK, deadline):
            count = state.read(_GAP, _GAP_DIGITS)
            if count not in {None, _NO_GAP}:
                lost = int(count) if count and count.isdigit() else None
                chain.append(self._fields(Entry("audit.gap", extra={"lost": lost})), sync=True)
            state.rewrite(_GAP, _NO_GAP)

    def _fields(self, entry: Entry) -> dict[str, Any]:
        """Return the fields of an entry's line."""
        entry.check()
        fields = entry._asdict()
        extra = fields.pop("extra")
        return {
            **fields,
            "session": _cut(entry.session),
            "target": None if entry.target is None else _cut_all(entry.target._asdict()),
            "username": _cut(entry.username),
            "caller": self._caller,
            **extra,
        }


def _cut(value: object) -> object:
    """Return a name, cut to the longest length that a line may have."""
    if not isinstance(value, str) or len(value) <= LONGEST_NAME:
        return value
    return f"{value[:LONGEST_NAME]}[cut, {len(value)} characters]"


def _cut_all(names: dict[str, Any]) -> dict[str, object]:
    return {key: _cut(value) for key, value in names.items()}
