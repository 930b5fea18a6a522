"""Compare the end of the log with its three records: the head, the pin, and the system log.

The remaining lines do not show that lines were removed from the end. Only these records do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from keylease.audit import head as heads
from keylease.audit.read.verdict import Observation, Result
from keylease.audit.witness import parse

if TYPE_CHECKING:
    from collections.abc import Mapping

    from keylease.secrets.secret import Secret

HEAD: Final = "the head record"
PIN: Final = "the pin"
WITNESS: Final = "the system log"
_BESIDE: Final = "there is no head record beside the log, so its last lines may be missing"
_OUTSIDE: Final = "nothing outside the log says where it ends, so its last lines may be missing"


class End:
    """The records of the end, to compare with the lines.

    Args:
        keys: The available audit keys by their ids.
        boot: The boot of this machine, if the log is from this machine.
    """

    def __init__(self, keys: Mapping[str, Secret], boot: str | None) -> None:
        self._keys = keys
        self._boot = boot
        self._claims: dict[int, list[tuple[str, str]]] = {}
        self._reach: dict[str, int] = {}
        self._head: heads.Head | None = None
        self._findings: list[Observation] = []

    def add(self, name: str, data: bytes | None) -> None:
        """Add the record `HEAD` or `PIN`. Ignore bytes that are no record."""
        found = None if data is None else heads.parse(data)
        if data is None or found is None:
            return
        key = self._keys.get(found.key or "")
        if found.key is None:
            self._find("key-missing", f"{name} was written without the audit key")
        elif key is None:
            self._find("key-missing", f"{name} is of an audit key that is not at hand, {found.key}")
        elif not heads.verify(data, key):
            self._find("edited", f"{name} does not have the MAC that the audit key gives it")
            return
        if name == HEAD:
            self._head = found
        self._claim(name, found.seq, found.digest)

    def add_witness(self, text: str) -> None:
        """Add a line of the system log, if it is a checkpoint of this log."""
        found = parse(text)
        key = None if found is None else self._keys.get(found.key)
        # NOTE: any user can write to the system log, so only a valid MAC counts.
        if found is not None and key is not None and found.fits(key):
            self._claim(WITNESS, found.seq, found.digest)

    def refuted(self, seq: int, digest: str) -> str | None:
        """Return the record that names another digest for line `seq`, or `None`."""
        others = [name for name, expected in self._claims.get(seq, ()) if expected != digest]
        if others == [HEAD] and self._is_by_crash(seq - 1):
            # A power cut removed the line, and its number was used again. The new line was written
            # without the key (locked keychain), so the head was not updated.
            message = f"{HEAD} knows of another line {seq}, which was not on the disk before the"
            self._find("pin-missing", f"{message} restart")
            return None
        return next(iter(others), None)

    def close(self, last: int) -> list[Observation]:
        """Return the findings about the end, given that line `last` is the last."""
        for name, reach in self._reach.items():
            if reach > last:
                self._tell_missing(name, reach, last)
        outside = [self._reach[name] for name in (PIN, WITNESS) if name in self._reach]
        self._tell_behind(HEAD, self._reach.get(HEAD), last, _BESIDE)
        self._tell_behind(PIN, max(outside, default=None), last, _OUTSIDE)
        return self._findings

    def _tell_missing(self, name: str, reach: int, last: int) -> None:
        lost = f"{reach - last} line{'' if reach == last + 1 else 's'} after line {last}"
        if name == HEAD and self._is_by_crash(last):
            message = f"{name} knows of {lost}, which were not on the disk before the restart"
            self._find("pin-missing", message)
        else:
            self._find("truncated", f"{name} knows of {lost}, which are not there")

    def _is_by_crash(self, last: int) -> bool:
        """Return whether a power cut can explain that the log ends at line `last`.

        Lines about ends are not synced one by one. A power cut can remove them and leave a head
        that knows them. The head also names its boot and the last synced line.
        """
        head = self._head
        rebooted = head is not None and self._boot not in {None, head.boot}
        return rebooted and head is not None and last >= head.synced and PIN not in self._reach

    def _tell_behind(self, name: str, reach: int | None, last: int, nothing: str) -> None:
        if reach is None:
            self._find("pin-missing", nothing)
        elif reach == last - 1:
            self._find("tail-ahead", f"{name} is one line behind the log, as after a crash")
        elif reach < last:
            self._find("pin-missing", f"{name} is {last - reach} lines behind the log")

    def _claim(self, name: str, seq: int, digest: str) -> None:
        self._claims.setdefault(seq, []).append((name, digest))
        self._reach[name] = max(seq, self._reach.get(name, 0))

    def _find(self, result: Result, message: str) -> None:
        self._findings.append(Observation(result, message))
