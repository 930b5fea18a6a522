"""Damage to the audit log, at every place and at random ones: each has its verdict, and none is ok.

The attacker can write all files of the log, and can restore an older pin, but does not have the
audit key. Each kind of damage is a function of the log and of a random generator.
"""

import random
import shutil

import pytest
from support.audit_files import DAY, KEY, OTHER_KEY, Log
from support.fuzz import EXAMPLES
from support.share import part_of

from keylease.audit.read.verify import verify
from keylease.secrets.secret import Secret

DAYS, LINES = 4, 6
SEEDS = part_of(range(max(40, EXAMPLES // 10)))


@pytest.fixture
def log(tmp_path):
    """Return a log of a few days, with its head."""
    log = Log(tmp_path / "audit").fill(DAYS, LINES)
    log.seal()
    return log


def judge(log, pin, keys=(KEY,)):
    """Return the verdict on a log."""
    return verify(str(log.directory), [Secret(key) for key in keys], pin)


def read(path):
    """Return the lines of a file."""
    return path.read_bytes().splitlines(keepends=True)


def cut(log, count):
    """Remove lines from the end, and the days that become empty."""
    for path in sorted(log.directory.glob("*.jsonl"), reverse=True):
        lines = read(path)
        taken = min(count, len(lines))
        path.write_bytes(b"".join(lines[: len(lines) - taken]))
        if taken == len(lines):
            path.unlink()
        count -= taken


# The end


@pytest.mark.parametrize("count", range(1, DAYS * LINES + 1))
@pytest.mark.parametrize("records", ["both", "head only", "pin only"])
def test_lines_taken_from_the_end(log, count, records):
    """However many lines are removed, a remaining record of the end shows it."""
    pin = log.head()
    cut(log, count)
    if records == "pin only":
        (log.directory / "head").unlink()

    assert "truncated" == judge(log, None if records == "head only" else pin).result


@pytest.mark.parametrize("count", [1, 7, DAYS * LINES])
def test_lines_taken_with_both_records(log, count):
    """Without any record of the end the verdict does not claim that the end is complete."""
    cut(log, count)
    (log.directory / "head").unlink()

    assert "pin-missing" == judge(log, None).result


def test_newest_day_deleted(log):
    """A deleted day is missed like its lines."""
    pin = log.head()
    (log.directory / log.file).unlink()

    assert "truncated" == judge(log, pin).result
    assert "truncated" == judge(log, None).result


def test_everything_deleted(log):
    """An empty directory is not taken for a log without events."""
    pin = log.head()
    shutil.rmtree(log.directory)

    assert "truncated" == judge(log, pin).result
    assert "pin-missing" == judge(log, None).result


@pytest.mark.parametrize("lines", [1, 2, 9])
def test_older_copy_put_back(log, tmp_path, lines):
    """An older copy with its own head is consistent, but the pin shows that it is old."""
    shutil.copytree(log.directory, tmp_path / "copy")
    older = log.head()
    for number in range(lines):
        log.add(DAYS * DAY + number)
    pin = log.seal()
    shutil.rmtree(log.directory)
    (tmp_path / "copy").rename(log.directory)

    assert "truncated" == judge(log, pin).result
    # With the older pin the log looks as if nothing had happened since. That is the reason for
    # witnesses.
    assert "ok" == judge(log, older).result
    assert "pin-missing" == judge(log, None).result


@pytest.mark.parametrize("lines", range(1, 5))
def test_only_one_line_passes_for_a_crash(log, lines):
    """Older records beside a newer log do not pass for a crash."""
    older = log.seal()
    for number in range(lines):
        log.add(DAYS * DAY + number)

    assert ("tail-ahead" if lines == 1 else "pin-missing") == judge(log, older).result


@pytest.mark.parametrize("keys", [(), (OTHER_KEY,)])
@pytest.mark.parametrize("with_pin", [False, True])
def test_without_the_right_key_it_is_never_ok(log, keys, with_pin):
    """A log that cannot be checked is never called ok."""
    assert "key-missing" == judge(log, log.head() if with_pin else None, keys).result


# Within


def edit(log, chance):
    """Change one byte of a line, but not its line feed."""
    path, number = chance.choice(log.rows())
    lines = read(path)
    data = bytearray(lines[number])
    place = chance.randrange(len(data) - 1)
    data[place] = chance.choice([each for each in range(256) if each not in {data[place], 0x0A}])
    lines[number] = bytes(data)
    path.write_bytes(b"".join(lines))


def reword(log, chance):
    """Change a name, and format the line as keylease would write it."""
    path, number = chance.choice(log.rows())
    lines = read(path)
    lines[number] = lines[number].replace(b'"ada"', b'"eve"')
    path.write_bytes(b"".join(lines))


def disown(log, chance):
    """Change a line and remove its MAC, as if the key had been unavailable."""
    path, number = chance.choice(log.rows())
    lines = read(path)
    begin, _, end = lines[number].replace(b'"ada"', b'"eve"').partition(b',"key":')
    prev = end.partition(b'"prev":')[2][:66]
    lines[number] = begin + b',"key":null,"prev":' + prev + b',"mac":null}\n'
    path.write_bytes(b"".join(lines))


def insert(log, chance):
    """Insert a line of another log with the same key between two lines."""
    other = Log(log.directory.parent / "other")
    other.seq = chance.randrange(DAYS * LINES)
    path, number = chance.choice(log.rows())
    day = sorted(log.directory.glob("*.jsonl")).index(path)
    lines = read(path)
    lines.insert(number, other.add(day * DAY + number * 60, username="eve"))
    path.write_bytes(b"".join(lines))


def double(log, chance):
    """Write a line a second time, somewhere on the same day."""
    path, number = chance.choice(log.rows())
    lines = read(path)
    lines.insert(chance.randrange(len(lines) + 1), lines[number])
    path.write_bytes(b"".join(lines))


def swap(log, chance):
    """Exchange two lines of a day."""
    path, number = chance.choice(log.rows())
    lines = read(path)
    other = chance.choice([each for each in range(len(lines)) if each != number])
    lines[number], lines[other] = lines[other], lines[number]
    path.write_bytes(b"".join(lines))


def carry(log, chance):
    """Move a line to another day."""
    path, number = chance.choice(log.rows())
    other = chance.choice([each for each in log.directory.glob("*.jsonl") if each != path])
    lines, others = read(path), read(other)
    others.insert(chance.randrange(len(others) + 1), lines.pop(number))
    path.write_bytes(b"".join(lines))
    other.write_bytes(b"".join(others))


def exchange(log, chance):
    """Exchange the names of two days."""
    one, two = chance.sample(sorted(log.directory.glob("*.jsonl")), 2)
    one.rename(log.directory / "kept")
    two.rename(one)
    (log.directory / "kept").rename(two)


def remove(log, chance):
    """Remove a line that is not the last."""
    path, number = chance.choice(log.rows()[:-1])
    lines = read(path)
    del lines[number]
    path.write_bytes(b"".join(lines))


def remove_day(log, chance):
    """Delete a day that is not the last."""
    chance.choice(sorted(log.directory.glob("*.jsonl"))[:-1]).unlink()


def remove_within_day(log, chance):
    """Remove a run of lines from the middle."""
    path, number = chance.choice([row for row in log.rows()[:-1] if row[1] < LINES - 1])
    lines = read(path)
    del lines[number : chance.randrange(number + 1, LINES)]
    path.write_bytes(b"".join(lines))


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(
    ("damage", "expected"),
    [
        (edit, "edited"),
        (reword, "edited"),
        (disown, "edited"),
        (insert, "edited"),
        (double, "edited"),
        (swap, "edited"),
        (carry, "edited"),
        (exchange, "edited"),
        (remove, "gap"),
        (remove_day, "gap"),
        (remove_within_day, "gap"),
    ],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_damage_has_its_verdict(log, damage, expected, seed):
    """Damage at any place is found and named, and the verdict points to a line."""
    pin = log.head()
    damage(log, random.Random(seed))

    verdict = judge(log, pin)

    assert (expected, True) == (verdict.result, verdict.bad is not None)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("damage", [edit, reword, insert, double, swap, carry, remove])
def test_damage_is_found_without_the_key(log, damage, seed):
    """Without the key the chain still shows damage to any reader, but proves no more than that."""
    chance = random.Random(seed)
    log.add(DAYS * DAY)  # a line that is left alone
    log.seal()
    pin = log.head()
    path = log.directory / log.file
    kept = path.read_bytes()
    path.unlink()
    damage(log, chance)
    path.write_bytes(kept)

    assert judge(log, pin, ()).result in {"edited", "gap"}


@pytest.mark.parametrize("seed", SEEDS)
def test_record_that_is_changed_is_never_ok(log, seed):
    """A change of any byte of head or pin is found."""
    chance = random.Random(seed)
    pin = log.seal()
    wrong = bytearray(pin)
    wrong[chance.randrange(len(wrong))] ^= 1 << chance.randrange(8)

    assert "ok" != judge(log, bytes(wrong)).result
    (log.directory / "head").write_bytes(wrong)
    assert "ok" != judge(log, pin).result


@pytest.mark.parametrize("seed", SEEDS)
def test_any_bytes_have_a_verdict(log, seed):
    """No bytes in the files stop the verifier."""
    chance = random.Random(seed)
    pin = log.head()
    for path in (*log.directory.glob("*.jsonl"), log.directory / "head"):
        data = bytearray(path.read_bytes())
        for _ in range(chance.randrange(1, 9)):
            start = chance.randrange(len(data) + 1)
            data[start : start + chance.randrange(40)] = chance.randbytes(chance.randrange(40))
        path.write_bytes(data)

    assert judge(log, pin).result in {"edited", "gap", "truncated"}
