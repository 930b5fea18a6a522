"""docs/audit.schema.json is correct: it accepts exactly the lines that keylease writes."""

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
    """Return whether the schema accepts a line."""
    return bool(VALIDATOR.is_valid(line))


def written(path, entry, key=b"k" * 32):
    """Return the line that the real log writes for an entry."""
    log = AuditLog(lambda: Directory.open(str(path), create=True), Deadline(60), CALLER)
    log.key = None if key is None else Secret(key)
    log.log_or_gap(entry, FrozenClock().now())
    (day,) = (path / "audit").glob("*.jsonl")
    return json.loads(day.read_bytes().splitlines()[-1])


def entry_of(event, outcome="ok", reason=None):
    """Return an entry with every field that its event can have."""
    shape = FIELDS[event]
    names = {"session": "0" * 32, "target": EXAMPLE, "username": "ada"} if shape.names else {}
    extra = {name: EXTRA[name] for name in shape.extra}
    return Entry(event, outcome, reason, **names, extra=extra)


def test_schema_is_one():
    """The schema itself is valid, so any validator can use it."""
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


@pytest.mark.parametrize(("event", "outcome", "reason"), KINDS)
def test_every_line_that_can_be_written_fits(tmp_path, event, outcome, reason):
    """Each event with each outcome and reason, as the real log writes it, fits."""
    line = written(tmp_path / "state", entry_of(event, outcome, reason))

    assert (event, outcome, reason) == (line["event"], line["outcome"], line["reason"])
    VALIDATOR.validate(line)


def test_line_without_a_key_and_with_long_names_fits(tmp_path):
    """A line without a key and one with very long names fit."""
    target = EXAMPLE._replace(host="\U0001f600" * 70_000, path="\udcff")
    entry = Entry("session.refused", "refused", "keychain_unavailable", None, target, "")

    VALIDATOR.validate(written(tmp_path / "state", entry, key=None))


def test_every_line_of_a_days_use_fits(tmp_path):
    """Every line of a simulated day fits."""
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
    """A line that keylease never writes does not fit."""
    line = written(tmp_path / "state", entry_of("session.released"))
    assert fits(line)

    assert not fits(line | change)


@pytest.mark.parametrize("field", sorted(set(SCHEMA["properties"]) - set(EXTRA)))
def test_line_without_one_of_its_fields_does_not_fit(tmp_path, field):
    """A line without any one of its fields does not fit."""
    line = written(tmp_path / "state", entry_of("session.released"))
    del line[field]

    assert not fits(line)


@pytest.mark.parametrize("event", [event for event, shape in FIELDS.items() if shape.extra])
def test_event_has_its_own_fields(tmp_path, event):
    """An event without one of its own fields does not fit."""
    line = written(tmp_path / "state", entry_of(event))
    first, *_ = FIELDS[event].extra
    del line[first]

    assert not fits(line)


@pytest.mark.parametrize("event", [event for event, shape in FIELDS.items() if not shape.names])
def test_event_about_nobody_names_nobody(tmp_path, event):
    """An event about the vault or the log with a session's names does not fit."""
    line = written(tmp_path / "state", entry_of(event))

    assert not fits(line | {"username": "ada"})
