"""`keylease audit report`: one page, private, with the verdict at its head."""

from __future__ import annotations

import stat
import sys

import pytest


@pytest.fixture
def used(console):
    """Return a machine with a few lines of log."""
    console.login("https://one.example")
    console.run("extend", "https://one.example")
    console.run("extend", "https://none.example")
    return console


def test_page_is_written_with_the_verdict(used, tmp_path):
    """The command says what it wrote, and what the log is worth."""
    path = tmp_path / "page.html"

    said = used.run("audit", "report", "--html", str(path))

    assert (0, "") == (said.code, said.err)
    text = path.read_text("utf-8")
    (verdict,) = [
        word for word in ("ok", "pin-missing", "edited") if f"Verification: {word}<" in text
    ]
    assert f"wrote {path}: {len(used.audit())} lines, verification {verdict}\n" == said.out
    assert "https://one.example" in text
    if sys.platform != "win32":
        assert 0o600 == stat.S_IMODE(path.stat().st_mode)


def test_log_that_was_changed_is_reported_as_such(used, tmp_path):
    """Who edits a line is at the head of the page."""
    (log,) = (used.state / "audit").glob("*.jsonl")
    log.write_bytes(log.read_bytes().replace(b"one.example", b"two.example"))

    said = used.run("audit", "report", "--html", str(tmp_path / "page.html"))

    text = (tmp_path / "page.html").read_text("utf-8")
    assert (0, True) == (said.code, "verification edited" in said.out)
    assert '<section class="verdict bad"' in text
    assert "first bad line" in text


def test_file_that_is_there_stays_without_force(used, tmp_path):
    """Yesterday's report is not lost by a slip."""
    path = tmp_path / "page.html"
    path.write_text("dear")

    refused = used.run("audit", "report", "--html", str(path))
    assert (2, "dear") == (refused.code, path.read_text())

    assert 0 == used.run("audit", "report", "--html", str(path), "--force").code
    assert "dear" != path.read_text("utf-8")


def test_only_the_time_that_is_asked_for_is_shown(used, tmp_path):
    """And the page says what was asked for."""
    used.clock.advance(86_400)
    used.login("https://later.example")
    day = used.audit()[-1]["time"][:10]

    used.run("audit", "report", "--html", str(tmp_path / "page.html"), "--since", day)

    text = (tmp_path / "page.html").read_text("utf-8")
    assert "https://later.example" in text
    assert "https://none.example" not in text
    assert f"since {day} 00:00:00" in text


def test_machine_without_a_log_has_no_report(console, tmp_path):
    """Nothing is made, neither a page nor a state directory."""
    said = console.run("audit", "report", "--html", str(tmp_path / "page.html"))

    assert (6, "") == (said.code, said.out)
    assert not (tmp_path / "page.html").exists()
    assert not console.state.exists()


def test_locked_keychain_gives_a_page_that_says_so(used, tmp_path):
    """A report is possible at any time; it does not claim more than it could check."""
    used.keystore.lock()

    said = used.run("audit", "report", "--html", str(tmp_path / "page.html"))

    assert 0 == said.code
    assert "Verification: key-missing" in (tmp_path / "page.html").read_text("utf-8")
