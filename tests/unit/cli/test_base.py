"""What all commands share: messages, refusals and late imports."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from contextlib import suppress

import pytest
from support.waiting import WAIT_SECONDS

from keylease.cli import base
from keylease.errors import UsageError


class Terminal(io.TextIOWrapper):
    """A text stream of some encoding."""

    def __init__(self, encoding):
        super().__init__(io.BytesIO(), encoding=encoding)

    def text(self):
        """Return everything that was written."""
        self.flush()
        return self.buffer.getvalue().decode(self.encoding)


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        ("https://git.example/päth☃", "https://git.example/päth☃"),
        ("a b", "a b"),
        ("\x1b]0;title\x07", "\\x1b]0;title\\x07"),
        ("a\nb\r", "a\\nb\\r"),
        ("\x7f\x9b", "\\x7f\\x9b"),
        ("abc\u202ecba", "abc\\u202ecba"),
        ("a\u2028b\u200bc\ufeff", "a\\u2028b\\u200bc\\ufeff"),
        ("\udcff", "\\udcff"),
        ("\U000e0041", "\\U000e0041"),
    ],
)
def test_what_a_terminal_might_obey_is_escaped(raw, shown):
    """Letters of all languages stay; what is no letter does not reach the terminal."""
    assert shown == base.printable(raw)


def test_stream_that_cannot_show_a_letter_is_given_its_number(monkeypatch):
    """A terminal of the last century shows something, and nothing breaks."""
    stream = Terminal("ascii")
    monkeypatch.setattr(sys, "stdout", stream)

    base.say("päth☃")

    assert "p\\xe4th\\u2603\n" == stream.text()


def test_document_is_ascii_that_reads_as_it_was(capsys):
    """A program reads every name as it is, and a terminal that shows the text obeys none of it."""
    document = {"name": "\x1b\x7f\x9b\u2028ü\udcff", "none": None, "list": [1]}

    base.say_json(document)

    text = capsys.readouterr().out
    assert text.isascii()
    assert text.replace("\n", "").isprintable()
    assert document == json.loads(text)


def test_closed_stdout_is_quiet(monkeypatch):
    """Where stdout was closed before the start, the command still does its work."""
    monkeypatch.setattr(sys, "stdout", None)

    base.say("nobody reads this")


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has /dev/full")
def test_full_disk_is_an_error_that_says_what_is_lost(monkeypatch):
    """An answer that cannot be written is an error, not an empty file."""
    with open("/dev/full", "w", encoding="utf-8") as full:  # noqa: PTH123 - a device
        monkeypatch.setattr(sys, "stdout", full)

        with pytest.raises(base.OutputError, match="No space left"):
            base.say("an answer")
        monkeypatch.undo()
        full.close()  # what Python still holds of the line is not tried again


def test_broken_stderr_leaves_the_exit_code(monkeypatch):
    """With stderr closed the exit code still reports the error."""
    read, write = os.pipe()
    os.close(read)
    raw = io.FileIO(write, "w")
    with suppress(BrokenPipeError), io.TextIOWrapper(raw, "utf-8", write_through=True) as stream:
        monkeypatch.setattr(sys, "stderr", stream)

        code = base.complain(UsageError("nobody hears this"))

        monkeypatch.undo()
        with pytest.raises(BrokenPipeError):
            raw.write(b"it is broken indeed")
    assert 2 == code


LAZY = """
import sys
from keylease.cli import main
main(sys.argv[1:])
print(*sorted(name for name in sys.modules if name.startswith("keylease.cli.")), file=sys.stderr)
"""


def test_only_the_called_command_is_imported(tmp_path):
    """A command starts as fast as it can, however many there are."""
    done = subprocess.run(
        [sys.executable, "-c", LAZY, "status"],
        env={"KEYLEASE_STATE_DIR": str(tmp_path / "state"), "PYTHONPATH": ":".join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
        timeout=WAIT_SECONDS,
    )

    loaded = set(done.stderr.split())
    assert "keylease.cli.status" in loaded
    assert set() == loaded & {
        "keylease.cli.login",
        "keylease.cli.logout",
        "keylease.cli.extend",
        "keylease.cli.setup",
        "keylease.system.terminal",
    }
