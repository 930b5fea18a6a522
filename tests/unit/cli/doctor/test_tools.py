"""The check of the other tools: which ask, which could, and which cannot find the program."""

from __future__ import annotations

import json
import os
import sys
from typing import NamedTuple

import pytest

from keylease.cli.doctor.base import Subject
from keylease.cli.doctor.tools import check
from keylease.cli.setup import TOOLS

if sys.platform == "win32":
    pytest.skip("the programs of these tests are shell scripts", allow_module_level=True)

KUBECTL = """#!/bin/sh
echo '{"users": [{"name": "ada", "user": {"exec": {"command": "keylease-kubernetes"}}}]}'
"""


_TIMER = "a timer or a desktop"


class Case(NamedTuple):
    """A tool, what it is called, the words of its setup, and the program by which it asks."""

    name: str
    program: str
    words: tuple[str, ...]
    helper: str


CASES = (
    Case("docker", "docker", (), "docker-credential-keylease"),
    Case("podman", "skopeo", (), "docker-credential-keylease"),
    Case("cargo", "cargo", (), "cargo-credential-keylease"),
    Case("aws", "aws", ("prod",), "keylease-aws"),
    Case("vault", "bao", (), "keylease-vault"),
    Case("terraform", "tofu", (), "terraform-credentials-keylease"),
    Case("go", "go", (), "keylease-goauth"),
    Case("pip", "pip3", (), "keyring"),
    Case("pnpm", "pnpm", ("https://npm.example",), "keylease-pnpm"),
    Case("bazel", "bazel", ("cache.example",), "keylease-bazel"),
)


@pytest.fixture
def programs(tmp_path, monkeypatch):
    """Return an empty directory that is all of PATH, in a home with nothing in it."""
    monkeypatch.setenv("HOME", str(tmp_path / "home with a blank"))
    (tmp_path / "home with a blank").mkdir()
    for name in [*os.environ]:
        if name.startswith(("XDG_", "DOCKER_", "CARGO_", "AWS_", "VAULT_", "BAO_", "TF_", "GO")):
            monkeypatch.delenv(name)
    for name in ("PIP_CONFIG_FILE", "NPM_CONFIG_USERCONFIG", "npm_config_userconfig"):
        monkeypatch.delenv(name, raising=False)
    directory = tmp_path / "bin"
    directory.mkdir()
    monkeypatch.setenv("PATH", str(directory))
    return directory


def install(directory, name, text="#!/bin/sh\n"):
    """Put a program there."""
    (directory / name).write_text(text)
    (directory / name).chmod(0o755)


def look():
    """Return verdict and words of each finding."""
    return [(finding.verdict, finding.found) for finding in check(Subject(None))]


@pytest.mark.usefixtures("programs")
def test_a_machine_without_tools_is_in_order():
    """It is said, so that silence is no good news."""
    assert [("ok", "no other tool is installed")] == look()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_each_tool_is_judged(console, programs, case):
    """Here, then set up, then without the program by which it asks."""
    install(programs, case.program)
    [(verdict, said)] = look()
    assert "ok" == verdict
    assert f"{case.name} is installed and does not ask keylease; run: keylease setup" in said

    install(programs, case.helper)
    assert 0 == console.run("setup", case.name, *case.words).code
    first, *others = look()
    assert ("ok", f"{case.name} is configured to ask keylease") == first
    # These take no path, and PATH is a short one where a desktop or cron starts them.
    alone = [
        ("warn", f"{case.name} finds {case.helper!a} only on PATH, so not from cron, {_TIMER}")
    ]
    assert others == (alone if case.name in {"docker", "podman", "pip"} else [])

    (programs / case.helper).unlink()
    [finding] = check(Subject(None))
    assert "warn" == finding.verdict
    assert f"{case.name} is configured to ask keylease, but there is no program" in finding.found
    assert case.helper in finding.found
    assert f"run again: keylease setup {case.name}" in finding.remedy


def test_a_user_of_a_kubeconfig_is_judged(programs):
    """kubectl tells of it, and nothing of the file is read."""
    install(programs, "kubectl", KUBECTL)
    [(verdict, said)] = look()
    assert "warn" == verdict
    assert "there is no program 'keylease-kubernetes'" in said

    install(programs, "keylease-kubernetes")
    assert ("ok", "kubernetes is configured to ask keylease") == look()[0]


def test_terraforms_own_copy_is_looked_for(console, programs, tmp_path):
    """Where it is missing Terraform writes tokens in plaintext, and says nothing."""
    install(programs, "terraform-credentials-keylease")
    console.run("setup", "terraform")
    plugins = tmp_path / "home with a blank/.terraform.d/plugins"
    (plugins / "terraform-credentials-keylease").unlink()

    [(verdict, said)] = look()

    assert "warn" == verdict
    assert str(plugins) in said


def test_a_broken_configuration_hides_no_other(programs, tmp_path):
    """It is named, with none of its content, and the next tool is judged."""
    install(programs, "cargo")
    docker = tmp_path / "home with a blank/.docker/config.json"
    docker.parent.mkdir()
    docker.write_text('{"auth": "hunter2')

    found = look()

    assert ["warn", "ok"] == [verdict for verdict, _ in found]
    assert f"docker: {docker} is not valid JSON" == found[0][1]
    assert "hunter2" not in json.dumps(found)


def test_every_tool_is_tested():
    """Every tool of the table is checked."""
    own = {"git", "completion", "kubernetes"}

    assert set(TOOLS) - own == {case.name for case in CASES}
