"""The forms of an export."""

from __future__ import annotations

import csv
import io
import json

import pytest
from support.audit_records import CALLER, HOST, record

from keylease.audit.forms import COLUMNS, FORMS, csv_head, csv_row, ecs_document, jsonl
from keylease.audit.line import LineError, digest, pack
from keylease.audit.reader import Line


def line(**changes):
    """Return a line as it stands in its file."""
    fields = record(**changes)._asdict()
    extra = fields.pop("extra")
    for name in ("key", "mac"):
        fields.pop(name)
    prev = fields.pop("prev")
    data = pack(fields | extra | {"prev": prev}, None, None)
    return Line("2026-11-22.jsonl", 0, data)


def cells(data):
    """Return the one row of CSV by its columns."""
    (row,) = csv.reader(io.StringIO(data.decode("utf-8")))
    return dict(zip(COLUMNS, row, strict=True))


def test_jsonl_is_the_line_to_the_byte():
    """So that it can be verified on another machine."""
    assert line().data == jsonl(line())


def test_csv_has_every_field_in_a_column_of_its_own():
    """And the event's own fields in one, as JSON."""
    nobody = dict.fromkeys(("session", "target", "username"))
    gap = cells(csv_row(line(event="audit.gap", extra={"lost": 3}, **nobody)))
    found = cells(csv_row(line()))

    assert {"seq": "1", "event": "audit.gap", "reason": "", "extra": '{"lost":3}'} == {
        key: gap[key] for key in ("seq", "event", "reason", "extra")
    }
    assert ("git.example", "ada", "7") == (found["host"], found["username"], found["caller_pid"])


def test_head_of_csv_names_the_columns():
    """In the order of the rows."""
    assert ",".join(COLUMNS) + "\n" == csv_head().decode()


@pytest.mark.parametrize("begin", ["=", "+", "-", "@", "\t", "\r"])
def test_spreadsheet_runs_no_name(begin):
    """A host that is called like a formula is text."""
    target = HOST | {"host": f'{begin}HYPERLINK("https://evil.example")'}

    found = cells(csv_row(line(target=target)))["host"]

    assert not found.startswith(("=", "+", "-", "@", "\t", "\r"))
    assert "HYPERLINK" in found


def test_csv_holds_no_control_characters():
    """A row is a row, whatever a program is called."""
    caller = CALLER | {"executable": 'a\n"b",\x1b[2J\u202e'}

    data = csv_row(line(caller=caller))

    assert 1 == data.count(b"\n")
    assert r"a\n" in cells(data)["caller_executable"]
    assert "\x1b" not in data.decode()


def test_ecs_is_one_line_of_ascii_with_the_digest():
    """What a shipper splits at line ends."""
    found = ecs_document(line(target=HOST | {"host": "\u2028\x7f.example"}))

    assert found.isascii()
    assert 1 == found.count(b"\n")
    assert digest(line(target=HOST | {"host": "\u2028\x7f.example"}).data) == (
        json.loads(found)["event"]["hash"]
    )


def test_rubbish_in_the_log_is_passed_on_as_such():
    """Whoever changed a line does not make it vanish from the fleet's log."""
    found = json.loads(ecs_document(Line("2026-11-22.jsonl", 0, b'{"seq":1}\xff\n')))

    assert "pipeline_error" == found["event"]["kind"]
    assert '{"seq":1}\\xff' == found["event"]["original"]


def test_rubbish_is_no_row():
    """The caller says that something was left out."""
    with pytest.raises(LineError):
        csv_row(Line("2026-11-22.jsonl", 0, b"rubbish\n"))


def test_every_form_has_a_function():
    """The command line offers these, and no other."""
    assert ["jsonl", "csv", "ecs"] == list(FORMS)
