"""Checkpoints are sent at fixed lines, read back from the system log, and believed by MAC."""

import os
import socket
import sys
from typing import NoReturn

import pytest
from support.audit_place import CALLER, KEY, MemoryWitness, Place

from keylease.audit.chain import Surroundings
from keylease.audit.events import Entry
from keylease.audit.line import digest, key_id
from keylease.audit.log import AuditLog
from keylease.audit.witness import EVERY, Nobody, SystemLog, checkpoint, parse
from keylease.secrets.secret import Secret
from keylease.statefile.directory import Files
from keylease.system.clock import Deadline

SECRET = Secret(KEY)
TOLD = checkpoint(7, "ab" * 32, SECRET, key_id(SECRET))


@pytest.fixture
def place(tmp_path):
    """Return an empty state directory with a log in it."""
    return Place(tmp_path / "keylease")


def test_a_checkpoint_is_read_back_from_what_the_system_log_prints():
    """A checkpoint is found behind the prefixes of journalctl and syslogd."""
    assert TOLD == parse(TOLD.text())
    assert TOLD == parse(f"Nov 22 10:11:12 host keylease[77]: {TOLD.text()}\n")
    assert TOLD.fits(SECRET)


def test_a_checkpoint_that_anybody_could_write_is_not_believed():
    """A checkpoint without the audit key's MAC, which any user can write, is not believed."""
    assert not TOLD.fits(Secret(bytes(32)))
    for change in ({"seq": 8}, {"digest": "cd" * 32}, {"key": "0" * 16}, {"mac": "0" * 64}):
        assert not TOLD._replace(**change).fits(SECRET)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "keylease: started",
        "audit checkpoint",
        "audit checkpoint seq=1",
        TOLD.text().replace("seq=7", "seq=x"),
        TOLD.text().replace("seq=7", "seq=-7"),
        TOLD.text().replace("seq=7", "seq=" + "7" * 5000),
        TOLD.text().replace("seq=7", "seq=\u0667"),
        TOLD.text().replace(" mac=", " mac=\udcff"),
        TOLD.text() + " more",
    ],
    ids=lambda text: ascii(text[:30]),
)
def test_anything_else_in_the_system_log_is_passed_over(text):
    """Other text in the system log is ignored."""
    assert parse(text) is None


def test_a_day_keys_and_every_so_many_lines_are_told(place):
    """Each day, key and so many lines send a checkpoint, so removed lines are noticed."""
    for _ in range(2 * EVERY):
        place.write()
    place.clock.advance(86_400)
    place.write()
    place.log().log_or_gap(Entry("vault.revoked"), place.clock.now())
    place.write("key.rotated")
    place.end()

    expected = [1, EVERY, 2 * EVERY, 2 * EVERY + 1, 2 * EVERY + 2, 2 * EVERY + 3]
    assert expected == [told.seq for told in place.witness.told]
    lines = place.raw()
    for told in place.witness.told:
        assert told.fits(SECRET)
        assert digest(lines[told.seq - 1]) == told.digest


def test_what_was_told_is_on_the_disk(place, monkeypatch):
    """Lines are synced before their checkpoint, so a power cut looks like no attack."""
    place.write()
    synced = []
    monkeypatch.setattr(Files, "sync_data", lambda _self, fd: synced.append(fd))
    place.log().log_or_gap(Entry("vault.revoked"), place.clock.now())

    assert 1 == len(synced)
    assert 2 == len(place.witness.told)


def test_without_the_key_or_a_witness_nobody_is_told(place):
    """Without the key or a witness no checkpoint is sent."""
    place.end(key=None)
    assert [] == place.witness.told

    around = Surroundings(place.pin, Nobody(), 90)
    log = AuditLog(place.state, Deadline(2), CALLER, around)
    log.key = Secret(KEY)
    log.log(Entry("vault.created"), place.clock.now())
    assert [] == place.witness.told
    assert not Nobody().wants("vault.created", EVERY, is_first=True)
    assert MemoryWitness().wants("vault.created", EVERY, is_first=True), "the control"


def listening(path) -> socket.socket:
    """Return the socket of a system log that takes every message."""
    log = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    log.bind(str(path))
    log.settimeout(0)
    return log


def fill(queue: socket.socket) -> NoReturn:
    """Send until the queue is full."""
    for _ in range(1_000_000):
        queue.send(b"x")
    pytest.fail("a queue without a reader took a million messages")


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no syslog")
def test_the_system_log_gets_one_line_under_the_programs_name(tmp_path):
    """The system log gets one line under keylease's name and the security facility."""
    with listening(tmp_path / "log") as log:
        SystemLog(str(tmp_path / "log")).tell(TOLD)
        heard = log.recv(4096).decode()

    assert heard.startswith("<37>")
    assert f" keylease[{os.getpid()}]: audit checkpoint seq=7 " in heard
    assert TOLD == parse(heard)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no syslog")
def test_a_system_log_that_hangs_holds_nothing_up(tmp_path):
    """A full or missing system log does not delay a release."""
    SystemLog(str(tmp_path / "nobody")).tell(TOLD)
    with (
        listening(tmp_path / "log") as log,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other,
    ):
        other.settimeout(0)
        other.connect(str(tmp_path / "log"))
        with pytest.raises(BlockingIOError):
            fill(other)

        SystemLog(str(tmp_path / "log")).tell(TOLD)

        assert b"x" == log.recv(4096), "the control: the queue was full of something else"
