"""`keylease setup completion`: one file where the shell looks, and what it completes."""

from __future__ import annotations

import sys

import pytest
from click.shell_completion import BashComplete

from keylease.cli import COMMANDS, keylease
from keylease.cli.setup import TOOLS
from keylease.cli.setup.completion import PROGRAM, SHELLS, VARIABLE

PATHS = {
    "bash": ".local/share/bash-completion/completions/keylease",
    "zsh": ".zfunc/_keylease",
    "fish": ".config/fish/completions/keylease.fish",
}


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    """Return an empty home."""
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("USERPROFILE", str(home))
    for shell in SHELLS.values():
        monkeypatch.delenv(shell.variable, raising=False)
    return home


@pytest.mark.parametrize("shell", SHELLS)
def test_file_is_written_where_the_shell_looks(console, home, shell):
    """The person reads where it is and what else to do; a second time nothing changes."""
    said = console.run("setup", "completion", shell)

    path = home / PATHS[shell]
    assert (0, "") == (said.code, said.err)
    assert [f"wrote {path}", SHELLS[shell].then] == said.out.splitlines()
    assert f"{VARIABLE}={shell}_complete" in path.read_text(encoding="utf-8")
    assert [path] == list(path.parent.iterdir())
    assert f"nothing to change: {path}" in console.run("setup", "completion", shell).out


@pytest.mark.parametrize("shell", SHELLS)
def test_directory_of_the_shells_own_variable_counts(console, tmp_path, monkeypatch, shell):
    """The variable for another directory is followed."""
    monkeypatch.setenv(SHELLS[shell].variable, str(tmp_path / "elsewhere"))

    console.run("setup", "completion", shell)

    assert (tmp_path / "elsewhere" / SHELLS[shell].name).is_file()


@pytest.mark.parametrize("shell", SHELLS)
def test_print_writes_no_file(console, home, shell):
    """A packager can redirect the script into a file."""
    said = console.run("setup", "completion", shell, "--print")

    assert (0, "") == (said.code, said.err)
    assert f"{VARIABLE}={shell}_complete" in said.out
    assert [] == list(home.iterdir())
    console.run("setup", "completion", shell)
    assert said.out == (home / PATHS[shell]).read_text(encoding="utf-8")


def test_older_script_is_replaced(console, home):
    """A new version of click may write another one."""
    path = home / PATHS["bash"]
    path.parent.mkdir(parents=True)
    path.write_text(f"# {VARIABLE}: an older one\n")

    assert f"wrote {path}" in console.run("setup", "completion", "bash").out
    assert "an older one" not in path.read_text(encoding="utf-8")


def test_file_of_somebody_else_is_left_alone(console, home):
    """A file that keylease did not write is not replaced."""
    path = home / PATHS["fish"]
    path.parent.mkdir(parents=True)
    path.write_text("complete -c keylease\n")

    said = console.run("setup", "completion", "fish")

    assert (1, "") == (said.code, said.out)
    assert f"keylease: error: {path} exists and was not written by keylease" in said.err
    assert "complete -c keylease\n" == path.read_text()


@pytest.mark.skipif(sys.platform == "win32", reason="symbolic links need a privilege there")
def test_link_is_followed(console, home):
    """A link into a repository of dotfiles stays a link."""
    path = home / PATHS["fish"]
    path.parent.mkdir(parents=True)
    path.symlink_to(home / "kept.fish")

    assert 0 == console.run("setup", "completion", "fish").code
    assert path.is_symlink()
    assert VARIABLE in (home / "kept.fish").read_text(encoding="utf-8")


def test_directory_that_cannot_be_made_is_an_error(console, home):
    """One line, and how to do it by hand."""
    (home / ".config").write_text("a file in the way")

    said = console.run("setup", "completion", "fish")

    assert (1, "") == (said.code, said.out)
    assert "cannot be written" in said.err
    assert "hint: use --print" in said.err


def test_unknown_shell_is_refused(console):
    """The person reads which there are."""
    said = console.run("setup", "completion", "tcsh")

    assert 2 == said.code
    assert all(shell in said.err for shell in SHELLS)
    assert "error: invalid value for 'SHELL': 'tcsh' is not one of" in said.err


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ([], set(COMMANDS)),
        (["setup"], set(TOOLS)),
        (["setup", "completion"], set(SHELLS)),
        (["status", "--"], {"--username", "--tool", "--json", "--watch", "--help"}),
    ],
)
def test_what_is_completed(typed, expected):
    """Commands, options and shells come from the program itself."""
    complete = BashComplete(keylease, {}, PROGRAM, VARIABLE)
    words, incomplete = (typed[:-1], typed[-1]) if typed[-1:] == ["--"] else (typed, "")

    assert expected == {item.value for item in complete.get_completions(words, incomplete)}
