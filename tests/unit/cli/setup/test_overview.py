"""`keylease setup` without a tool's name: what is here, what it would be told, and a question."""

import base64
import json
import os
import sys

import pytest

from keylease import tools
from keylease.cli.setup import TOOLS

if sys.platform == "win32":
    pytest.skip("the programs of these tests are shell scripts", allow_module_level=True)


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """Return a home on a machine where docker and skopeo are, and no other tool."""
    programs = tmp_path / "programs"
    programs.mkdir()
    for name in ("docker", "skopeo"):
        (programs / name).write_text("#!/bin/sh\n", encoding="utf-8")
        (programs / name).chmod(0o755)
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("PATH", str(programs))
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(home / ".config"))
    for name in ("DOCKER_CONFIG", "DOCKER_AUTH_CONFIG", "REGISTRY_AUTH_FILE", "CARGO_HOME"):
        monkeypatch.delenv(name, raising=False)
    return home


def files(home):
    """Return every file of the home."""
    return sorted(path.name for path in home.rglob("*") if path.is_file())


def answer(monkeypatch, answers):
    """Answer the questions as a user would."""
    left = iter(each == "y" for each in answers)
    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    monkeypatch.setattr("click.confirm", lambda *_, **__: next(left))


def test_the_tools_that_are_here_are_shown(console, machine):
    """Each tool is named with its changes; without a terminal nothing is changed."""
    said = console.run("setup")

    assert 0 == said.code
    assert [
        f"docker: would change {machine}/.docker/config.json:",
        "  + credsStore: keylease",
        f"podman: would change {machine}/.config/containers/registries.conf.d/90-keylease.conf:",
        '  + credential-helpers = ["keylease"]',
    ] == said.out.splitlines()
    assert "nothing was changed: stdin is not a terminal" in said.err
    assert [] == files(machine)


def test_a_tool_that_needs_a_further_word_is_named(console, machine):
    """A tool that needs an argument is named until it is set up."""
    for name in ("pnpm", "keylease-pnpm"):
        (machine.parent / "programs" / name).write_text("#!/bin/sh\n", encoding="utf-8")
        (machine.parent / "programs" / name).chmod(0o755)
    said = "pnpm is installed and needs an argument to be set up: keylease setup pnpm REGISTRY\n"

    assert said in console.run("setup", "--dry-run").out
    assert 0 == console.run("setup", "pnpm", "https://npm.example").code
    assert said not in console.run("setup", "--dry-run").out


def test_each_is_asked_for(console, machine, monkeypatch):
    """An accepted tool is set up as by its own command; a declined one is not."""
    answer(monkeypatch, "ny")

    said = console.run("setup")

    assert 0 == said.code
    assert ["90-keylease.conf"] == files(machine)
    left = console.run("setup", "--dry-run").out
    assert "docker: would change" in left
    assert "podman: would change" not in left


def test_what_is_set_up_is_not_asked_for_again(console, machine, monkeypatch):
    """When all is done there is nothing to ask."""
    answer(monkeypatch, "yy")
    console.run("setup")

    assert (0, "every other installed tool already asks keylease\n") == console.run("setup")[:2]
    assert ["90-keylease.conf", "config.json"] == [
        name for name in files(machine) if not name.startswith("setup-")
    ]


def test_plaintext_is_told(console, machine):
    """The file is named, and nothing of what is in it."""
    (machine / ".docker").mkdir()
    secret = base64.b64encode(b"bob:hunter2").decode("ascii")
    document = {"auths": {"old.example": {"auth": secret}}}
    (machine / ".docker" / "config.json").write_text(json.dumps(document), encoding="utf-8")

    said = console.run("setup", "--dry-run")

    assert f"{machine}/.docker/config.json (docker) holds a password" in said.err
    assert "run: keylease setup docker --move" in said.err
    assert secret not in said.out + said.err


def test_dry_run_asks_nobody(console, machine, monkeypatch):
    """It shows the same and is done."""
    answer(monkeypatch, "")

    assert "docker: would change" in console.run("setup", "--dry-run").out
    assert [] == files(machine)
    assert 2 == console.run("setup", "--dry-run", "docker").code


def test_a_file_that_is_broken_stops_no_other_tool(console, machine):
    """An invalid file is reported, and the next tool is examined."""
    (machine / ".docker").mkdir()
    (machine / ".docker" / "config.json").write_text("{", encoding="utf-8")

    said = console.run("setup", "--dry-run")

    assert "docker: " in said.err
    assert "config.json is not valid JSON" in said.err
    assert "podman: would change" in said.out


@pytest.mark.parametrize(
    "tool", [tool for tool in tools.TOOLS if tool.setup], ids=lambda tool: tool.name
)
def test_every_tool_can_be_found(tool):
    """Each tool of the table has programs and, if it needs no argument, a plan."""
    module = __import__(TOOLS[tool.name], fromlist=["plan"])
    plain = f"keylease setup {tool.name}" == tool.setup

    assert tool is module.TOOL
    assert tool.commands
    assert os.sep not in "".join(tool.commands)
    # Which profile, user, registry or host is meant, only a person knows.
    assert plain == callable(getattr(module, "plan", None))


def test_everything_is_undone_at_once(console, machine, monkeypatch):
    """Each tool is as it was, and one whose file is broken does not keep the others from it."""
    answer(monkeypatch, "yy")
    console.run("setup")
    shown = console.run("setup", "--undo", "--dry-run")
    assert f"would change {machine}/.docker/config.json:\n  - credsStore: keylease" in shown.out
    (machine / ".docker/config.json").write_text("{", encoding="utf-8")

    undone = console.run("setup", "--undo")

    assert 0 == undone.code
    assert ["config.json"] == [n for n in files(machine) if not n.startswith("setup-")]
    assert "docker: " in undone.err
    assert "run: keylease setup git --undo" in undone.err


def test_undo_before_a_tools_name_is_refused(console, machine):
    """It would look as if it counted for that tool alone."""
    said = console.run("setup", "--undo", "docker")

    assert 2 == said.code
    assert "--undo is given before the tool's name" in said.err
    assert [] == files(machine)
