"""`keylease audit verify`: a verdict in words, as JSON and as an exit code."""

import json

import pytest
from support.audit_files import KEY, OTHER_KEY, Log

from keylease import wiring
from keylease.audit.line import key_id
from keylease.audit.witness import checkpoint
from keylease.secrets.secret import Secret


class Pin:
    """A place outside the log that remembers."""

    data = None

    def read(self):
        """Return what was written."""
        return self.data

    def write(self, data):
        """Keep it."""
        self.data = data
        return True


@pytest.fixture
def pin(monkeypatch):
    """Return the place of the pin."""
    pin = Pin()
    monkeypatch.setattr(wiring, "open_pin", lambda: pin)
    return pin


@pytest.fixture
def used(console, pin):  # noqa: ARG001 - it is where the pin goes
    """Return a console whose log has a few lines."""
    console.login()
    console.login("https://other.example")
    return console


def exported(path, *keys):
    """Write a key file."""
    path.write_text("".join(f"# a key\n{key.hex()}\n" for key in keys))
    return str(path)


def test_log_that_is_whole_is_ok(used):
    """A person reads one word, and a script one number."""
    said = used.run("audit", "verify")

    assert (0, "") == (said.code, said.err)
    assert [
        "ok: the log is complete and unchanged",
        "  checked lines 1 to 5, on 1 day",
    ] == said.out.splitlines()


def test_json_has_everything(used):
    """A program reads the same from one document."""
    document = json.loads(used.run("audit", "verify", "--json").out)

    assert (1, "ok", 0, None, [], 5, 1, 5) == tuple(
        document[name]
        for name in (
            *("format", "verdict", "exit_code", "first_bad_line"),
            *("findings", "lines", "first_seq", "last_seq"),
        )
    )


def test_line_that_was_changed_is_named(used):
    """Whoever looks into it knows where to begin."""
    (path,) = (used.state / "audit").glob("*.jsonl")
    path.write_bytes(path.read_bytes().replace(b'"session.created"', b'"session.extended"', 1))

    said = used.run("audit", "verify")
    bad = json.loads(used.run("audit", "verify", "--json").out)["first_bad_line"]

    assert (25, "edited") == (said.code, said.out.partition(":")[0])
    assert f"  first bad line: audit/{path.name} line 2 (seq 2)" in said.out.splitlines()
    assert (path.name, 2, 2) == (bad["file"], bad["number"], bad["seq"])


def test_each_loss_has_its_exit_code(used, pin):
    """A script tells lines that are gone from lines that were changed."""
    (path,) = (used.state / "audit").glob("*.jsonl")
    whole = path.read_bytes()
    lines = whole.splitlines(keepends=True)

    path.write_bytes(b"".join(lines[:-1]))
    assert 23 == used.run("audit", "verify").code
    path.write_bytes(b"".join(lines[:2] + lines[3:]))
    assert 24 == used.run("audit", "verify").code
    path.write_bytes(whole)
    pin.data = None
    assert 21 == used.run("audit", "verify").code


def test_locked_keychain_is_said_to_be_the_reason(used):
    """The links are checked all the same, and nobody is told that all is well."""
    used.keystore.lock()

    said = used.run("audit", "verify")

    assert 22 == said.code
    assert "locked" in said.out


def test_without_a_log_there_is_no_verdict(console):
    """That there is nothing yet is another answer than that all of it is there."""
    said = console.run("audit", "verify")

    assert (6, "") == (said.code, said.out)
    assert not console.state.exists()


def test_audit_key_outlives_a_revocation(used):
    """The log of a vault whose key was deleted can still be verified."""
    used.revoke()

    assert 0 == used.run("audit", "verify").code


def test_copy_is_verified_with_an_exported_key(console, tmp_path):
    """On another machine nothing is asked of this one's keychain."""
    log = Log(tmp_path / "copy").fill()
    log.seal()
    words = ("audit", "verify", "--directory", str(log.directory))

    key, other = exported(tmp_path / "key", KEY), exported(tmp_path / "other", OTHER_KEY)
    assert 21 == console.run(*words, "--key-file", key).code
    assert 22 == console.run(*words, "--key-file", other).code
    assert 21 == console.run(*words, "--key-file", other, "--key-file", key).code
    assert 22 == console.run(*words).code
    assert not console.state.exists()


def test_witness_stands_in_for_the_pin(console, tmp_path):
    """What the system log heard vouches for the end of a copy."""
    log = Log(tmp_path / "copy").fill()
    log.seal()
    with Secret(KEY) as key:
        heard = checkpoint(log.seq, log.prev, key, key_id(key)).text()
    (tmp_path / "syslog").write_text(f"other\nNov 23 00:05:00 host keylease[7]: {heard}\n")
    words = ("audit", "verify", "--key-file", exported(tmp_path / "key", KEY))
    words += ("--directory", str(log.directory), "--witness", str(tmp_path / "syslog"))

    assert 0 == console.run(*words).code
    (log.directory / log.file).unlink()
    assert 23 == console.run(*words).code


def test_since_says_what_was_not_looked_at(console, tmp_path):
    """A part is not taken for the whole."""
    log = Log(tmp_path / "copy").fill()
    words = ("audit", "verify", "--key-file", exported(tmp_path / "key", KEY))

    said = console.run(*words, "--directory", str(log.directory), "--since", "2026-11-22")

    assert "  skipped the days before 2026-11-22" in said.out.splitlines()
    assert "  checked lines 13 to 24, on 2 days" in said.out.splitlines()


@pytest.mark.parametrize("text", ["", "# only a comment\n", "hunter2\n", "ab" * 33, "AB" * 32])
def test_file_that_is_no_key_is_refused_unread(console, tmp_path, text):
    """What was given by mistake is not repeated."""
    (tmp_path / "key").write_text(text)

    said = console.run(
        "audit", "verify", "--directory", str(tmp_path), "--key-file", str(tmp_path / "key")
    )

    assert (2, "") == (said.code, said.out)
    assert "hunter2" not in said.err


def test_log_without_a_single_line_has_no_numbers(console, tmp_path):
    """A file of another program is no line 1."""
    (tmp_path / "2026-11-22.jsonl").write_bytes(b"{}\n" * 2)

    said = console.run("audit", "verify", "--directory", str(tmp_path))

    assert (25, "  checked 2 lines") == (said.code, said.out.splitlines()[1])


def test_directory_without_a_log_is_none_that_was_emptied(console, tmp_path):
    """Who names the directory above it is told so, and not that all lines of it fit."""
    said = console.run("audit", "verify", "--directory", str(tmp_path))

    assert (6, "") == (said.code, said.out)
    assert "no audit log" in said.err


def test_hostile_directory_moves_no_cursor(console, tmp_path):
    """A copy from elsewhere may hold anything."""
    log = Log(tmp_path / "copy").fill(days=1)
    with (log.directory / log.file).open("ab") as file:
        file.write(b'{"seq":7,"event":"\x1b[2J"}\n' * 50)

    out = console.run("audit", "verify", "--directory", str(log.directory)).out

    assert [] == [c for c in out if not (c.isprintable() or c == "\n")]
    assert "and 33 more" in out
