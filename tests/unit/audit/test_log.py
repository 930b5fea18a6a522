"""The log numbers, links and dates its lines, and survives crashes and clock changes."""

import itertools
import json
import re
import sys

import pytest
from support.audit_place import CALLER, KEY, Place
from support.rig import EXAMPLE, Rig, bring

from keylease.audit.events import Entry
from keylease.audit.line import digest, key_id
from keylease.audit.log import LONGEST_NAME, Configured
from keylease.errors import AuditError, LockTimeoutError, StateError
from keylease.secrets.secret import Secret
from keylease.statefile.directory import Directory, Files
from keylease.system.clock import Deadline

POSIX = pytest.mark.skipif(sys.platform == "win32", reason="modes are those of POSIX")
DAY = 86_400


@pytest.fixture
def place(tmp_path):
    """Return an empty state directory with a log in it."""
    return Place(tmp_path / "keylease")


def test_a_line_tells_what_happened_when_and_to_whom(place):
    """A line says who used which credential for what, and when."""
    at = place.clock.now()
    entry = Entry("session.ended", "ok", "idle", "ab" * 16, EXAMPLE._replace(path="a.git"), "bob")
    place.log().log_or_gap(entry, at)

    (record,) = place.records()
    caller = record.pop("caller")
    assert CALLER._asdict() == {**caller, "began": ""}
    assert ["pid", "executable", "parent", "terminal"] == list(caller)
    assert re.fullmatch("[0-9a-f]{64}", record.pop("mac"))
    assert key_id(Secret(KEY)) == record.pop("key")
    assert {
        "seq": 1,
        "time": "2026-09-21T14:13:20.000000Z",
        "boottime_ns": 3_600_000_000_000,
        "event": "session.ended",
        "outcome": "ok",
        "reason": "idle",
        "session": "ab" * 16,
        "target": {"namespace": "web", "protocol": "https", "host": "example.com", "path": "a.git"},
        "username": "bob",
        "prev": "0" * 64,
    } == record
    assert ["2026-09-21.jsonl"] == place.files()


def test_lines_are_numbered_and_linked_across_processes(place):
    """Lines of several processes form one chain, so a removed or changed line is noticed."""
    for _ in range(5):
        place.write()

    assert 5 == place.verify()


def test_the_chain_goes_on_at_midnight(place):
    """A new day starts a new file but continues the chain."""
    place.write()
    place.clock.advance(DAY)
    place.write()
    place.write()

    assert ["2026-09-21.jsonl", "2026-09-22.jsonl"] == place.files()
    assert 3 == place.verify()


@pytest.mark.parametrize(
    "days",
    [(0, 1, 0, 1, 0), (0, -1, 0, 0, -1), (0, 27_000, 0, 27_000), (5, 4, 3, 4, 5), (0, 0, -20)],
)
def test_the_chain_goes_on_when_the_wall_clock_jumps(place, days):
    """A clock set back or forward neither forks the chain nor repeats a number."""
    start = place.clock.now().wall_ns // 10**9
    for count, day in enumerate(days, 1):
        place.clock.set_wall(start + day * DAY)
        place.write()
        place.write()

        assert 2 * count == place.verify()


def test_microseconds_and_the_boot_clock_are_told(place):
    """A line has the boot clock too, so lines can be ordered whatever the wall clock does."""
    place.clock.advance(1.000_001_9)
    place.log().log(Entry("login"), place.clock.now())

    (record,) = place.records()
    assert "2026-09-21T14:13:21.000001Z" == record["time"]
    assert 3_601_000_001_900 == record["boottime_ns"]


def test_a_release_without_the_audit_key_is_refused(place):
    """A release without the audit key is refused, as its line could not be proven."""
    with pytest.raises(AuditError, match="audit key was deleted") as caught:
        place.log(key=None).log(Entry("session.released"), place.clock.now())

    assert "login" in caught.value.hint
    assert not (place.path / "audit").exists()


def test_an_end_without_the_audit_key_is_written_and_vouched_for_by_the_next_line(place):
    """A session can end without the keychain; the next line vouches for that line."""
    place.log(key=None).log_or_gap(Entry("session.ended", "ok", "logout"), place.clock.now())
    place.write()

    first, second = place.records()
    assert first["mac"] is None
    assert second["mac"] is not None
    assert 2 == place.verify()


@pytest.mark.parametrize(
    "name",
    [
        "line\nfeed",
        "carriage\rreturn",
        "escape\x1b[2J",
        "delete\x7f",
        "nul\0",
        "separators\u2028\u2029\x85",
        "not utf-8 \udcff\udc80",
        'quote"back\\slash',
        "\u202egnirts",
        "\U0001f511" * 2000,
    ],
    ids=ascii,
)
@pytest.mark.parametrize("field", ["host", "path", "protocol", "namespace", "username", "session"])
def test_a_name_is_one_line_of_printable_ascii(place, name, field):
    """Any name is printable ASCII on one line, so it cannot disturb a terminal."""
    target = EXAMPLE._replace(**{field: name}) if field in EXAMPLE._fields else EXAMPLE
    more = {} if field in EXAMPLE._fields else {field: name}
    place.log().log_or_gap(Entry("login", target=target, **more), place.clock.now())

    (line,) = place.raw()
    assert line.endswith(b"}\n")
    assert all(0x20 <= byte < 0x7F for byte in line[:-1])
    record = json.loads(line)
    told = record["target"][field] if field in EXAMPLE._fields else record[field]
    assert told.startswith(name[:LONGEST_NAME])


@pytest.mark.parametrize("character", ["a", "\x01", "\u00e9", "\U0001f511", "\udcff"])
def test_a_mebibyte_of_name_is_cut_and_said_to_be(place, character):
    """A name of a mebibyte is cut and marked, and the next line still finds the chain's end."""
    long = character * (1 << 20)
    target = type(EXAMPLE)(long, long, long, long)
    entry = Entry("login", session=long, target=target, username=long)
    place.log().log_or_gap(entry, place.clock.now())
    place.write()

    first, second = place.records()
    expected = character * LONGEST_NAME + "[cut, 1048576 characters]"
    assert [expected] * 6 == [*first["target"].values(), first["username"], first["session"]]
    assert 2 == second["seq"]
    assert 2 == place.verify()


@pytest.mark.parametrize("way", ["log", "log_or_gap"])
@pytest.mark.parametrize("entry", [Entry("session.stolen"), Entry("login", "ok", "because")])
def test_what_is_not_in_the_lists_is_no_line(place, way, entry):
    """An unlisted event is a programming error and leaves the log unchanged."""
    with pytest.raises(ValueError, match="lists"):
        getattr(place.log(), way)(entry, place.clock.now())

    assert not (place.path / "audit").exists()


def test_what_a_crash_cut_off_is_set_aside_once_and_recorded(place):
    """What a crash tore off is kept aside and recorded once."""
    place.write()
    path = place.path / "audit" / "2026-09-21.jsonl"
    whole = path.read_bytes()
    path.write_bytes(whole + whole[:40])
    place.write()
    place.write()

    assert ["session.released", "audit.recovered"] + ["session.released"] * 2 == [
        record["event"] for record in place.records()
    ]
    assert 4 == place.verify()
    (aside,) = [name for name in place.files() if ".torn-" in name]
    assert whole[:40] == (place.path / "audit" / aside).read_bytes()


@pytest.mark.parametrize("left", [b"", b'{"seq":2,"time"'])
def test_a_day_without_a_whole_line_does_not_end_the_chain(place, left):
    """A day without a complete line continues the chain of the day before."""
    place.write()
    path = place.path / "audit" / "2026-09-22.jsonl"
    path.write_bytes(left)
    path.chmod(0o600)
    place.clock.advance(DAY)
    place.write()

    expected = ["session.released"] + ["audit.recovered"] * bool(left) + ["session.released"]
    assert expected == [record["event"] for record in place.records()]
    assert len(expected) == place.verify()


def test_a_crash_while_setting_aside_is_recovered_from(place, monkeypatch):
    """A second crash while setting aside does not block the log."""
    place.write()
    path = place.path / "audit" / "2026-09-21.jsonl"
    path.write_bytes(path.read_bytes() + b'{"seq":2')

    def crash(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Directory, "truncate", crash)
        with pytest.raises(KeyboardInterrupt):
            place.write()
    place.write()

    assert ["session.released", "audit.recovered", "session.released"] == [
        record["event"] for record in place.records()
    ]
    assert 1 == len([name for name in place.files() if ".torn-" in name])


def test_two_different_pieces_cut_off_at_the_same_place_are_both_kept(place, monkeypatch):
    """Two torn pieces from the same place are both kept."""
    place.write()
    path = place.path / "audit" / "2026-09-21.jsonl"
    whole = path.read_bytes()

    def crash(*_args, **_more):
        raise KeyboardInterrupt

    for piece in (b'{"seq":2,"a', b'{"seq":2,"b'):
        path.write_bytes(whole + piece)
        with monkeypatch.context() as patch:
            patch.setattr(Directory, "append", crash)
            with pytest.raises(KeyboardInterrupt):
                place.write()
    place.write()

    assert 2 == len([name for name in place.files() if ".torn-" in name])
    assert 2 == place.verify()


@pytest.mark.parametrize(
    "last",
    [
        b"not json\n",
        b"[]\n",
        b"{}\n",
        b'{"seq":"2"}\n',
        b'{"seq":1e999}\n',
        b'{"seq":true}\n',
        b"[" * 100_000 + b"\n",
        b"\n",
        b"\xff\xfe\n",
        b"x" * 200_000 + b"\n",
    ],
    ids=lambda last: repr(last[:16]),
)
def test_a_last_line_that_is_not_ours_refuses_with_advice(place, last):
    """A foreign last line is refused with advice instead of continued."""
    place.write()
    path = place.path / "audit" / "2026-09-21.jsonl"
    path.write_bytes(path.read_bytes() + last)

    with pytest.raises(AuditError, match=r"last line of audit/2026-09-21\.jsonl is not one of"):
        place.write()


def test_other_files_in_the_directory_do_no_harm(place):
    """An admin's copy in the directory is left alone."""
    place.write()
    copy = place.path / "audit" / "2026-09-21.jsonl.bak"
    copy.write_bytes(b"anything")
    place.write()

    assert b"anything" == copy.read_bytes()
    assert 2 == place.verify()


def test_a_log_that_waits_too_long_refuses(place):
    """A stopped process that holds the lock does not hang git."""
    place.write()
    with (
        place.state() as state,
        state.child("audit") as directory,
        directory.lock("lock", Deadline(1)),
    ):
        with pytest.raises(AuditError, match="held by another process") as caught:
            place.log(seconds=0.05).log(Entry("login"), place.clock.now())
        assert isinstance(caught.value.__cause__, LockTimeoutError)
        assert LockTimeoutError.hint == caught.value.hint, "there is nothing to repair"
        place.log(seconds=0.05).log_or_gap(Entry("logout"), place.clock.now())
    place.write()

    assert [("audit.gap", 1)] == [
        (record["event"], record["lost"]) for record in place.records() if "lost" in record
    ]


@POSIX
def test_lost_lines_are_told_once_and_before_the_next_line(place):
    """Lost lines are recorded once, with their number, before the next line."""
    place.write()
    (place.path / "audit").chmod(0o755)
    for _ in range(3):
        place.log().log_or_gap(Entry("session.ended", "ok", "logout"), place.clock.now())
    (place.path / "audit").chmod(0o700)
    place.write("session.extended")
    place.write("session.extended")

    told = [(record["event"], record.get("lost")) for record in place.records()]
    assert [
        ("session.released", None),
        ("audit.gap", 3),
        ("session.extended", None),
        ("session.extended", None),
    ] == told
    assert 4 == place.verify()


@pytest.mark.parametrize("count", [b"", b"x" * 20, b"-0000000000000000001", b" 1"])
def test_a_damaged_count_is_told_as_unknown(place, count):
    """A damaged count of lost lines is recorded as unknown."""
    place.write()
    (place.path / "audit.gap").write_bytes(count)
    place.write()
    place.write()

    assert [None] == [record["lost"] for record in place.records() if "lost" in record]
    assert 4 == place.verify()


def test_the_place_for_the_count_is_there_before_it_is_needed(place):
    """The file that counts lost lines exists beforehand, since a full disk cannot create it."""
    place.write()

    assert b"0" * 20 == (place.path / "audit.gap").read_bytes()


def test_the_first_line_of_a_day_brings_the_files_name_to_the_disk(place, monkeypatch):
    """The first line of a day syncs the directory, so a power cut cannot lose the file."""
    synced = []
    monkeypatch.setattr(Files, "sync_directory", lambda self: synced.append(self.label))
    place.log().log_or_gap(Entry("session.refused", "refused", "not_found"), place.clock.now())
    assert "audit" in synced

    synced.clear()
    place.write()
    assert [] == synced, "the control: the later lines need no such sync"


def test_a_release_is_on_the_disk_on_return(place, monkeypatch):
    """A release's line is synced before the release; an end does not wait for the disk."""
    place.write()
    synced = []
    monkeypatch.setattr(Files, "sync_data", lambda _self, fd: synced.append(fd))
    place.log().log_or_gap(Entry("session.ended", "ok", "idle"), place.clock.now())
    assert [] == synced

    place.write()
    assert 1 == len(synced)


def test_a_service_gives_the_log_its_key(tmp_path):
    """Every line of a normal day has a MAC, including the vault's first."""
    rig = Rig(tmp_path / "keylease")
    rig.session.store(bring())

    assert all(line["mac"] for line in rig.lines())


# Old days, and the configuration


def fill(place, days):
    """Write a line on each of so many days, and one on the day after."""
    for _ in range(days):
        place.write()
        place.clock.advance(DAY)
    place.write()


def test_old_days_go_when_a_new_one_begins_and_the_line_before_says_so(place):
    """Old days are removed when a new day begins, and a line records it first."""
    place.days = 3
    fill(place, 4)

    first, *rest = place.raw()
    line = place.records()[-2]
    assert "audit.rotated" == line["event"]
    removed = line["removed"]
    assert {"files", "through", "digest"} == removed.keys()
    assert ["2026-09-21.jsonl"] == removed["files"]
    assert 1 == removed["through"]
    assert json.loads(first)["prev"] == removed["digest"], "the rest continues the removed chain"
    assert 2 == json.loads(first)["seq"]
    assert [f"2026-09-2{day}.jsonl" for day in range(2, 6)] == place.files()
    for before, after in itertools.pairwise([first, *rest]):
        assert digest(before) == json.loads(after)["prev"]


def test_what_was_set_aside_goes_with_its_day(place):
    """Pieces set aside are removed with their day."""
    place.days = 3
    place.write()
    path = place.newest()
    path.write_bytes(path.read_bytes() + b"torn")
    fill(place, 4)
    assert [] == [name for name in place.files() if "2026-09-21" in name]


@POSIX
def test_a_crash_during_a_rotation_is_mended_by_the_next(place, monkeypatch):
    """A rotation interrupted by a crash is finished by the next."""
    place.days = 3

    def crash(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Directory, "remove", crash)
        with pytest.raises(KeyboardInterrupt):
            fill(place, 4)
    assert "2026-09-21.jsonl" in place.files()
    place.clock.advance(DAY)
    place.write()

    assert not {"2026-09-21.jsonl", "2026-09-22.jsonl"} & set(place.files())


def test_a_removal_that_fails_refuses_nothing(place, monkeypatch):
    """A failed removal of an old day refuses no release."""
    place.days = 3

    def refuse(*_):
        msg = "no"
        raise StateError(msg)

    monkeypatch.setattr(Directory, "remove", refuse)
    fill(place, 4)

    assert "2026-09-21.jsonl" in place.files()
    assert 6 == place.verify()


@pytest.mark.parametrize("key", [KEY, None])
def test_nothing_goes_while_nobody_can_vouch_for_it(place, key):
    """Without the key or a retention setting, every day is kept."""
    place.days = 3 if key is None else None
    fill(place, 3)
    place.clock.advance(DAY)
    place.end(key=key)

    assert 5 == place.verify()
    assert "2026-09-21.jsonl" in place.files()


def test_a_first_line_that_is_not_ours_removes_nothing(place):
    """A rotation does not remove a day whose first line is foreign."""
    place.days = 3
    fill(place, 3)
    path = place.audit / "2026-09-21.jsonl"
    path.write_bytes(b"x\n" + path.read_bytes())
    place.clock.advance(DAY)

    with pytest.raises(AuditError, match=r"first line of audit/2026-09-21\.jsonl is not one of"):
        place.write()


def test_a_change_of_the_configuration_is_told_once(place):
    """A changed configuration is recorded once, so an admin sees from which line it applies."""
    for digits, files in (("a", ()), ("a", ()), ("b", ("/etc/p.toml",)), ("b", ("/etc/p.toml",))):
        place.configured = Configured(digits * 16, files)
        place.write()
    place.configured = None  # the configuration is unreadable
    place.write()
    place.configured = Configured("b" * 16, ())
    place.write()

    told = [
        (line["event"], line.get("configuration"), line.get("files")) for line in place.records()
    ]
    released = ("session.released", None, None)
    changed = ("config.changed", "b" * 16, ["/etc/p.toml"])
    assert [released, released, changed, *[released] * 4] == told
    assert 7 == place.verify()


def test_a_process_that_runs_for_long_tells_of_its_own_configuration_once(place):
    """Two processes with different configurations do not keep recording each other's."""
    place.configured = Configured("a" * 16, ())
    old = place.log()
    old.log(Entry("login"), place.clock.now())
    place.configured = Configured("b" * 16, ())
    for _ in range(3):
        place.write()
        old.log(Entry("login"), place.clock.now())

    assert 1 == [line["event"] for line in place.records()].count("config.changed")


def test_a_change_is_not_forgotten_by_a_line_without_the_key(place):
    """A changed configuration is recorded with the first line that has the key."""
    place.configured = Configured("a" * 16, ())
    place.write()
    place.configured = Configured("b" * 16, ())
    place.end(key=None)
    place.write()

    expected = ["session.released", "session.ended", "config.changed", "session.released"]
    assert expected == [line["event"] for line in place.records()]
