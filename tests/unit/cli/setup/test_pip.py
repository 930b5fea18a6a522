"""`keylease setup pip`: one line in pip's configuration, and nothing else."""

from __future__ import annotations

import configparser

import pytest

OURS = "keyring-provider = subprocess"


@pytest.fixture
def conf(tmp_path, monkeypatch):
    """Return the path of pip's configuration; there is none."""
    path = tmp_path / "pip" / "pip.conf"
    monkeypatch.setenv("PIP_CONFIG_FILE", str(path))
    monkeypatch.setattr("shutil.which", lambda _: "/usr/bin/keyring")
    return path


@pytest.mark.parametrize(
    "before",
    [
        None,
        "[install]\nno-deps = yes\n",
        "# mine\n[global]\nindex-url = https://pypi.example/simple/\n\n[install]\nno-deps = yes\n",
        "[global]\n",
    ],
)
def test_line_is_written_and_taken_back(console, conf, before):
    """pip reads the line, every other line stays, and undo leaves what was there."""
    if before is not None:
        conf.parent.mkdir()
        conf.write_text(before)

    done = console.run("setup", "pip")
    parser = configparser.RawConfigParser()
    parser.read(conf)

    assert (0, "") == (done.code, done.err)
    assert "subprocess" == parser.get("global", "keyring-provider")
    assert set((before or "").splitlines()) <= set(conf.read_text().splitlines())
    assert "nothing to change\n" == console.run("setup", "pip").out
    assert 0 == console.run("setup", "pip", "--undo").code
    left = conf.read_text() if conf.exists() else ""
    assert (before or "") == left
    assert "nothing to undo\n" == console.run("setup", "pip", "--undo").out


def test_dry_run_changes_nothing(console, conf):
    """The changes are shown, and the file is not made."""
    done = console.run("setup", "pip", "--dry-run")

    assert f"would change {conf}:\n  + [global]\n  + {OURS}\n" == done.out
    assert not conf.exists()


@pytest.mark.parametrize("line", ["keyring-provider = import", "Keyring_Provider: disabled"])
def test_other_provider_is_not_replaced(console, conf, line):
    """Another provider is not replaced: the user has to remove it first."""
    conf.parent.mkdir()
    conf.write_text(f"[global]\n{line}\n")

    done = console.run("setup", "pip")

    assert 2 == done.code
    assert "names another keyring-provider" in done.err
    assert f"[global]\n{line}\n" == conf.read_text()
    assert "nothing to undo\n" == console.run("setup", "pip", "--undo").out


def test_missing_keyring_is_said(console, conf, monkeypatch):
    """Without the program the line does nothing, and that is not left to be found out."""
    monkeypatch.setattr("shutil.which", lambda _: None)

    done = console.run("setup", "pip")

    assert 0 == done.code
    assert "keylease: warning: the program keyring is not on PATH\n" in done.err
    assert conf.exists()
