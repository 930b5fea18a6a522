"""docs/audit.md is correct: its lists match the code, and its manual checks work."""

import base64
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest
from support.requirements import require
from support.rig import EXAMPLE, Rig, bring

from keylease.audit.events import EVENTS, FIELDS, OUTCOMES, REASONS, RefusalReason
from keylease.keystores.base import Item
from keylease.model import Reason

ROOT = Path(__file__).parent.parent
DOCUMENT = (ROOT / "docs" / "audit.md").read_text(encoding="utf-8")
DAY = 86_400


def rows(column):
    """Return the rows of the tables with that first column."""
    found = []
    for table in re.findall(r"(?:^\|.*\n)+", DOCUMENT, re.MULTILINE):
        head, _, *cells = [
            [cell.strip() for cell in row.split("|")[1:-1]] for row in table.splitlines()
        ]
        if head[0] == column:
            found += [(row[0].strip("`"), *row[1:]) for row in cells]
    return found


def snippet(language):
    """Return the document's code in that language for checking the log by hand."""
    section = DOCUMENT.split("### Checking it by hand")[1].split("\n## ")[0]
    (code,) = re.findall(rf"```{language}\n(.*?)```", section, re.DOTALL)
    return code


@pytest.fixture
def rig(tmp_path):
    """Return a service that has written a few days of log, with the wall clock set back once."""
    rig = Rig(tmp_path / "keylease")
    start = rig.clock.now().wall_ns // 10**9
    for days in (0, 1, 0, 2):
        rig.clock.advance(1)
        rig.clock.set_wall(start + days * DAY + 5)
        rig.again().session.store(bring(EXAMPLE._replace(host=f"h{days}\x1b\u2028\udc80")))
    return rig


def check_links(rig):
    """Run the shell check and return its output."""
    require(shutil.which("sha256sum"), "sha256sum", "it is not on PATH")
    done = subprocess.run(
        ["sh", "-c", snippet("sh")],
        cwd=rig.path / "audit",
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert "" == done.stderr
    return done.stdout


def check_macs(rig, key=None):
    """Run the Python check and return its exit code and output."""
    record = rig.vault.record()
    if key is None:
        (audit,) = rig.keystore.read([Item(record.vault, "audit-key", record.audit_generation)])
        key = bytes(audit.reveal())
    done = subprocess.run(
        [sys.executable, "-X", "utf8", "-c", snippet("python")],
        cwd=rig.path / "audit",
        input=base64.b64encode(key).decode(),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    return done.returncode, (done.stdout + done.stderr).strip()


def change(rig, number, edit):
    """Replace the audit line with that number by the lines that `edit` returns."""
    for path in (rig.path / "audit").glob("*.jsonl"):
        lines = path.read_bytes().splitlines(keepends=True)
        path.write_bytes(
            b"".join(
                b"".join(edit(line)) if b'{"seq":%d,' % number in line else line for line in lines
            )
        )


def test_every_event_and_reason_is_documented_and_no_other():
    """Every event and reason in the log is in the document, and no others are."""
    assert EVENTS == {row[0] for row in rows("Event")}
    assert REASONS == {row[0] for row in rows("Reason")}
    documented = [row[0] for row in rows("Reason")]
    assert [*get_args(Reason)] == documented[: len(get_args(Reason))]
    assert set(get_args(RefusalReason)) - {"revoked", "credential_expired"} == set(
        documented[len(get_args(Reason)) :]
    )
    assert len(documented) == len(set(documented))


def test_every_meaning_is_one_sentence():
    """Each meaning is one sentence, so the lists stay readable."""
    for table in ("Event", "Reason"):
        for word, *_, meaning in rows(table):
            assert re.fullmatch(
                r"[A-Z][^.]*\.|Lines are missing.*below\.|.*see below\.", meaning
            ), word


def test_documented_outcomes_are_known():
    """Every documented outcome exists."""
    outcomes = {each for _, told, _ in rows("Event") for each in told.split(", ")}

    assert outcomes == OUTCOMES


def test_the_fields_of_a_line_are_the_documented_ones(rig):
    """A line has the documented fields in the documented order."""
    documented = [name for name, _ in rows("Field")]

    for line in rig.lines():
        own = FIELDS[line["event"]].extra
        others = {name for shape in FIELDS.values() for name in shape.extra} - set(own)
        assert [name for name in documented if name not in others] == list(line)


def test_links_can_be_checked_with_a_shell(rig):
    """The shell check finds a complete chain without keylease and without the key."""
    assert len(rig.lines()) >= 5
    assert "" == check_links(rig)


@pytest.mark.parametrize("number", [1, 2, 4])
@pytest.mark.parametrize(
    "edit",
    [
        lambda line: [line.replace(b'"ok"', b'"OK"')],
        lambda line: [],  # noqa: ARG005 - the line is taken out
        lambda line: [line, line],
        lambda line: [line.replace(b'"mac":"', b'"mac":"0')],
    ],
    ids=["edited", "removed", "doubled", "mac"],
)
def test_a_changed_line_breaks_the_links(rig, number, edit):
    """The shell check finds a changed line, at the next line at the latest."""
    change(rig, number, edit)

    told = check_links(rig)

    assert told.strip() in {str(number), str(number + 1)}


def test_macs_can_be_checked_with_a_few_lines_of_python(rig):
    """The Python check verifies every line with the audit key, without keylease."""
    count = len(rig.lines())

    assert (0, f"{count} lines fit") == check_macs(rig)


def test_another_key_does_not_verify(rig):
    """The check with a wrong key never succeeds."""
    assert (1, "line 1 does not fit") == check_macs(rig, bytes(32))


def test_a_chain_that_was_made_anew_without_the_key_is_found(rig):
    """The MAC check finds a chain that was rebuilt without the key."""
    change(rig, 2, lambda line: [line.replace(b"session.created", b"session.refused")])

    code, told = check_macs(rig)

    assert (1, "line 2 does not fit") == (code, told)


def test_caller_is_said_to_be_advisory():
    """The document says that the caller's name is no proof."""
    (meaning,) = [meaning for name, meaning in rows("Field") if name == "caller"]

    assert "advisory" in meaning
    assert "Nothing is decided by it" in " ".join(DOCUMENT.split())
