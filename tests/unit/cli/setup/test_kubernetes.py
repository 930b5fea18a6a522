"""`keylease setup kubernetes`: a user of the kubeconfig, made by kubectl itself."""

import json
import shutil
import subprocess

import pytest
from support.requirements import require

EXEC = {
    "apiVersion": "client.authentication.k8s.io/v1",
    "command": "keylease-kubernetes",
    "interactiveMode": "Never",
    "provideClusterInfo": True,
}


@pytest.fixture
def file(tmp_path, monkeypatch):
    """Return where the kubeconfig is to be."""
    require(shutil.which("kubectl"), "kubectl", "it is not on PATH")
    told = subprocess.run(
        ["kubectl", "config", "set-credentials", "--help"],
        capture_output=True,
        text=True,
        check=False,
    )
    require("--exec-provide-cluster-info" in told.stdout, "kubectl", "it is too old for setup")
    program = tmp_path / "bin" / "keylease-kubernetes"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\n", encoding="utf-8")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent), prepend=":")
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "kubeconfig"))
    return tmp_path / "kubeconfig"


def user(file, **entry):
    """Write a kubeconfig with one user besides another, and return what is then in it."""
    users = [{"name": "other", "user": {"token": "canary"}}, {"name": "ada", "user": entry}]
    document = {"apiVersion": "v1", "kind": "Config", "users": users}
    file.write_text(json.dumps(document), encoding="utf-8")


def test_a_user_is_made_and_taken_away(console, file):
    """It is shown, made once, and nothing of it is left."""
    said = console.run("setup", "kubernetes", "ada")

    shown = "changed the kubeconfig:\n  + users: ada: exec: command: keylease-kubernetes\n"
    assert (0, shown, "") == said
    assert "command: keylease-kubernetes\n" in file.read_text("utf-8")
    assert "provideClusterInfo: true\n" in file.read_text("utf-8")
    assert (0, "nothing to change\n", "") == console.run("setup", "kubernetes", "ada")
    assert 0 == console.run("setup", "kubernetes", "ada", "--undo").code
    assert "ada" not in file.read_text("utf-8")
    assert (0, "nothing to undo\n", "") == console.run("setup", "kubernetes", "ada", "--undo")


def test_other_users_stay(console, file):
    """Only one entry is touched, and no secret of another is shown."""
    user(file)

    said = console.run("setup", "kubernetes", "ada")

    assert (0, "") == (said.code, said.err)
    assert "token: canary" in file.read_text("utf-8")
    assert "canary" not in said.out


@pytest.mark.parametrize(
    "entry",
    [
        {"token": "canary"},
        {"client-key-data": "Y2FuYXJ5", "client-certificate-data": "Y2FuYXJ5"},
        {"exec": EXEC | {"command": "other"}},
    ],
)
def test_a_user_that_authenticates_otherwise_is_left_alone(console, file, entry):
    """kubectl would use that; the hint says how it is taken out."""
    user(file, **entry)
    before = file.read_bytes()

    said = console.run("setup", "kubernetes", "ada")

    assert 1 == said.code
    assert "kubectl config unset users.ada." in said.err
    assert "canary" not in said.err
    assert before == file.read_bytes()


def test_dry_run_writes_nothing(console, file):
    """It shows what would be made."""
    said = console.run("setup", "kubernetes", "ada", "--dry-run")

    assert said.out.startswith("would change the kubeconfig:\n  + users: ada: exec")
    assert not file.exists()


@pytest.mark.usefixtures("file")
def test_a_name_that_kubectl_takes_for_a_path_is_refused(console):
    """`kubectl config unset users.a.b` is about another entry."""
    said = console.run("setup", "kubernetes", "a.b")

    assert 1 == said.code
    assert "by hand" in said.err


def test_a_kubeconfig_that_is_broken_is_left_alone(console, file):
    """What kubectl cannot read is not repeated: there may be a token in it."""
    file.write_text("users: [canary", encoding="utf-8")

    said = console.run("setup", "kubernetes", "ada")

    assert 1 == said.code
    assert "canary" not in said.err
