"""What a program of the same user does between two lines, and what the next line makes of it.

It can write every file of the log and the pin, and can compute digests, but it does not have the
audit key. Whatever it does, the log is never found ok afterwards. After a mere crash it is.
"""

import json

import pytest
from support.audit_place import KEY, Place

from keylease.audit import head as heads
from keylease.audit.line import digest
from keylease.audit.read.verify import verify
from keylease.secrets.secret import Secret


@pytest.fixture
def place(tmp_path):
    """Return a log of six lines with a MAC."""
    place = Place(tmp_path / "keylease")
    for _ in range(6):
        place.write()
    return place


def judge(place):
    """Return the verdict on the log with its present head and pin."""
    boot = place.clock.now().boot
    return verify(str(place.audit), [Secret(KEY)], place.pin.data, boot=boot)


def forge(place, count):
    """Append lines without a MAC that continue the chain."""
    path = place.newest()
    for _ in range(count):
        last = path.read_bytes().splitlines(keepends=True)[-1]
        record = json.loads(last)
        record |= {"seq": record["seq"] + 1, "event": "session.ended", "reason": "logout"}
        record |= {"key": None, "prev": digest(last), "mac": None}
        with path.open("ab") as file:
            file.write(json.dumps(record, separators=(",", ":")).encode("ascii") + b"\n")


def test_log_that_nobody_touched_is_ok(place):
    """The control: an untouched log is ok, so the verdicts below mean something."""
    place.write()

    assert "ok" == judge(place).result


@pytest.mark.parametrize("count", [1, 2, 3, 9])
def test_forged_lines_in_the_place_of_others(place, count):
    """Removed lines stay missed, however many others take their place."""
    place.take(2)
    forge(place, count)
    assert "ok" != judge(place).result

    place.write()
    assert judge(place).result in {"edited", "truncated"}
    place.write()
    assert judge(place).result in {"edited", "truncated"}


@pytest.mark.parametrize("count", [0, 1, 3])
def test_lines_taken_with_head_and_pin(place, count):
    """Removing lines together with head and pin leaves a permanent trace in the log."""
    place.take(2)
    (place.audit / "head").unlink()
    place.pin.data = None
    forge(place, count)
    assert "ok" != judge(place).result

    place.write()
    assert "ok" != judge(place).result
    place.write()
    assert "ok" != judge(place).result


@pytest.mark.parametrize("count", [0, 1, 3])
def test_lines_taken_and_a_head_without_a_mac_put_there(place, count):
    """A head without a MAC proves nothing."""
    place.take(2)
    forge(place, count)
    place.pin.data = None
    path = place.audit / "head"
    head = heads.parse(path.read_bytes())
    path.write_bytes(heads.pack(head._replace(seq=4 + count, key=None), None))

    place.write()
    assert "pin-missing" == judge(place).result


@pytest.mark.parametrize("count", [0, 2, 3, 4, 5])
def test_a_reboot_is_no_excuse_for_lines_in_the_place_of_others(place, count):
    """A reboot loses only the last line, so the others were removed, whatever replaces them."""
    place.end()
    place.take(4)
    forge(place, count)
    place.pin.data = None
    place.clock.reboot()
    assert "ok" != judge(place).result

    place.write()
    assert judge(place).result in {"edited", "truncated"}


@pytest.mark.parametrize("count", [1, 2])
def test_a_power_cut_before_a_locked_keychain_is_no_attack(place, count):
    """After a power cut the next line reuses the lost numbers, with or without the key."""
    place.end()
    place.take(1)
    place.pin.data = None
    place.clock.reboot()
    for _ in range(count):
        place.end(key=None)
    assert "key-missing" == judge(place).result

    place.write()
    assert "ok" == judge(place).result
    recovered = ("audit.recovered", 1 if count == 1 else None)
    assert recovered in [told[1:] for told in place.told()]


def test_mornings_with_a_locked_keychain_are_no_attack(place):
    """A day that begins without the key keeps the records that prove the day before."""
    for _ in range(3):
        place.clock.advance(86_400)
        place.clock.reboot()
        place.pin.data = None
        place.end(key=None)
        place.end(key=None)
        place.write()
        assert "ok" == judge(place).result


def test_a_log_that_began_with_a_locked_keychain_is_ok(tmp_path):
    """A log that never had a MAC never had a head, so no head is missing."""
    place = Place(tmp_path / "keylease")
    place.end(key=None)
    place.write()

    assert "ok" == judge(place).result
