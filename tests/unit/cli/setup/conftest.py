"""Fixtures: installed programs and an empty home."""

import stat

import pytest

from keylease.programs import names


@pytest.fixture
def programs(tmp_path, monkeypatch):
    """Return a directory on PATH with all of our programs, and nothing else on it."""
    directory = tmp_path / "bin"
    directory.mkdir()
    for name in names():
        program = directory / name
        program.write_text("#!/bin/sh\necho answered by $0 $*\n", encoding="utf-8")
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", str(directory))
    return directory


@pytest.fixture
def user_home(tmp_path, monkeypatch):
    """Return a home that no variable of the tools leads away from."""
    home = tmp_path / "user"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(home / ".config"))
    for name in (
        *("VAULT_CONFIG_PATH", "BAO_CONFIG_PATH", "VAULT_TOKEN", "BAO_TOKEN"),
        *("TF_CLI_CONFIG_FILE", "GOENV", "GOAUTH", "NPM_CONFIG_USERCONFIG"),
        "npm_config_userconfig",
    ):
        monkeypatch.delenv(name, raising=False)
    return home
