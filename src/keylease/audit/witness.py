"""An external witness: checkpoints of the chain in the system log, which the user cannot edit.

A failure never refuses or delays a release: the system log confirms nothing, so the sender cannot
know whether a checkpoint arrived. `keylease audit verify --witness` checks that none is missing.
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
"""Every line whose number is a multiple of this is a checkpoint."""
# The socket of syslogd(8) and journald: _PATH_LOG of paths.h.
_SOCKET: Final = "/var/run/syslog" if sys.platform == "darwin" else "/dev/log"
# RFC 3164, 4.1.1: facility 4 (security messages) times 8, and severity 5 (normal but significant).
_PRIORITY: Final = 4 * 8 + 5
_ABOUT_KEYS: Final = ("vault.", "key.")
_MARK: Final = "audit checkpoint "
_LONGEST_NUMBER: Final = 20
"""Digits, as in a head. int() is slow for thousands of digits."""
_FIELDS: Final = ("seq", "digest", "key", "mac")


class Checkpoint(NamedTuple):
    """A message to the system log: the line `seq` has this digest."""

    seq: int
    digest: str
    key: str
    """The id of the audit key that the MAC is made with."""
    mac: str

    def text(self) -> str:
        """Return the text of the message, after the program's name."""
        return _text(self.seq, self.digest, self.key) + f" mac={self.mac}"

    def fits(self, key: Secret) -> bool:
        """Return whether it was made with that key. Any user can write to the system log."""
        return hmac.compare_digest(self.mac, _mac(key, self.seq, self.digest, self.key))


class Witness(Protocol):
    """A receiver of checkpoints."""

    def wants(self, event: str, seq: int, *, is_first: bool) -> bool:
        """Return whether this line is a checkpoint; `is_first` for the first line of a file."""

    def tell(self, checkpoint: Checkpoint) -> None:
        """Send a checkpoint without waiting. It may get lost."""


class Nobody:
    """No witness."""

    def wants(self, event: str, seq: int, *, is_first: bool) -> bool:
        """Want nothing."""
        del event, seq, is_first
        return False

    def tell(self, checkpoint: Checkpoint) -> None:
        """Do nothing."""


class SystemLog:
    """The system log, through the socket of syslog(3), but never waiting.

    Args:
        address: The socket at which the system log listens.
    """

    def __init__(self, address: str = _SOCKET) -> None:
        self._address = address

    def wants(self, event: str, seq: int, *, is_first: bool) -> bool:
        """Want the first line of a day, every line about keys, and every 64th line (`EVERY`)."""
        return is_first or event.startswith(_ABOUT_KEYS) or seq % EVERY == 0

    def tell(self, checkpoint: Checkpoint) -> None:
        """Send a checkpoint. It is lost if the system log is full or not running."""
        if sys.platform == "win32":
            return  # the configuration refuses a witness there
        import socket  # only where a witness is configured

        # RFC 3164, 4.1: the time of this machine, with a blank before a day of one digit.
        time = strftime("%b %e %H:%M:%S", localtime())
        line = f"<{_PRIORITY}>{time} {IDENTITY}[{os.getpid()}]: {checkpoint.text()}"
        # syslog(3) would wait for a hung system log and so delay the release.
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as log:
            log.settimeout(0)
            log.connect(self._address)
            log.send(line.encode("ascii"))


def checkpoint(seq: int, digest: str, key: Secret, name: str) -> Checkpoint:
    """Return the checkpoint of a line; `name` is the key's id."""
    return Checkpoint(seq, digest, name, _mac(key, seq, digest, name))


def parse(text: str) -> Checkpoint | None:
    """Return the checkpoint in a line of the system log, if there is one.

    Text before it, such as the time and the name of the machine, is ignored.
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
    # The covered text begins unlike a line or a head, so the three MACs cannot be exchanged.
    return hmac.digest(key.reveal(), _text(seq, digest, name).encode("utf-8"), "sha256").hex()
