"""`keylease doctor`: what it says, what it returns, and that it changes nothing."""

from __future__ import annotations

import json
import os
import sys

import pytest

from keylease.cli.doctor import CHECKS

CANARY = "hunter2-canary"


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    """Return a home with nothing in it, and nothing configured."""
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("USERPROFILE", str(home))
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(home / ".gitconfig"))
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    for name in ("XDG_CONFIG_HOME", "DOCKER_CONFIG", "CARGO_HOME", "GIT_DIR", "GIT_CONFIG_COUNT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(home)
    return home


def examine(console):
    """Return the exit code and every finding, by its check."""
    said = console.run("doctor", "--json")
    document = json.loads(said.out)
    found = {name: [] for name in CHECKS}
    for each in document["checks"]:
        found[each.pop("check")].append(each)
    return said.code, found


def verdicts(found, name):
    """Return the verdicts of one check."""
    return [each["verdict"] for each in found[name]]


def test_machine_without_keylease_is_in_order(console):
    """Nothing fails before the first login, and looking makes nothing."""
    code, found = examine(console)

    assert 0 == code
    assert ["ok"] == verdicts(found, "state") == verdicts(found, "keychain")
    assert "memory of this process (memory) can take the first key" in str(found["keychain"])
    assert "there is no vault yet" in str(found["vault"])
    assert not console.state.exists()


def test_machine_with_a_session_is_in_order(console):
    """Everything that a session needs is there, and is said to be."""
    console.login()

    code, found = examine(console)

    assert 0 == code
    # Not memory: what this process has shut is the test runner's own business.
    for name in ("state", "keychain", "vault", "configuration", "clock", "plaintext"):
        assert ["ok"] == verdicts(found, name), found[name]
    assert "key generation 1, made at 2026-09-21T14:13:20Z" == found["vault"][0]["found"]
    assert all(each["remedy"] is None for each in found["vault"])


def test_every_check_says_something(console):
    """No check is silent, so a line that is missing is no good news."""
    _, found = examine(console)

    assert [] == [name for name, findings in found.items() if not findings]


def test_examination_changes_nothing(console):
    """No use of a session, no audit line, no file: not even of a vault whose key is gone."""
    console.login()
    before, lines = contents(console.state), console.audit()
    examine(console)
    assert (before, lines) == (contents(console.state), console.audit())

    console.revoke()
    _, found = examine(console)

    assert (before, lines) == (contents(console.state), console.audit())
    assert "key generation 1 was deleted from the keychain" == found["vault"][0]["found"]


def contents(directory):
    """Return every file with its bytes and its time."""
    files = (path for path in sorted(directory.rglob("*")) if path.is_file())
    return [(str(path), path.read_bytes(), path.stat().st_mtime_ns) for path in files]


@pytest.mark.parametrize("state", ["lock", "hang", "vanish"])
@pytest.mark.parametrize("made", [False, True])
def test_keychain_that_cannot_be_used_is_a_failure(console, state, made):
    """Without a keychain nothing works, whether or not there is a vault already."""
    if made:
        console.login()
    getattr(console.keystore, state)()

    code, found = examine(console)

    assert 1 == code
    assert ["fail"] == verdicts(found, "keychain")
    assert found["keychain"][0]["remedy"]
    assert ["warn" if made else "ok"] == verdicts(found, "vault")


def test_revoked_vault_is_told_with_its_remedy(console):
    """A person reads since when, and how to start afresh."""
    console.login()
    console.revoke()
    console.run("status")

    code, found = examine(console)

    assert 0 == code
    assert ["warn"] == verdicts(found, "vault")
    assert "was revoked at 2026-09-21T14:13:20Z" in found["vault"][0]["found"]
    assert "start afresh with: keylease login URL" == found["vault"][0]["remedy"]
    assert ["ok"] == verdicts(found, "keychain")


def test_key_that_a_revocation_could_not_reach_is_told(console):
    """With a locked keychain doctor does not say whether the key is gone."""
    console.login()
    console.keystore.lock()
    assert 4 == console.run("revoke", "--yes").code

    code, found = examine(console)
    assert 1 == code
    assert ["fail"] == verdicts(found, "keychain")
    assert "the keychain cannot be asked whether it is gone" in found["vault"][0]["found"]
    assert "then run: keylease revoke" in found["vault"][0]["remedy"]

    console.keystore.recover()
    code, found = examine(console)
    assert 0 == code
    assert ["ok"] == verdicts(found, "keychain")
    assert "the key is still in the keychain" in found["vault"][0]["found"]
    assert "delete it with: keylease revoke" in found["vault"][0]["remedy"]

    assert 0 == console.run("revoke", "--yes").code
    _, found = examine(console)
    assert "start afresh with: keylease login URL" == found["vault"][0]["remedy"]


def test_clock_behind_the_vault_is_a_warning(console):
    """A clock that was set back is named, for it ends sessions; a date that is none is not."""
    console.login()
    console.clock.set_wall(1_780_000_000)
    _, found = examine(console)
    assert ["warn"] == verdicts(found, "clock")
    said = "the clock says 2026-05-28T20:26:40Z, but the vault key is of 2026-09-21T14:13:20Z"
    assert said == found["clock"][0]["found"]

    path = console.state / "vault.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"created": "yesterday"}))
    _, found = examine(console)
    assert ["ok"] == verdicts(found, "clock")


def test_missing_audit_key_is_told(console):
    """A deleted audit key is a warning with its consequence."""
    console.login()
    for item in console.keystore.items:
        if item.kind == "audit-key":
            console.keystore.delete(item)

    _, found = examine(console)

    assert ["warn"] == verdicts(found, "vault")
    assert "the audit key was deleted" in found["vault"][0]["found"]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such modes")
@pytest.mark.parametrize("mode", [0o750, 0o777])
def test_state_that_others_can_read_is_a_failure(console, mode):
    """The advice is the one that every command gives."""
    console.login()
    console.state.chmod(mode)

    code, found = examine(console)

    assert 1 == code
    assert ["fail"] == verdicts(found, "state")
    assert "chmod 700" in found["state"][0]["remedy"]
    assert ["warn"] == verdicts(found, "keychain")


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such modes")
@pytest.mark.parametrize("name", ["sessions/*/*.sealed", "audit/*.jsonl", "sessions/*"])
def test_each_file_that_is_not_private_is_named(console, name):
    """Not only the directory is looked at."""
    console.login()
    paths = sorted(console.state.glob(name))
    for path in paths:
        path.chmod(path.stat().st_mode | 0o044)

    code, found = examine(console)

    assert 1 == code
    assert ["fail"] * len(paths) == verdicts(found, "state")
    for path, each in zip(paths, found["state"], strict=True):
        assert path.name in each["found"]


@pytest.mark.skipif(sys.platform == "win32", reason="symbolic links need a privilege there")
def test_link_in_the_state_is_a_failure(console, tmp_path):
    """A link to another place is not followed, and is named."""
    console.login()
    (tmp_path / "elsewhere").mkdir()
    (console.state / "sessions" / "link").symlink_to(tmp_path / "elsewhere")

    code, found = examine(console)

    assert 1 == code
    assert "symbolic link" in found["state"][0]["found"]


def test_clock_that_is_behind_the_vault_is_told(console):
    """A clock that was set back explains why sessions end at once."""
    console.login()
    console.clock.set_wall(1_500_000_000)

    code, found = examine(console)

    assert 0 == code
    assert ["warn"] == verdicts(found, "clock")
    assert "set the clock" in found["clock"][0]["remedy"]


def test_configuration_that_makes_no_sense_is_a_failure(console, monkeypatch):
    """A setting that stops every release is reported by its name."""
    monkeypatch.setenv("KEYLEASE_IDLE_TIMEOUT", "soon")

    code, found = examine(console)

    assert 1 == code
    assert ["fail"] == verdicts(found, "configuration")
    assert "KEYLEASE_IDLE_TIMEOUT" in found["configuration"][0]["found"]


@pytest.mark.parametrize(
    ("policy", "told"),
    [
        ("revoked = true\n", "the policy has revoked every session"),
        (
            """
            target."https://two.example".revoked = true
            target."https://one.example".revoked = true
            target."https://three.example".revoked = false
            """,
            "the policy has revoked every session for https://one.example, https://two.example",
        ),
    ],
)
def test_what_the_policy_has_revoked_is_told(console, policy, told):
    """A revocation by the policy is a warning, because nothing else explains the refusals."""
    _, before = examine(console)
    console.configure(console.policy, policy)

    code, found = examine(console)

    assert ["ok"] == verdicts(before, "configuration"), "the control"
    assert 0 == code
    assert ["ok", "warn"] == verdicts(found, "configuration")
    assert told == found["configuration"][1]["found"]
    assert "the administrator of this machine" in found["configuration"][1]["remedy"]


def test_words_begin_with_the_verdict(console):
    """A person who looks down the first column sees what is wrong, and what to do below it."""
    console.keystore.lock()

    said = console.run("doctor")

    lines = said.out.splitlines()
    at = next(number for number, line in enumerate(lines) if line.startswith("fail"))
    assert "fail  keychain       the keychain in memory is locked" == lines[at]
    assert lines[at + 1].startswith(" " * 21 + "remedy: unlock the keychain")
    assert (1, "") == (said.code, said.err)


def test_json_is_what_is_documented(console):
    """A program can rely on the shape."""
    document = json.loads(console.run("doctor", "--json").out)

    assert {"format", "verdict", "checks"} == set(document)
    assert 1 == document["format"]
    assert {"check", "verdict", "found", "remedy"} == set(document["checks"][0])
    assert {each["verdict"] for each in document["checks"]} <= {"ok", "warn", "fail"}


def test_worst_verdict_is_the_verdict(console):
    """One failure among warnings is a failure."""
    console.keystore.lock()

    assert "fail" == json.loads(console.run("doctor", "--json").out)["verdict"]


def test_names_are_escaped(console, home):
    """A directory with escapes in its name writes nothing but itself to the terminal."""
    os.environ["CARGO_HOME"] = str(home / "car\x1b]0;x\x07go")
    (home / "car\x1b]0;x\x07go").mkdir()
    (home / "car\x1b]0;x\x07go" / "credentials.toml").write_text('token = "x"\n')
    try:
        said = console.run("doctor")
        raw = console.run("doctor", "--json")
    finally:
        del os.environ["CARGO_HOME"]

    assert "car\\x1b]0;x\\x07go" in said.out
    assert "\x1b" not in said.out + raw.out
