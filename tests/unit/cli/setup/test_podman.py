"""`keylease setup podman`: one file of keylease's own."""

import stat
import sys

import pytest


@pytest.fixture
def file(tmp_path, monkeypatch):
    """Return where the file is to be."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.delenv("REGISTRY_AUTH_FILE", raising=False)
    return tmp_path / "config" / "containers" / "registries.conf.d" / "90-keylease.conf"


def test_one_file_is_written_and_taken_away(console, file):
    """It is shown, it is everything, and nothing of it is left."""
    said = console.run("setup", "podman")

    assert (0, f'changed {file}:\n  + credential-helpers = ["keylease"]\n', "") == said
    assert 'credential-helpers = ["keylease"]' in file.read_text("utf-8").splitlines()
    assert (0, "nothing to change\n", "") == console.run("setup", "podman")
    assert 0 == console.run("setup", "podman", "--undo").code
    assert not file.exists()
    assert (0, "nothing to undo\n", "") == console.run("setup", "podman", "--undo")


def test_dry_run_writes_nothing(console, file):
    """It shows what would be written."""
    said = console.run("setup", "podman", "--dry-run")

    assert said.out.startswith(f"would change {file}:\n")
    assert not file.parent.exists()


@pytest.mark.skipif(sys.platform == "win32", reason="there are no such modes there")
@pytest.mark.usefixtures("usual_umask")
def test_others_may_read_it(console, file):
    """It has no secret, and a program of another user may need it."""
    console.run("setup", "podman")

    assert 0o644 == stat.S_IMODE(file.stat().st_mode)


@pytest.mark.parametrize("words", [(), ("--undo",)])
def test_a_file_of_somebody_else_is_left_alone(console, file, words):
    """The name alone does not make it keylease's."""
    file.parent.mkdir(parents=True)
    file.write_text("unqualified-search-registries = []\n", encoding="utf-8")

    said = console.run("setup", "podman", *words)

    assert 1 == said.code
    assert "was not written by keylease" in said.err
    assert "unqualified-search-registries = []\n" == file.read_text("utf-8")


@pytest.mark.usefixtures("file")
def test_a_variable_that_stands_in_the_way_is_told(console, monkeypatch):
    """podman would still keep logins in plaintext, so setup warns."""
    monkeypatch.setenv("REGISTRY_AUTH_FILE", "/x")

    assert "REGISTRY_AUTH_FILE is set" in console.run("setup", "podman").err
