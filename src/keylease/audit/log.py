"""Write the audit log: one JSON object a line, one file a UTC day, appended and never rewritten.

A line is there before what it tells takes effect. What releases a secret fails if the line cannot
be written; what ends a session goes on, and the gap is told once the log is back
(docs/decisions/0002-audit-fails-closed-for-release.md). No line holds a secret, its length or its
digest.
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
"""Characters of a name that are kept; a longer one is cut and marked."""
_LOCK: Final = "lock"
_GAP: Final = "audit.gap"
_GAP_LOCK: Final = "audit.gap.lock"
_ENDING_SECONDS: Final = 0.5
"""How long a line about an end may wait for its turn: the end waits with it."""
_GAP_SECONDS: Final = 0.1
"""How long counting a lost line may wait, when everything else has used its time up."""
_GAP_DIGITS: Final = 20
_NO_GAP: Final = b"0" * _GAP_DIGITS
_CALLER: Final = ("pid", "executable", "parent", "terminal")
"""What a line tells of the caller."""


ALONE: Final = Surroundings(Nowhere(), Nobody(), retention.DAYS)
"""No pin, no witness, and as many days as if nobody says otherwise."""


class Configured(NamedTuple):
    """What the configuration was read from."""

    digest: str
    """16 hexadecimal digits that change with every byte of the files."""
    files: tuple[str, ...]
    """The files that are there."""


class AuditLog:
    """The audit log of one state directory, for one operation.

    What it learns is for the length of that operation: the key, and that a line could not be
    written, so that the next one waits for nothing.

    Args:
        state: Opens the state directory; called at each line.
        deadline: How long the operation may take, and the log may wait for its lock.
        caller: Who asks, as each line has it.
        around: Where the pin is, who is a witness, and how long days are kept.
        configured: What the configuration was read from; `None` if it could not be read.
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
        """The audit key, once the keychain gave it. A line written without it has no `mac`; the
        next line that has one vouches for it through `prev`."""

    def forget(self) -> None:
        """Wipe the key: the operation is over."""
        key, self.key = self.key, None
        if key is not None:
            key.wipe()

    def log(self, entry: Entry, at: Moment) -> None:
        """Append one line about a release. It is on the disk on return, chained with the key.

        Args:
            entry: What is about to happen.
            at: The clock reading that decided it.

        Raises:
            AuditError: the line is not in the log, or there is no key to vouch for it.
            ValueError: an event, outcome or reason that is not in the fixed lists.
        """
        if self.key is None:
            msg = "the audit key was deleted from the keychain, so no line can be vouched for"
            raise AuditError(msg, "make a new one with: keylease login URL")
        self._write(entry, at, sync=True, deadline=self._deadline)

    def log_or_gap(self, entry: Entry, at: Moment) -> None:
        """Append one line about an end or a refusal, which nothing may hold up.

        If that cannot be done the lost lines are counted, and the next line that can be written
        is preceded by an `audit.gap` line with their number.
        """
        entry.check()
        with Steps() as steps:
            with steps.step():
                deadline = Deadline(min(self._patience, self._deadline.remaining()))
                self._write(entry, at, sync=False, deadline=deadline)
            if steps.failures:
                # Who could not write one line will not wait for the next.
                self._patience = 0.0
                with steps.step():
                    self._count_lost()

    def log_ended(self, sessions: Iterable[str], reason: Reason, at: Moment, steps: Steps) -> None:
        """Append a line for each session that has ended, whatever becomes of the one before it.

        Args:
            sessions: Their ids.
            reason: Why they have ended.
            at: The clock reading that decided it.
            steps: Holds an interrupt back until the last line.
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
        """Write down, once, that something was not done because of a fault (`keylease.faults`)."""
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
            # What refuses knows best what helps, where it says so.
            raise AuditError(msg, error.hint or AuditError.hint) from error

    def _tell_configuration(self, chain: Chain) -> None:
        """Append that the configuration is another one than at the last line, if it is."""
        # Once in an operation, which goes by the files as they were when it began.
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
                # The count is rewritten in place in a file that is there from the first line on:
                # on a full disk there is no room for a new one.
                lost = int(state.read(_GAP, _GAP_DIGITS) or b"0") + 1
                state.rewrite(_GAP, b"%0*d" % (_GAP_DIGITS, lost))
        except (StateError, ValueError):
            # The whole state directory is out of reach, so there is no place for the count either.
            # Holding up the end of a session for it would be the worse of the two.
            return

    def _rotate(self, chain: Chain) -> None:
        """Remove what is old, if this entry opens a day, after a line that says so."""
        removed = chain.expired()
        if removed:
            chain.append(
                self._fields(Entry("audit.rotated", extra={"removed": removed})), sync=True
            )
            chain.remove(removed["files"])

    def _tell_gap(self, chain: Chain, state: Directory, deadline: Deadline) -> None:
        """Append how many lines were lost since the last one, if any were."""
        if state.read(_GAP, _GAP_DIGITS) == _NO_GAP:
            return
        with state.lock(_GAP_LOCK, deadline):
            count = state.read(_GAP, _GAP_DIGITS)
            if count not in {None, _NO_GAP}:
                lost = int(count) if count and count.isdigit() else None
                chain.append(self._fields(Entry("audit.gap", extra={"lost": lost})), sync=True)
            state.rewrite(_GAP, _NO_GAP)

    def _fields(self, entry: Entry) -> dict[str, Any]:
        """Return an entry as the fields of a line."""
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
    """Return a name of any length as one that a line has room for."""
    if not isinstance(value, str) or len(value) <= LONGEST_NAME:
        return value
    return f"{value[:LONGEST_NAME]}[cut, {len(value)} characters]"


def _cut_all(names: dict[str, Any]) -> dict[str, object]:
    return {key: _cut(value) for key, value in names.items()}
