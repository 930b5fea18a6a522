"""The verdict on a log, for every kind of damage and every missing piece."""

import tracemalloc

import pytest
from support.audit_files import BOOT, DAY, KEY, OTHER_KEY, Log

from keylease.audit.line import digest, key_id
from keylease.audit.read.verdict import EXIT_CODES
from keylease.audit.read.verify import extent, verify
from keylease.audit.witness import checkpoint
from keylease.secrets.secret import Secret


@pytest.fixture
def log(tmp_path):
    """Return a log of four days with six lines each."""
    return Log(tmp_path / "audit").fill()


def judge(log, pin, keys=(KEY,), **named):
    """Return the verdict on a log."""
    return verify(str(log.directory), [Secret(key) for key in keys], pin, **named)


def result(log, pin, keys=(KEY,), **named):
    """Return the verdict in one word."""
    return judge(log, pin, keys, **named).result


def test_log_that_is_whole_is_ok(log):
    """An intact log gets the verdict ok."""
    verdict = judge(log, log.seal())

    assert ("ok", 0, (), 24, 4) == (
        verdict.result,
        verdict.exit_code,
        verdict.findings,
        verdict.lines,
        verdict.days,
    )
    assert (1, 24, None) == (verdict.first, verdict.last, verdict.bad)


def test_worse_verdict_has_the_higher_exit_code():
    """A worse verdict has a higher exit code, so scripts can compare numbers."""
    assert list(EXIT_CODES.values()) == sorted(EXIT_CODES.values())
    assert [0, 20, 21, 22, 23, 24, 25] == list(EXIT_CODES.values())


# The end


@pytest.mark.parametrize("behind", ["head", "pin", "both"])
def test_one_line_ahead_is_what_a_crash_leaves(log, behind):
    """One line that the head or the pin lacks is what a crash leaves, not damage."""
    before = log.seal()
    log.add(4 * DAY)
    if behind == "pin":
        log.seal()

    assert "tail-ahead" == result(log, log.head() if behind == "head" else before)


@pytest.mark.parametrize("lines", [2, 3, 20])
def test_more_than_one_line_ahead_is_not_what_a_crash_leaves(log, lines):
    """More lines than that are no crash: an older head or pin was put back."""
    before = log.seal()
    for number in range(lines):
        log.add(4 * DAY + number)

    assert "pin-missing" == result(log, before)
    assert "pin-missing" == result(log, log.head())
    log.seal()
    assert "pin-missing" == result(log, before)
    assert "ok" == result(log, log.head())


def test_without_a_pin_the_end_is_not_known(log):
    """Without a pin, as after a restart, the log's end is unproven."""
    log.seal()

    assert "pin-missing" == result(log, None)
    assert "pin-missing" == result(log, b"not a pin")


def test_without_a_head_the_log_is_not_ok(log):
    """A log without its head is not ok, even if the pin knows the end."""
    assert "pin-missing" == result(log, log.head())


def test_nothing_at_all_is_not_ok(tmp_path):
    """A missing log is not ok, since a removed log looks like one that never existed."""
    assert "pin-missing" == verify(str(tmp_path / "none"), [Secret(KEY)], None).result


def test_first_line_alone_is_not_excused(tmp_path):
    """A log cut to its first line, without head and pin, does not pass for a crash."""
    log = Log(tmp_path / "audit")
    log.add(0)

    assert "pin-missing" == result(log, None)


def test_lines_that_a_power_cut_took_are_told_from_lines_that_were_taken(log):
    """Unsynced lines lost in a reboot do not count as removed; without a reboot they do."""
    log.synced = log.seq
    log.add(4 * DAY)
    log.add(4 * DAY + 1)
    log.seal()
    (log.directory / log.file).unlink()

    assert "pin-missing" == result(log, None, boot="a" * 32)
    assert "truncated" == result(log, None, boot=BOOT)
    assert "truncated" == result(log, None)


# Keys


def test_without_a_key_it_is_never_ok(log):
    """A log whose MACs cannot be checked is never ok."""
    pin = log.seal()

    assert "key-missing" == result(log, pin, ())
    assert "key-missing" == result(log, pin, (OTHER_KEY,))
    assert "ok" == result(log, pin, (OTHER_KEY, KEY))


def test_log_under_a_forgers_key_is_not_ok(tmp_path):
    """A log rewritten under another key, with head and pin, is not ok."""
    log = Log(tmp_path / "audit", OTHER_KEY).fill()

    assert "key-missing" == result(log, log.seal())


def test_log_under_two_keys_needs_both(log):
    """A log with a renewed audit key verifies only with both keys."""
    log.key = OTHER_KEY
    log.add(4 * DAY)
    pin = log.seal()

    assert "key-missing" == result(log, pin, (KEY,))
    assert "key-missing" == result(log, pin, (OTHER_KEY,))
    assert "ok" == result(log, pin, (KEY, OTHER_KEY))


def test_line_without_a_mac_is_vouched_for_by_the_next(log):
    """A line written with the keychain locked is vouched for by the next line."""
    log.key = None
    log.add(4 * DAY)
    assert "key-missing" == result(log, log.seal())

    log.key = KEY
    log.add(4 * DAY + 1)
    verdict = judge(log, log.seal())

    assert ("ok", 1) == (verdict.result, verdict.without_mac)


def test_edited_line_without_a_mac_is_found(log):
    """An edited line without a MAC is found by the link of the next line."""
    log.key = None
    line = log.add(4 * DAY)
    log.key = KEY
    log.add(4 * DAY + 1)
    path = log.directory / log.file
    path.write_bytes(path.read_bytes().replace(line, line.replace(b'"ada"', b'"eve"')))

    assert "edited" == result(log, log.seal())


# Head and pin that are wrong


def test_record_that_was_changed_is_found(log):
    """A forged head or pin is not believed."""
    pin = log.seal()
    wrong = pin.replace(b"c" * 16, b"d" * 16)

    assert "edited" == result(log, wrong)
    (log.directory / "head").write_bytes(wrong)
    assert "edited" == result(log, pin)


def test_record_of_another_log_is_found(log, tmp_path):
    """A genuine head or pin of another log does not fit this one."""
    pin = log.seal()
    other = Log(tmp_path / "other").fill(days=2)
    other.add(3 * DAY, username="eve")

    assert "edited" == result(log, other.head())
    (log.directory / "head").write_bytes(other.head())
    assert "edited" == result(log, pin)


def test_record_of_another_key_is_found(log):
    """A head or pin under an unavailable key vouches for nothing."""
    pin = log.seal()
    log.key = OTHER_KEY

    assert "key-missing" == result(log, log.head())
    log.seal()
    assert "key-missing" == result(log, pin)


def test_record_without_a_mac_vouches_for_nothing(log):
    """A head or pin without a MAC vouches for nothing, since any program could write it."""
    pin = log.seal()
    log.key = None

    assert "key-missing" == result(log, log.head())
    log.seal()
    assert "key-missing" == result(log, pin)


# What the log tells itself


def rotated(log, name, through, last):
    """Remove a day as retention does, and append the line that records it."""
    removed = {"files": [name], "through": through, "digest": last}
    log.add(5 * DAY, "audit.rotated", removed=removed)
    (log.directory / name).unlink()


def test_cut_by_retention_is_vouched_for(log):
    """Days that retention removed and recorded leave the log ok."""
    lines = (log.directory / "2026-11-20.jsonl").read_bytes().splitlines(keepends=True)
    rotated(log, "2026-11-20.jsonl", 6, digest(lines[-1]))

    verdict = judge(log, log.seal())

    assert ("ok", 7, 1) == (verdict.result, verdict.first, verdict.told["audit.rotated"])


def test_interrupted_removal_is_vouched_for(log):
    """A crash before or during a recorded removal leaves the log ok."""
    lines = (log.directory / "2026-11-21.jsonl").read_bytes().splitlines(keepends=True)
    rotated(log, "2026-11-20.jsonl", 12, digest(lines[-1]))

    assert "ok" == result(log, log.seal())


def test_more_removed_than_told_is_a_gap(log):
    """A missing day that retention did not record is a gap."""
    lines = (log.directory / "2026-11-20.jsonl").read_bytes().splitlines(keepends=True)
    rotated(log, "2026-11-20.jsonl", 6, digest(lines[-1]))
    pin = log.seal()
    (log.directory / "2026-11-21.jsonl").unlink()

    verdict = judge(log, pin)

    assert "gap" == verdict.result
    assert ("2026-11-22.jsonl", 1, 13) == (verdict.bad.file, verdict.bad.number, verdict.bad.seq)


def test_days_removed_without_a_word_are_a_gap(log):
    """Missing first days without a record are a gap."""
    pin = log.seal()
    (log.directory / "2026-11-20.jsonl").unlink()

    assert "gap" == result(log, pin)


def test_loss_that_was_noticed_stays_visible(log):
    """A recorded loss stays in the verdict after the log goes on."""
    log.add(4 * DAY, "audit.truncated", seq=log.seq + 4, lost=3)

    verdict = judge(log, log.seal())

    assert ("truncated", 1) == (verdict.result, verdict.told["audit.truncated"])
    assert ("2026-11-24.jsonl", 1, 28) == (
        verdict.bad.file,
        verdict.bad.number,
        verdict.bad.seq,
    )


def test_loss_that_is_greater_than_told_is_a_gap(log):
    """A record of a smaller loss does not explain a larger one."""
    log.add(4 * DAY, "audit.truncated", seq=log.seq + 5, lost=3)

    assert "gap" == result(log, log.seal())


def test_lines_about_lines_are_counted(log):
    """The verdict counts the lines in which the log records its own faults."""
    log.add(4 * DAY, "audit.gap", lost=2)
    log.add(4 * DAY, "audit.recovered", lost=0)

    verdict = judge(log, log.seal())

    assert "ok" == verdict.result
    assert (1, 1) == (verdict.told["audit.gap"], verdict.told["audit.recovered"])


def test_torn_tail_is_told_and_no_fault(log):
    """A torn last line is reported but is no fault, since no release depended on it."""
    pin = log.seal()
    with (log.directory / log.file).open("ab") as file:
        file.write(b'{"seq":25,"ti')

    assert ("ok", 1) == (judge(log, pin).result, judge(log, pin).torn)


def test_clock_that_was_set_back_is_no_fault(log):
    """Lines in an older file are no fault if their numbers are in order."""
    log.add(DAY + 3600)
    log.add(2 * DAY + 3600)
    log.add(DAY + 7200)
    log.add(5 * DAY)

    assert "ok" == result(log, log.seal())
    assert "ok" == result(log, log.seal(), since="2026-11-23")


# Files


def test_file_under_another_days_name_is_found(log):
    """A day file under another day's name is found, since searches would miss its lines."""
    pin = log.seal()
    (log.directory / "2026-11-21.jsonl").rename(log.directory / "2026-11-19.jsonl")

    assert "edited" == result(log, pin)


def test_only_what_was_there_at_the_start_counts(log):
    """Lines appended during the check are neither missing nor unexpected."""
    pin = log.seal()
    seen = extent(str(log.directory))
    log.add(4 * DAY)
    log.add(5 * DAY)
    log.seal()

    assert "ok" == result(log, pin, seen=seen)


# A part of the log


def test_since_looks_at_the_days_from_there_on(log):
    """A check of part of the log reads only its days and says that it was a part."""
    pin = log.seal()
    (log.directory / "2026-11-20.jsonl").write_bytes(b"changed\n")

    verdict = judge(log, pin, since="2026-11-22")

    assert ("ok", "2026-11-22", 13, 12) == (
        verdict.result,
        verdict.since,
        verdict.first,
        verdict.lines,
    )
    assert "edited" == result(log, pin)


def test_since_a_day_without_lines_looks_at_the_last_one(log):
    """A check since a day without lines reads the last day and still finds removed lines."""
    pin = log.seal()
    verdict = judge(log, pin, since="2027-01-01")

    assert ("ok", "2026-11-23") == (verdict.result, verdict.since)
    (log.directory / "2026-11-23.jsonl").unlink()
    assert "truncated" == result(log, pin, since="2027-01-01")


# The witness


def told(log, *, key=KEY):
    """Return the system log's record of the log's present end."""
    with Secret(key) as secret:
        text = checkpoint(log.seq, log.prev, secret, key_id(secret)).text()
    return f"Nov 22 11:26:21 machine keylease[7]: {text}\n"


def test_witness_vouches_for_the_end(log):
    """The system log vouches for the end if there is no pin."""
    log.seal()

    assert "ok" == result(log, None, witness=["something else\n", told(log)])
    assert "pin-missing" == result(log, None, witness=["something else\n"])


def test_witness_finds_what_head_and_pin_were_made_to_forget(log):
    """The system log shows that a whole older state was put back."""
    pin = log.seal()
    log.add(4 * DAY)
    log.add(4 * DAY + 1)
    heard = told(log)
    (log.directory / log.file).unlink()

    assert "truncated" == result(log, pin, witness=[heard])


def test_witness_finds_another_line_in_the_place_of_one(tmp_path):
    """The system log shows a log that was rewritten with the audit key itself."""
    log = Log(tmp_path / "audit").fill()
    heard = told(log)
    other = Log(tmp_path / "other").fill(days=3)
    for number in range(12):
        other.add(3 * DAY + number, username="eve")

    assert "edited" == result(other, other.seal(), witness=[heard])


def test_forged_checkpoint_is_no_witness(log):
    """A forged checkpoint in the system log, which any user can write, is not believed."""
    pin = log.seal()
    for number in range(3):
        log.add(4 * DAY + number)
    heard = [told(log, key=OTHER_KEY), told(log).replace("mac=", "mac=0"), "audit checkpoint seq=9"]
    (log.directory / log.file).unlink()

    assert "ok" == result(log, pin, witness=heard)


def test_memory_does_not_grow_with_the_log(tmp_path):
    """A log of years is verified in the memory of one day."""
    peaks = []
    for lines in (500, 5000):
        log = Log(tmp_path / str(lines)).fill(days=3, lines=lines)
        pin = log.seal()
        judge(log, pin)
        tracemalloc.start()
        assert "ok" == result(log, pin)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()

    assert peaks[1] < 2 * peaks[0] + 1_000_000
