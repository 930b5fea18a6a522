"""A witness outside: checkpoints of the chain in the system log, where the user cannot edit them.

Never a reason to refuse or to wait: the system log confirms nothing, so nobody could tell whether a
checkpoint arrived. Whether they are all there is what `keylease audit verify --witness` finds out.
"""

from __future__ import annotations

import hmac
import os
import sys
from contextlib import suppress
from time import localtime, strftime
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

if TYPE_CHECKING:
    from keylease.secrets.secret import Secret

IDENTITY: Final = "keylease"
"""The name under which the system log has them: `journalctl -t keylease`."""
EVERY: Final = 64
"""Every line whose number this divides is a checkpoint."""
# Where syslogd(8) and journald listen: _PATH_LOG of paths.h.
_SOCKET: Final = "/var/run/syslog" if sys.platform == "darwin" else "/dev/log"
# RFC 3164, 4.1.1: facility 4 (security messages) times 8, and severity 5 (normal but significant).
_PRIORITY: Final = 4 * 8 + 5
_ABOUT_KEYS: Final = ("vault.", "key.")
_MARK: Final = "audit checkpoint "
_LONGEST_NUMBER: Final = 20
"""Digits, as in a head. Python takes its time over thousands."""
_FIELDS: Final = ("seq", "digest", "key", "mac")


class Checkpoint(NamedTuple):
    """What the system log is told: that the line `seq` has this digest."""

    seq: int
    digest: str
    key: str
    """The id of the audit key that the MAC is made with."""
    mac: str

    def text(self) -> str:
        """Return it as the system log has it, after the program's name."""
        return _text(self.seq, self.digest, self.key) + f" mac={self.mac}"

    def fits(self, key: Secret) -> bool:
        """Return whether it was made with that key. Any user can write into the system log."""
        return hmac.compare_digest(self.mac, _mac(key, self.seq, self.digest, self.key))


class Witness(Protocol):
    """Where checkpoints go."""

    def wants(self, event: str, seq: int, *, is_first: bool) -> bool:
        """Return whether it is to be told of this line; `is_first` of the first one of a file."""

    def tell(self, checkpoint: Checkpoint) -> None:
        """Take one. Whether it arrived is not known, and nothing waits for it."""


class Nobody:
    """No witness."""

    def wants(self, event: str, seq: int, *, is_first: bool) -> bool:
        """Want nothing."""
        del event, seq, is_first
        return False

    def tell(self, checkpoint: Checkpoint) -> None:
        """Take nothing down."""


class SystemLog:
    """The system log, reached as syslog(3) reaches it, but without its waiting.

    Args:
        address: The socket at which the system log listens.
    """

    def __init__(self, address: str = _SOCKET) -> None:
        self._address = address

    def wants(self, event: str, seq: int, *, is_first: bool) -> bool:
        """Want the first line of a day, all about keys, and one in `EVERY` of the rest."""
        return is_first or event.startswith(_ABOUT_KEYS) or seq % EVERY == 0

    def tell(self, checkpoint: Checkpoint) -> None:
        """Send one to the system log. One that is full or away misses it."""
        if sys.platform == "win32":
            return  # where the configuration refuses it
        import socket  # only where a witness is configured

        # RFC 3164, 4.1: the time of this machine, with a blank before a day of one digit.
        time = strftime("%b %e %H:%M:%S", localtime())
        line = f"<{_PRIORITY}>{time} {IDENTITY}[{os.getpid()}]: {checkpoint.text()}"
        # syslog(3) would wait for a system log that hangs, and a release would wait with it.
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as log:
            log.settimeout(0)
            log.connect(self._address)
            log.send(line.encode("ascii"))


def checkpoint(seq: int, digest: str, key: Secret, name: str) -> Checkpoint:
    """Return the checkpoint of a line; `name` is the key's id."""
    return Checkpoint(seq, digest, name, _mac(key, seq, digest, name))


def parse(text: str) -> Checkpoint | None:
    """Return the checkpoint that a line of the system log tells of, if it does.

    What stands before it, such as the time and the name of the machine, is of no matter.
    """
    _, mark, rest = text.rpartition(_MARK)
    words = [word.partition("=") for word in rest.split()]
    if not mark or tuple(name for name, _, _ in words) != _FIELDS:
        return None
    seq, digest, key, mac = (value for _, _, value in words)
    if not (rest.isascii() and seq.isdigit() and len(seq) <= _LONGEST_NUMBER):
        return None
    return Checkpoint(int(seq), digest, key, mac)


def _text(seq: int, digest: str, key: str) -> str:
    return f"{_MARK}seq={seq} digest={digest} key={key}"


def _mac(key: Secret, seq: int, digest: str, name: str) -> str:
    # What it covers begins like neither a line nor a head, so none can pass for another.
    return hmac.digest(key.reveal(), _text(seq, digest, name).encode("utf-8"), "sha256").hex()
