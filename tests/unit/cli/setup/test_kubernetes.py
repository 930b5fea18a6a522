"""`keylease setup kubernetes`: an entry of one user, in the text, as kubectl understands it."""

import json
import shutil
import subprocess
import sys

import pytest
from support.requirements import require
from support.waiting import WAIT_SECONDS

from keylease.cli import replacement

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
        timeout=WAIT_SECONDS,
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
    """Write a kubeconfig with one user besides another, as kubectl writes it."""
    given = "".join(f"    {key}: {json.dumps(value)}\n" for key, value in entry.items())
    text = f"  user:\n{given}" if given else "  user: {}\n"
    other = "- name: other\n  user:\n    token: canary\n"
    file.write_text(f"apiVersion: v1\nkind: Config\nusers:\n{other}- name: ada\n{text}", "utf-8")


def test_a_user_is_made_and_taken_away(console, file, tmp_path):
    """It is shown, made once, and nothing of it is left."""
    said = console.run("setup", "kubernetes", "ada")

    command = f"{tmp_path}/bin/keylease-kubernetes"
    assert (0, f"changed {file}:\n  + users: ada: exec: command: {command}\n", "") == said
    told = subprocess.run(
        ["kubectl", "config", "view", "--output=json"],
        capture_output=True,
        check=True,
        timeout=WAIT_SECONDS,
    )
    [found] = json.loads(told.stdout)["users"]
    shown = {key: value for key, value in found["user"]["exec"].items() if value is not None}
    assert ("ada", EXEC | {"command": command}) == (found["name"], shown)
    assert (0, "nothing to change\n", "") == console.run("setup", "kubernetes", "ada")
    assert 0 == console.run("setup", "kubernetes", "ada", "--undo").code
    assert not file.exists()
    assert (0, "nothing to undo\n", "") == console.run("setup", "kubernetes", "ada", "--undo")


@pytest.mark.parametrize(
    "text",
    [
        "apiVersion: v1\nkind: Config # mine\n",
        "apiVersion: v1\nkind: Config\nusers: []\ncontexts: null\n",
        (
            "# mine\napiVersion: v1\nkind: Config\nusers: # all\n"
            "- name: other\n  user:\n    token: canary # why\n# end\ncurrent-context: x"
        ),
        (
            "kind: Config\nusers:\n  # two\n  - user:\n      as: x\n    name: ada\n  - name: 'z'\n"
            "    user: {token: canary}\npreferences: {}\n"
        ),
        "users:\n- name: ada\n  user: {} # nothing\n- name: z\n  user:\n    token: canary\n",
    ],
)
def test_comments_and_order_stay_and_come_back(console, file, text):
    """Whatever else is in the file is there line by line, and afterwards byte by byte."""
    file.write_text(text, encoding="utf-8")

    said = console.run("setup", "kubernetes", "ada")

    assert (0, "") == (said.code, said.err)
    assert "canary" not in said.out
    rest = iter(file.read_text("utf-8").splitlines())
    left = [
        each for each in text.splitlines() if " user: {}" not in each and "users: []" not in each
    ]
    # Each is there, behind the one before it.
    assert [] == [each for each in left if each not in rest]
    assert 0 == console.run("setup", "kubernetes", "ada", "--undo").code
    assert text == file.read_text("utf-8")


def test_an_edit_after_setup_is_not_lost(console, file):
    """kubectl itself may write the file anew, and then only the entry is taken out."""
    user(file, **{"as": "x"})
    console.run("setup", "kubernetes", "ada")
    subprocess.run(
        ["kubectl", "config", "set-context", "new"],
        capture_output=True,
        check=True,
        timeout=WAIT_SECONDS,
    )

    assert 0 == console.run("setup", "kubernetes", "ada", "--undo").code

    text = file.read_text("utf-8")
    assert "name: new" in text
    assert "as: x" in text
    assert "token: canary" in text
    assert "keylease" not in text


def test_a_file_that_kubectl_did_not_write_is_left_alone(console, file):
    """JSON is YAML, and not what this can edit."""
    file.write_text('{"users": [{"name": "other", "user": {"token": "canary"}}]}', "utf-8")
    before = file.read_bytes()

    said = console.run("setup", "kubernetes", "ada")

    assert 1 == said.code
    assert "by hand" in said.err
    assert before == file.read_bytes()


def test_the_user_is_sought_in_every_file(console, file, monkeypatch):
    """KUBECONFIG may name several, and kubectl writes into the one that has the user."""
    user(file)
    first = file.with_name("first")
    first.write_text("kind: Config\n", "utf-8")
    monkeypatch.setenv("KUBECONFIG", f"{first}:{file}")

    assert 0 == console.run("setup", "kubernetes", "ada").code

    assert "keylease" in file.read_text("utf-8")
    assert "kind: Config\n" == first.read_text("utf-8")


def test_the_lock_of_kubectl_is_respected(console, file):
    """kubectl makes it while it writes."""
    user(file)
    before = file.read_bytes()
    file.with_name("kubeconfig.lock").touch()

    said = console.run("setup", "kubernetes", "ada")

    assert 1 == said.code
    assert "is locked by another program" in said.err
    assert before == file.read_bytes()


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

    assert said.out.startswith(f"would change {file}:\n  + users: ada: exec")
    assert not file.exists()


@pytest.mark.usefixtures("file")
@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere there is no memfd_create")
def test_the_check_leaves_no_copy_on_the_disk(console, file, monkeypatch):
    """A kill while kubectl reads the new text leaves no copy of another user's token behind."""
    user(file)
    made = []
    original = replacement.temporary_for
    monkeypatch.setattr(
        replacement, "temporary_for", lambda *args: made.append(args) or original(*args)
    )

    assert 0 == console.run("setup", "kubernetes", "ada", "--dry-run").code
    assert [] == made

    assert 0 == console.run("setup", "kubernetes", "ada").code
    assert 1 == len(made), "the control: the one temporary of the replacement, which is recorded"


def test_a_name_that_kubectl_takes_for_a_path_is_refused(console):
    """`kubectl config unset users.a.b` is about another entry."""
    said = console.run("setup", "kubernetes", "a.b")

    assert 1 == said.code
    assert "by hand" in said.err


def test_a_kubeconfig_that_is_broken_is_left_alone(console, file):
    """Text that kubectl cannot read is not repeated: it may hold a token."""
    file.write_text("users: [canary", encoding="utf-8")

    said = console.run("setup", "kubernetes", "ada")

    assert 1 == said.code
    assert "canary" not in said.err
