"""`keylease config show`: what counts, who says so, and what was wished instead."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from keylease.config.base import KEYS

DEFAULTS = {"idle_timeout": 900, "cap": 28800, "store": "create", "keychain": None}
AUDIT = {"audit.retention_days": 90, "audit.witness": "none"}


def show(console, *words):
    """Return the document that `--json` prints."""
    said = console.run(*words, "config", "show", "--json")
    assert (0, "") == (said.code, said.err)
    return json.loads(said.out)


def test_defaults_are_shown_on_a_machine_without_files(console):
    """Whoever wonders what counts is told, and nothing is made by asking."""
    document = show(console)

    assert {**DEFAULTS, "revoked": False, **AUDIT} == {
        name: each["value"] for name, each in document["settings"].items()
    }
    assert {"default"} == {each["source"] for each in document["settings"].values()}
    assert {
        "user": {"path": console.user.path, "found": False},
        "policy": {"path": console.policy.path, "found": False},
    } == document["files"]
    assert {} == document["targets"]
    assert not console.state.exists()
    assert not Path(console.user.path).parent.exists()


def test_clipped_wish_is_shown_with_both_places(console):
    """The user sees the hour of the own file, the five minutes of the policy, and which counts."""
    console.configure(console.user, "idle_timeout = 3600\n")
    console.configure(console.policy, "\nidle_timeout = 300\n")

    out = console.run("config", "show").out
    assert (
        f"idle_timeout  300 {console.policy.path} 3600, {console.user.path}".split()
        == out.splitlines()[1].split()
    )
    assert {
        "value": 300,
        "source": f"{console.policy.path}",
        "instead_of": {"value": 3600, "source": f"{console.user.path}"},
    } == show(console)["settings"]["idle_timeout"]


def test_targets_have_tables_of_their_own(console):
    """What counts for one server is shown as a whole, whatever it comes from."""
    console.configure(console.user, '[target."https://git.example"]\nstore = "never"\n')
    console.configure(console.policy, '[target."https://git.example"]\nrevoked = true\n')

    out = console.run("config", "show").out
    assert "\nfor https://git.example\n" in out
    target = show(console)["targets"]["https://git.example"]
    assert {"idle_timeout": 900, "cap": 28800, "store": "never", "revoked": True} == {
        name: each["value"] for name, each in target.items()
    }


def test_option_and_variable_are_named(console, monkeypatch):
    """A value that comes from neither file says where it comes from."""
    monkeypatch.setenv("KEYLEASE_CAP", "1000")

    settings = show(console, "--keychain", "kernel")["settings"]

    assert ("kernel", "command line") == tuple(settings["keychain"].values())[:2]
    assert (1000, "KEYLEASE_CAP") == tuple(settings["cap"].values())[:2]
    assert "KEYLEASE_CAP" in console.run("config", "show").out


@pytest.mark.parametrize("kind", ["user", "policy"])
def test_bad_file_is_refused_with_its_place(console, kind):
    """The exit code is 8, the message leads to the line, and nothing is shown as if it counted."""
    place = getattr(console, kind)
    console.configure(place, "cap = 0\n")

    said = console.run("config", "show")

    assert (8, "") == (said.code, said.out)
    assert f"keylease: error: {place.path}: cap: found 0, expected a whole" in said.err
    assert "keylease: hint: nothing is released until this is fixed" in said.err


def test_file_is_named_whether_or_not_it_is_there(console):
    """Whoever wants to write one knows where."""
    console.configure(console.user, "")

    lines = console.run("config", "show").out.splitlines()[-2:]

    assert [
        f"user file: {console.user.path}",
        f"policy file: {console.policy.path}, not there",
    ] == lines


def test_user_without_a_home_has_no_file_to_name(console):
    """A service is shown what counts, all the same."""
    console.user = None

    assert ["policy"] == list(show(console)["files"])
    assert set(KEYS) == set(show(console)["settings"])


def test_policy_shortens_what_login_asked_for(console):
    """A person who asks for an hour is told of the five minutes at once."""
    console.configure(console.policy, "idle_timeout = 300\n")

    said = console.run(
        "login", "https://ada@git.example", "--password-stdin", "--timeout", "3600", stdin=b"x"
    )

    assert "it ends after 5 min without use, after 8 h at the latest\n" in said.out
    assert "--timeout 3600 is longer than the maximum" in said.err


def test_revoked_is_told_by_every_command_that_asks(console):
    """Exit code 9 and the reason, and the files are gone."""
    console.login()
    console.configure(console.policy, "revoked = true\n")

    for words in (("status",), ("extend", "https://git.example"), ("status", "--json")):
        said = console.run(*words)
        assert (9, "") == (said.code, said.out)
        assert "error: the policy of this machine has revoked every session\n" in said.err
    assert [] == list(console.state.glob("sessions/*/*.sealed"))


def test_bad_configuration_lets_people_log_out(console):
    """Exit code 8 for what would show or give something; logging out goes on."""
    console.login()
    console.configure(console.user, "cap = 0\n")

    assert 8 == console.run("status").code
    assert 8 == console.run("extend", "https://git.example").code
    assert 0 == console.run("logout", "https://git.example").code
    assert [] == list(console.state.glob("sessions/*/*.sealed"))
