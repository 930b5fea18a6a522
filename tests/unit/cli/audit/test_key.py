"""`keylease audit key export`: the audit key, for who verifies elsewhere, and for no screen."""

import sys

import pytest

from keylease.cli.audit.keyfile import read_keys
from keylease.errors import AuditError, StateError
from keylease.statefile import Directory


@pytest.fixture
def export(console, tmp_path):
    """Return what exports the key to a file that is stdout, for it goes past Python's buffers."""

    def run(*words, terminal=False):
        path = tmp_path / "out"
        with path.open("w") as file, pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "stdout", Screen(file) if terminal else file)
            code = console.run("audit", "key", "export", *words).code
        return code, path

    return run


class Screen:
    """A file that says it is a terminal."""

    def __init__(self, file):
        self._file = file

    def isatty(self):
        """Say so."""
        return True

    def __getattr__(self, name):
        """Do the rest as the file."""
        return getattr(self._file, name)


def test_exported_key_is_read_back(console, export):
    """What one machine writes another can use."""
    console.login()
    (item,) = (item for item in console.keystore.items if item.kind == "audit-key")
    (key,) = console.keystore.read([item])

    code, path = export()
    with path.open("rb") as file:
        (found,) = read_keys(file)

    assert (0, True) == (code, key.matches(found))


def test_export_says_what_its_holder_can_do(console, export):
    """Who finds the file learns what it is."""
    console.login()

    assert "Whoever has it can verify the audit log, and can write" in export()[1].read_text()


def test_export_is_on_record_before_it_happens(console, export, monkeypatch):
    """Who asks later whether the key is out finds when it was, and by whom."""
    console.login()
    assert 0 == export()[0]
    (line,) = console.run("audit", "query", "--event", "key.exported").out.splitlines()[1:]
    assert "key.exported" in line

    def refuse(*_, **__):
        message = "no room"
        raise StateError(message)

    monkeypatch.setattr(Directory, "append", refuse)
    code, path = export()
    assert (AuditError.exit_code, "") == (code, path.read_text())


def test_terminal_has_to_be_asked_for_twice(console, export):
    """A secret does not stay in a scrollback by accident."""
    console.login()

    code, path = export(terminal=True)
    assert (2, "") == (code, path.read_text())
    code, path = export("--terminal", terminal=True)
    assert (0, 4) == (code, len(path.read_text().splitlines()))


def test_without_a_key_nothing_is_printed(console):
    """A machine that never was used has none, and gets none."""
    said = console.run("audit", "key", "export")

    assert (6, "") == (said.code, said.out)
    assert not console.state.exists()


def test_locked_keychain_is_another_answer(console):
    """Locked is not absent."""
    console.login()
    console.keystore.lock()

    assert 4 == console.run("audit", "key", "export").code
