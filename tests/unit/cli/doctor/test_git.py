"""The check of git: whether it asks keylease, and who else keeps a copy."""

from __future__ import annotations

import os
import shutil
import sys

import pytest
from support.gits import GITS, MISSING

from keylease.cli.doctor.base import Subject
from keylease.cli.doctor.git import check
from keylease.cli.setup import gitconfig

if not GITS:
    pytest.skip("; ".join(MISSING), allow_module_level=True)
if sys.platform == "win32":
    pytest.skip("the programs of these tests are shell scripts", allow_module_level=True)


@pytest.fixture(params=GITS, ids=str)
def configure(request, tmp_path, monkeypatch):
    """Return what writes the configuration of each git that is here; the helper is on PATH."""
    programs = tmp_path / "programs"
    programs.mkdir()
    (programs / "git-credential-keylease").write_text("#!/bin/sh\n")
    (programs / "git-credential-keylease").chmod(0o755)
    for name, value in request.param.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "gitconfig"))
    for name in ("GIT_DIR", "GIT_CONFIG_COUNT", "GIT_CONFIG_PARAMETERS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PATH", os.pathsep.join([str(programs), os.environ["PATH"]]))
    monkeypatch.chdir(tmp_path)
    return (tmp_path / "gitconfig").write_text


def look():
    """Return verdict and words of each finding."""
    return [(finding.verdict, finding.found) for finding in check(Subject(None))]


def test_git_that_asks_keylease_is_in_order(configure, tmp_path):
    """It is said where it stands."""
    program = f"{tmp_path}/programs/git-credential-keylease"
    configure(f"[credential]\n\thelper =\n\thelper = {program} --timeout 60\n")

    assert [("ok", f"git is configured to ask keylease (file:{tmp_path}/gitconfig)")] == look()


def test_git_that_asks_nobody_is_a_warning(configure):
    """The remedy is the command that does it."""
    configure("")

    [finding] = check(Subject(None))

    assert "warn" == finding.verdict
    assert "run: keylease setup git" == finding.remedy


def test_other_helper_is_a_warning(configure, tmp_path):
    """A helper that keeps a copy is named; what follows its name may be a password, and is not."""
    program = f"{tmp_path}/programs/git-credential-keylease"
    others = "\thelper = store\n\thelper = !echo password=hunter2\n"
    configure(f"[credential]\n\thelper = {program}\n{others}")

    said = look()

    assert ["ok", "warn", "warn"] == [verdict for verdict, _ in said]
    assert "git also gives store each password that worked" in said[1][1]
    assert "git also gives !echo each password that worked" in said[2][1]
    assert "hunter2" not in str(said)


def test_helper_that_is_not_on_path_is_a_warning(configure, monkeypatch, tmp_path):
    """git is silent about a helper that it does not find; this is not."""
    configure("[credential]\n\thelper = keylease\n")
    (tmp_path / "programs" / "git-credential-keylease").unlink()
    name = "git-credential-keylease"
    left = [each for each in os.get_exec_path() if shutil.which(name, path=each) is None]
    monkeypatch.setenv("PATH", os.pathsep.join(left))

    assert "git finds no git-credential-keylease on PATH, so it cannot ask" in look()[-1][1]


def test_helper_that_only_path_leads_to_is_a_warning(configure):
    """cron, a timer and a desktop have a short PATH, and git says nothing there either."""
    configure("[credential]\n\thelper = keylease\n")

    [_, finding] = check(Subject(None))

    assert "warn" == finding.verdict
    assert "only on PATH, so not from cron, a timer or a desktop" in finding.found
    assert "run again: keylease setup git" == finding.remedy


def test_helper_whose_path_is_gone_is_a_warning(configure, tmp_path):
    """A virtual environment that was removed takes the helper with it."""
    configure("[credential]\n\thelper = /gone/my\\\\ bin/git-credential-keylease --timeout 60\n")

    said = look()

    assert tmp_path.is_dir()
    assert (
        "warn",
        "git is configured to ask '/gone/my bin/git-credential-keylease', but it does not exist",
    ) == said[1]


def test_git_that_hangs_is_given_up(configure, monkeypatch, tmp_path):
    """A configuration on a server that is gone holds nothing up for ever."""
    configure("")
    (tmp_path / "programs" / "git").write_text("#!/bin/sh\nexec sleep 600\n")
    (tmp_path / "programs" / "git").chmod(0o755)
    monkeypatch.setattr(gitconfig, "SECONDS", 0.2)

    with pytest.raises(gitconfig.GitError, match="git config took longer than") as caught:
        look()

    assert "find the cause with: git config --list --show-origin" == caught.value.hint


def test_machine_without_git_is_in_order(configure, monkeypatch, tmp_path):
    """A machine without git needs no setup."""
    configure("")
    monkeypatch.setenv("PATH", str(tmp_path / "programs"))

    assert [("ok", "git is not on PATH, so there is nothing to set up")] == look()
