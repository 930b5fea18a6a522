"""Every export form keeps the facts of a line and is safe for the program that reads it."""

from __future__ import annotations

import csv
import io
import json

import pytest
from support.audit_records import CALLER, HOST, record

from keylease.audit.export.forms import COLUMNS, FORMS, csv_head, csv_row, ecs_document, jsonl
from keylease.audit.line import LineError, digest, pack
from keylease.audit.read.reader import Line


def line(**changes):
    """Return a line as it is in its file."""
    fields = record(**changes)._asdict()
    extra = fields.pop("extra")
    for name in ("key", "mac"):
        fields.pop(name)
    prev = fields.pop("prev")
    data = pack(fields | extra | {"prev": prev}, None, None)
    return Line("2026-11-22.jsonl", 0, data)


def cells(data):
    """Return the only row of CSV by its columns."""
    (row,) = csv.reader(io.StringIO(data.decode("utf-8")))
    return dict(zip(COLUMNS, row, strict=True))


def test_jsonl_is_the_line_to_the_byte():
    """JSON lines are the log's lines byte for byte, so another machine can verify them."""
    assert line().data == jsonl(line())


def test_csv_has_every_field_in_a_column_of_its_own():
    """CSV has a column for each field, and one with JSON for the event's own fields."""
    unnamed = dict.fromkeys(("session", "target", "username"))
    gap = cells(csv_row(line(event="audit.gap", extra={"lost": 3}, **unnamed)))
    found = cells(csv_row(line()))

    assert {"seq": "1", "event": "audit.gap", "reason": "", "extra": '{"lost":3}'} == {
        key: gap[key] for key in ("seq", "event", "reason", "extra")
    }
    assert ("git.example", "ada", "7") == (found["host"], found["username"], found["caller_pid"])


def test_head_of_csv_names_the_columns():
    """The CSV header names the columns in the order of the rows."""
    assert ",".join(f'"{name}"' for name in COLUMNS) + "\n" == csv_head().decode()


# OWASP, "CSV Injection", and characters that NFKC turns into one of these.
SIGNS = (
    "=+-@\uff1d\uff0b\uff0d\uff20\ufe66\ufe62\ufe63\ufe6b\u2212\u207a\u207b\u207c\u208a\u208b\u208c"
)


def split(data, delimiter, *, quoted):
    """Return every cell of a row as a reader with that delimiter splits it."""
    quoting = csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE
    text = io.StringIO(data.decode("utf-8"))
    return [cell for row in csv.reader(text, delimiter=delimiter, quoting=quoting) for cell in row]


def runs(cell):
    """Return whether a spreadsheet might run a cell; blanks and quotation marks are skipped."""
    return cell.lstrip(' \t\r\n"').startswith(tuple(SIGNS))


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|", " "])
@pytest.mark.parametrize(
    "before",
    ["", " ", '"', "x;", "x,", "x|", "x\t", "x ", "x; ", 'x;"', 'x;""', 'x","', "x;;", "\n"],
)
def test_spreadsheet_runs_no_name(before, delimiter):
    """A host named like a formula is text in any spreadsheet, whatever its delimiter."""
    for sign in SIGNS:
        name = f'{before}{sign}HYPERLINK("https://evil.example")'
        found = line(
            target=HOST | {"host": name, "path": name},
            username=name,
            caller=CALLER | {"executable": name},
        )
        extra = {"configuration": "0" * 16, "files": [name]}
        unnamed = dict.fromkeys(("session", "target", "username"))
        changed = line(event="config.changed", extra=extra, **unnamed)
        for data in (csv_row(found), csv_row(changed)):
            for quoted in (True, False):
                each = split(data, delimiter, quoted=quoted)
                assert [] == [cell for cell in each if runs(cell)]
            assert "HYPERLINK" in data.decode()
    assert runs(name.removeprefix(before)), "the control"


def test_extra_is_json_whatever_is_in_it():
    """The column with the event's own fields is JSON even if a value looks like a formula."""
    extra = {"configuration": "0" * 16, "files": ["=1", "a;=1", '"=1', "/a"]}
    unnamed = dict.fromkeys(("session", "target", "username"))

    found = cells(csv_row(line(event="config.changed", extra=extra, **unnamed)))["extra"]

    assert ["'=1", "a;'=1", "'\"=1", "/a"] == json.loads(found)["files"]


def test_names_that_are_no_formula_are_as_they_were():
    """Names that cannot start a formula get no apostrophe."""
    name = "a=b+c-d@e.example:443"

    assert name == cells(csv_row(line(target=HOST | {"host": name})))["host"]


def test_csv_holds_no_control_characters():
    """A program's name with control characters cannot break a row."""
    caller = CALLER | {"executable": 'a\n"b",\x1b[2J\u202e'}

    data = csv_row(line(caller=caller))

    assert 1 == data.count(b"\n")
    assert r"a\n" in cells(data)["caller_executable"]
    assert "\x1b" not in data.decode()


def test_ecs_is_one_line_of_ascii_with_the_digest():
    """A document is one line of ASCII with the line's digest, as shippers split at line ends."""
    found = ecs_document(line(target=HOST | {"host": "\u2028\x7f.example"}))

    assert found.isascii()
    assert 1 == found.count(b"\n")
    assert digest(line(target=HOST | {"host": "\u2028\x7f.example"}).data) == (
        json.loads(found)["event"]["hash"]
    )


def test_rubbish_in_the_log_is_passed_on_as_such():
    """A line that was tampered with still reaches the fleet's log."""
    found = json.loads(ecs_document(Line("2026-11-22.jsonl", 0, b'{"seq":1}\xff\n')))

    assert "pipeline_error" == found["event"]["kind"]
    assert '{"seq":1}\\xff' == found["event"]["original"]


def test_rubbish_is_no_row():
    """Rubbish gives no row, so the caller can say that it left something out."""
    with pytest.raises(LineError):
        csv_row(Line("2026-11-22.jsonl", 0, b"rubbish\n"))


def test_every_form_has_a_function():
    """Every form that the command line offers has a function, and no other form has."""
    assert ["jsonl", "csv", "ecs"] == list(FORMS)
