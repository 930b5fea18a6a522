"""`keylease setup git`: two lines, real git, and nothing of the user's touched."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from support.gits import GITS, MISSING

if not GITS:
    pytest.skip("; ".join(MISSING), allow_module_level=True)
if sys.platform == "win32":
    pytest.skip("the programs of these tests are shell scripts", allow_module_level=True)


class Config:
    """The configuration of one git in a home of its own."""

    def __init__(self, git, home, monkeypatch):
        self.path = home / ".gitconfig"
        self._git = git
        for name, value in git.environment.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("HOME", str(home))
        monkeypatch.setenv("XDG_CONFIG_HOME", str(home / ".config"))
        monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(self.path))
        for name in ("GIT_DIR", "GIT_CONFIG_COUNT", "GIT_CONFIG_PARAMETERS"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.chdir(home)

    @property
    def program(self):
        """The program that git is to ask, by its path: it is in no directory of cron's PATH."""
        return f"{self.path.parent.parent}/programs/git-credential-keylease"

    @property
    def two_lines(self):
        """The helpers as setup writes them."""
        return ["", self.program]

    def git(self, *words, stdin=""):
        """Run git and return what it said."""
        done = subprocess.run(
            [self._git.path, *words], input=stdin, capture_output=True, text=True, check=False
        )
        return done.stdout

    def helpers(self, scope="--global"):
        """Return the helpers of that scope, in their order."""
        told = self.git("config", scope, "--null", "--get-all", "credential.helper")
        return told.split("\0")[:-1]

    def write(self, text):
        """Write the user's own file anew."""
        self.path.write_text(text, encoding="utf-8")


@pytest.fixture(params=GITS, ids=str)
def config(request, tmp_path, monkeypatch):
    """Return the configuration of each git that is here, with a helper program on PATH."""
    programs = tmp_path / "programs"
    programs.mkdir()
    (programs / "git-credential-keylease").write_text("#!/bin/sh\n")
    (programs / "git-credential-keylease").chmod(0o755)
    home = tmp_path / "home"
    home.mkdir()
    config = Config(request.param, home, monkeypatch)
    monkeypatch.setenv("PATH", os.pathsep.join([str(programs), os.environ["PATH"]]))
    return config


def test_two_lines_are_written_and_shown(console, config):
    """git asks keylease alone, and the user sees what was changed and where."""
    said = console.run("setup", "git")

    assert (0, "") == (said.code, said.err)
    assert [
        f"changed {config.path}:",
        "  [credential]",
        "  +     helper =",
        f"  +     helper = {config.program}",
    ] == said.out.splitlines()
    assert config.two_lines == config.helpers()


@pytest.mark.parametrize("words", [(), ("--timeout", "60")])
def test_again_changes_nothing(console, config, words):
    """It can stand in a script that runs every day."""
    console.run("setup", "git", *words)
    before = config.path.read_bytes()

    said = console.run("setup", "git", *words)

    assert (0, "nothing to change\n", "") == said
    assert before == config.path.read_bytes()


def test_timeout_is_written_and_changed(console, config):
    """A later timeout takes the place of an earlier one."""
    console.run("setup", "git", "--timeout", "60")
    assert ["", f"{config.program} --timeout 60"] == config.helpers()

    said = console.run("setup", "git", "--timeout", "5")

    assert ["", f"{config.program} --timeout 5"] == config.helpers()
    assert [
        f"  -     helper = {config.program} --timeout 60",
        f"  +     helper = {config.program} --timeout 5",
    ] == said.out.splitlines()[2:]


@pytest.mark.parametrize("timeout", ["0", "-5", "86400"])
def test_timeout_that_the_helper_would_refuse_is_not_written(console, config, timeout):
    """git would be silent about it at every command."""
    assert 2 == console.run("setup", "git", "--timeout", timeout).code
    assert [] == config.helpers()


def test_named_keychain_is_written_too(console, config):
    """The first password that git stores goes to the keychain that was named."""
    console.run("--keychain", "library:some.Backend", "setup", "git")

    assert ["", f"{config.program} --keychain library:some.Backend"] == config.helpers()


MINE = """\
# my own
[user]
\tname = Ada
[credential]
\thelper = store --file ~/x ; for the old server
\thelper = cache
[credential "https://one.example"]
\tusername = ada
"""


def test_undo_brings_back_what_was_there_byte_by_byte(console, config):
    """Other helpers stay in the file, comments too, and work again afterwards."""
    config.write(MINE)

    console.run("setup", "git", "--timeout", "7")
    assert MINE != config.path.read_text(encoding="utf-8")
    assert ["store --file ~/x", "cache", "", f"{config.program} --timeout 7"] == config.helpers()
    said = console.run("setup", "git", "--undo")

    assert MINE == config.path.read_text(encoding="utf-8")
    assert [
        "  -     helper =",
        f"  -     helper = {config.program} --timeout 7",
    ] == said.out.splitlines()[2:]


def test_undo_leaves_the_users_own_resets(console, config):
    """Whoever had switched the system's helpers off has them off afterwards."""
    config.write('[credential]\n\thelper = ""\n\thelper = cache\n')

    console.run("setup", "git")
    assert ["", "cache", *config.two_lines] == config.helpers()
    console.run("setup", "git", "--undo")

    assert ["", "cache"] == config.helpers()


def test_undo_leaves_what_was_added_later(console, config):
    """A helper that was added afterwards is the user's."""
    console.run("setup", "git")
    config.git("config", "--global", "--add", "credential.helper", "cache")

    console.run("setup", "git", "--undo")

    assert ["cache"] == config.helpers()


@pytest.mark.parametrize("before", ["", MINE])
def test_undo_of_nothing_changes_nothing(console, config, before):
    """It can be typed on a machine that was never set up."""
    config.write(before)

    said = console.run("setup", "git", "--undo")

    assert (0, "nothing to undo\n", "") == said
    assert before == config.path.read_text(encoding="utf-8")


def test_setup_after_another_helper_was_added_puts_it_right(console, config):
    """The two lines come last again, so that git forgets the other one."""
    console.run("setup", "git")
    config.git("config", "--global", "--add", "credential.helper", "store")
    said = console.run("setup", "git")

    assert (0, "") == (said.code, said.err)
    assert ["store", *config.two_lines] == config.helpers()
    # Moved, and not the other one around them: that may be private.
    assert [
        "  -     helper =",
        f"  -     helper = {config.program}",
        "  +     helper =",
        f"  +     helper = {config.program}",
    ] == said.out.splitlines()[2:]


def test_shell_command_that_was_added_later_is_not_shown(console, config):
    """People write passwords into helpers, and what is shown is only what keylease wrote."""
    secret = "!f() { echo username=ada; echo password=hunter2; }; f"
    for words in ((), ("--timeout", "7"), ("--undo",)):
        console.run("setup", "git")
        config.git("config", "--global", "--add", "credential.helper", secret)

        said = console.run("setup", "git", *words)

        assert "keylease" in said.out
        assert "hunter2" not in said.out + said.err


def test_own_reset_that_is_kept_is_not_shown_as_changed(console, config):
    """The user's own reset is not ours to claim."""
    config.write('[credential]\n\thelper = ""\n\thelper = cache\n\thelper = keylease\n')

    said = console.run("setup", "git", "--undo")

    assert ["  -     helper = keylease"] == said.out.splitlines()[2:]


def test_line_that_was_written_by_hand_gets_its_reset(console, config):
    """`helper = keylease` alone would leave the helpers of the system in the list."""
    config.write("[credential]\n\thelper = keylease\n")

    console.run("setup", "git")

    assert config.two_lines == config.helpers()


def test_line_behind_the_users_own_reset_is_taken_away_alone(console, config):
    """A reset that does not stand right before keylease is the user's."""
    config.write('[credential]\n\thelper = ""\n\thelper = cache\n\thelper = keylease\n')

    console.run("setup", "git", "--undo")

    assert ["", "cache"] == config.helpers()


def test_local_is_this_repository_only(console, config):
    """One repository can be tried first."""
    config.git("init", "--quiet", ".")

    said = console.run("setup", "git", "--local")

    assert (0, "") == (said.code, said.err)
    assert config.two_lines == config.helpers("--local")
    assert [] == config.helpers("--global")
    assert 0 == console.run("setup", "git", "--local", "--undo").code
    assert [] == config.helpers("--local")


def test_local_outside_a_repository_is_git_s_own_error(console, config):
    """The user reads what git says, on one line."""
    said = console.run("setup", "git", "--local")

    assert (1, "") == (said.code, said.out)
    error, hint = said.err.splitlines()
    assert error.startswith("keylease: error: git config --local failed: ")
    assert "git repository" in error
    assert "keylease: hint: nothing more was changed" == hint
    assert [] == config.helpers()


def test_broken_configuration_is_git_s_own_error(console, config):
    """A file that git cannot read is not written to."""
    config.write("[broken\n")

    said = console.run("setup", "git")

    assert (1, "") == (said.code, said.out)
    assert "bad config line 1" in said.err
    assert "[broken\n" == config.path.read_text(encoding="utf-8")


def test_file_that_cannot_be_written_is_a_clear_error(console, config, monkeypatch):
    """The user reads what is wrong with which file."""
    config.write("")
    path = str(config.path / "below-a-file")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", path)

    said = console.run("setup", "git")

    assert (1, "") == (said.code, said.out)
    assert f": error: {path} cannot be written: Not a directory" in said.err


def test_helper_of_one_url_is_warned_of(console, config):
    """A helper that git still asks for one server keeps a copy of that server's passwords."""
    console.run("setup", "git")
    config.git("config", "--global", "--add", "credential.https://a.example.helper", "store")

    said = console.run("setup", "git")

    assert (
        "keylease: warning: for https://a.example git also tells store each password that worked"
        f" (file:{config.path})" == said.err.splitlines()[0]
    )
    assert 0 == said.code


def test_helper_of_one_url_that_is_forgotten_is_not_warned_of(console, config):
    """What stands before the reset is not asked, for any URL. git says the same."""
    config.write('[credential "https://a.example"]\n\thelper = store\n')

    said = console.run("setup", "git")

    assert "" == said.err
    assert config.two_lines == config.helpers()


def test_url_that_forgets_keylease_is_warned_of(console, config):
    """`gh auth setup-git` writes a reset of its own, and then sessions are not asked there."""
    console.run("setup", "git")
    key = "credential.https://a.example.helper"
    config.git("config", "--global", "--add", key, "")
    config.git("config", "--global", "--add", key, "!gh auth git-credential")

    said = console.run("setup", "git")

    warnings = [line for line in said.err.splitlines() if "warning" in line]
    also = "for https://a.example git also tells !gh each password that worked"
    hidden = "for https://a.example git does not ask keylease: an empty helper makes it forget"
    assert [
        f"keylease: warning: {also} (file:{config.path})",
        f"keylease: warning: {hidden} (file:{config.path})",
    ] == warnings


def test_repository_that_forgets_keylease_is_warned_of(console, config):
    """A setting of the repository one stands in outweighs that of the user."""
    config.git("init", "--quiet", ".")
    config.git("config", "--local", "--add", "credential.helper", "")

    said = console.run("setup", "git")

    assert "warning: here git does not ask keylease: an empty helper" in said.err
    assert "(file:.git/config)" in said.err


def test_shell_command_with_a_password_is_not_shown(console, config):
    """People write passwords into helpers, and a warning does not carry them on."""
    config.git("init", "--quiet", ".")
    secret = "!f() { echo username=ada; echo password=hunter2; }; f"
    config.git("config", "--local", "credential.helper", secret)
    config.git("config", "--global", "credential.helper", secret)

    said = console.run("setup", "git")

    assert "git also tells a shell command each password that worked" in said.err
    assert "hunter2" not in said.out + said.err
    assert [secret, *config.two_lines] == config.helpers()


def test_missing_helper_program_is_warned_of(console, config, monkeypatch):
    """git cannot find what is nowhere, and says nothing clear about it."""
    git_only = config.path.parent / "bin"
    git_only.mkdir()
    (git_only / "git").symlink_to(config._git.path)
    monkeypatch.setenv("PATH", str(git_only))
    monkeypatch.setattr("sysconfig.get_path", lambda _: str(git_only))

    said = console.run("setup", "git")

    assert 0 == said.code
    assert ["", "keylease"] == config.helpers()
    assert "keylease: warning: git finds no git-credential-keylease on PATH" in said.err
    assert "keylease: hint: " in said.err


def test_missing_git_is_a_clear_error(console, tmp_path, monkeypatch):
    """No traceback where there is nothing to set up."""
    monkeypatch.setenv("PATH", str(tmp_path))

    said = console.run("setup", "git")

    assert (1, "") == (said.code, said.out)
    assert [
        "keylease: error: git is not on PATH",
        "keylease: hint: install git, then try again",
    ] == said.err.splitlines()


def test_git_that_cannot_run_is_a_clear_error(console, tmp_path, monkeypatch):
    """A half-installed git gives one line, too."""
    program = tmp_path / "git"
    program.write_bytes(b"\x7fELF, but not really")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))

    said = console.run("setup", "git")

    assert (1, "") == (said.code, said.out)
    assert "keylease: error: git cannot be run: Exec format error\n" in said.err


def test_git_of_the_current_directory_is_not_run(console, tmp_path, monkeypatch):
    """A repository that somebody else made may have a program called git in it."""
    program = tmp_path / "git"
    program.write_text("#!/bin/sh\ntouch was-run\n")
    program.chmod(0o755)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", os.pathsep.join([".", ""]))

    assert 1 == console.run("setup", "git").code
    assert not (tmp_path / "was-run").exists()


def test_undo_with_a_timeout_is_refused(console, config):
    """Nobody thinks that only the line with that timeout is taken away."""
    console.run("setup", "git")

    assert 2 == console.run("setup", "git", "--undo", "--timeout", "5").code
    assert config.two_lines == config.helpers()


def test_real_git_asks_keylease_and_nobody_else(console, config):
    """What is written means to git what it is meant to mean."""
    log = config.path.parent / "asked"
    for name in ("keylease", "other"):
        program = config.path.parent.parent / "programs" / f"git-credential-{name}"
        program.write_text(f'#!/bin/sh\necho {name} "$@" >>{log}\n')
        program.chmod(0o755)
    config.write("[credential]\n\thelper = other\n")
    config.git("credential", "fill", stdin="protocol=https\nhost=a.example\n\n")
    assert "other get\n" == log.read_text()
    log.unlink()

    console.run("setup", "git", "--timeout", "60")
    config.git("credential", "fill", stdin="protocol=https\nhost=a.example\n\n")

    assert "keylease --timeout 60 get\n" == log.read_text()
