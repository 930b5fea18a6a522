"""docs/audit.schema.json is true: it takes every line that is written, and no other."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest
from support.audit_place import CALLER
from support.day_of_use import DayOfUse
from support.rig import EXAMPLE, Rig

from keylease.audit.events import FIELDS, Entry
from keylease.audit.log import AuditLog
from keylease.secrets.secret import Secret
from keylease.statefile import Directory
from keylease.system.clock import Deadline
from keylease.testing import FrozenClock

SCHEMA = json.loads(
    (Path(__file__).parent.parent / "docs" / "audit.schema.json").read_text(encoding="utf-8")
)
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)
EXTRA = {
    "lost": 3,
    "configuration": "0123456789abcdef",
    "files": ["/home/ada/.config/keylease/config.toml"],
    "removed": {"files": ["2026-08-01.jsonl"], "through": 40, "digest": "ab" * 32},
}
KINDS = [
    (event, outcome, reason)
    for event, shape in FIELDS.items()
    for outcome, reasons in shape.outcomes.items()
    for reason in sorted(reasons, key=str)
]


def fits(line):
    """Return whether the schema takes a line."""
    return bool(VALIDATOR.is_valid(line))


def written(path, entry, key=b"k" * 32):
    """Return the line that the real log writes for an entry."""
    log = AuditLog(lambda: Directory.open(str(path), create=True), Deadline(60), CALLER)
    log.key = None if key is None else Secret(key)
    log.log_or_gap(entry, FrozenClock().now())
    (day,) = (path / "audit").glob("*.jsonl")
    return json.loads(day.read_bytes().splitlines()[-1])


def entry_of(event, outcome="ok", reason=None):
    """Return an entry with everything that its event can have."""
    shape = FIELDS[event]
    names = {"session": "0" * 32, "target": EXAMPLE, "username": "ada"} if shape.names else {}
    extra = {name: EXTRA[name] for name in shape.extra}
    return Entry(event, outcome, reason, **names, extra=extra)


def test_schema_is_one():
    """A validator of anybody's takes it."""
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


@pytest.mark.parametrize(("event", "outcome", "reason"), KINDS)
def test_every_line_that_can_be_written_fits(tmp_path, event, outcome, reason):
    """Each event with each outcome and each reason, by the real log."""
    line = written(tmp_path / "state", entry_of(event, outcome, reason))

    assert (event, outcome, reason) == (line["event"], line["outcome"], line["reason"])
    VALIDATOR.validate(line)


def test_line_without_a_key_and_with_long_names_fits(tmp_path):
    """What a locked keychain and a hostile peer make of a line."""
    target = EXAMPLE._replace(host="\U0001f600" * 70_000, path="\udcff")
    entry = Entry("session.refused", "refused", "keychain_unavailable", None, target, "")

    VALIDATOR.validate(written(tmp_path / "state", entry, key=None))


def test_every_line_of_a_days_use_fits(tmp_path):
    """As it comes, with everything that a day brings."""
    rig = Rig(tmp_path / "keylease")
    DayOfUse(rig).write()

    lines = rig.lines()

    assert len(lines) > 50
    for line in lines:
        VALIDATOR.validate(line)


@pytest.mark.parametrize(
    "change",
    [
        {"event": "session.cloned"},
        {"outcome": "maybe"},
        {"reason": "idle"},
        {"lost": 3},
        {"secret": "x"},
        {"seq": 0},
        {"time": "2026-11-22 10:00"},
        {"target": {"host": "git.example"}},
        {"prev": "00"},
        {"mac": None},
        {"key": None},
    ],
    ids=",".join,
)
def test_line_that_is_never_written_does_not_fit(tmp_path, change):
    """The schema is as strict as the log."""
    line = written(tmp_path / "state", entry_of("session.released"))
    assert fits(line)

    assert not fits(line | change)


@pytest.mark.parametrize("field", sorted(set(SCHEMA["properties"]) - set(EXTRA)))
def test_line_without_one_of_its_fields_does_not_fit(tmp_path, field):
    """Every line has all of them."""
    line = written(tmp_path / "state", entry_of("session.released"))
    del line[field]

    assert not fits(line)


@pytest.mark.parametrize("event", [event for event, shape in FIELDS.items() if shape.extra])
def test_event_has_its_own_fields(tmp_path, event):
    """A gap without a number is no line."""
    line = written(tmp_path / "state", entry_of(event))
    first, *_ = FIELDS[event].extra
    del line[first]

    assert not fits(line)


@pytest.mark.parametrize("event", [event for event, shape in FIELDS.items() if not shape.names])
def test_event_about_nobody_names_nobody(tmp_path, event):
    """What is about the vault or the log names no session."""
    line = written(tmp_path / "state", entry_of(event))

    assert not fits(line | {"username": "ada"})
