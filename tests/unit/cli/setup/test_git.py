"""`keylease setup git`: two lines, real git, and nothing of the user's touched."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from support.gits import GITS, MISSING
from support.waiting import WAIT_SECONDS

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
            [self._git.path, *words],
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
            timeout=WAIT_SECONDS,
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
    """Helpers of the system that were switched off stay off after the undo."""
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
        "keylease: warning: for https://a.example git also gives store each password that worked"
        f" (file:{config.path})" == said.err.splitlines()[0]
    )
    assert 0 == said.code


def test_helper_of_one_url_that_is_forgotten_is_not_warned_of(console, config):
    """git asks no helper before the reset, for any URL."""
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
    also = "for https://a.example git also gives !gh each password that worked"
    hidden = "for https://a.example git does not ask keylease: an empty helper resets the list"
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

    assert "git also gives a shell command each password that worked" in said.err
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
    """A stranger's repository may hold a program called git."""
    program = tmp_path / "git"
    program.write_text("#!/bin/sh\ntouch was-run\n")
    program.chmod(0o755)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", os.pathsep.join([".", ""]))

    assert 1 == console.run("setup", "git").code
    assert not (tmp_path / "was-run").exists()


def test_undo_with_a_timeout_is_refused(console, config):
    """`--undo` refuses `--timeout`, because it takes away lines with any timeout."""
    console.run("setup", "git")

    assert 2 == console.run("setup", "git", "--undo", "--timeout", "5").code
    assert config.two_lines == config.helpers()


def test_real_git_asks_keylease_and_nobody_else(console, config):
    """git reads the written lines as intended."""
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


COMMENTED = """\
[credential]
\thelper = ; none of the system's
\t# and then
\thelper = cache # for the old server
[user]
\tname = Ada
[credential]
\thelper =
\thelper = keylease
\t# last
"""


def test_undo_of_what_was_edited_keeps_comments_and_order(console, config):
    """Without a record the text tells what is ours; another reset and every comment stay."""
    config.write(COMMENTED)

    said = console.run("setup", "git", "--undo")

    assert (0, "") == (said.code, said.err)
    assert COMMENTED.replace("\thelper =\n\thelper = keylease\n", "") == config.path.read_text()


def test_undo_after_an_edit_takes_out_our_lines_alone(console, config):
    """The place was edited, so the file is not what it was; what is not ours stays to the byte."""
    config.write(MINE)
    console.run("setup", "git")
    text = config.path.read_text(encoding="utf-8")
    config.write("# new\n" + text + "\t; behind\n[x]\n\ty = 1")

    assert 0 == console.run("setup", "git", "--undo").code

    left = f"# new\n{MINE}[credential]\n\t; behind\n[x]\n\ty = 1"
    assert left == config.path.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "text",
    [
        "[credential]\n\thelper = cache\\\n",
        "[credential] helper = keylease\n",
        '[credential]\n\thelper = "keyl"ease\n',
    ],
)
def test_what_cannot_be_edited_is_left_alone(console, config, text):
    """git understands it, and this does not: the file is for its owner."""
    config.write(text)

    said = console.run("setup", "git")

    if said.code == 0:
        assert config.two_lines == config.helpers()[-2:]
        assert 0 == console.run("setup", "git", "--undo").code
    else:
        assert "in a way that cannot be edited" in said.err
    assert text == config.path.read_text(encoding="utf-8")


@pytest.mark.parametrize("name", [".gitconfig", ".config/git/config"])
def test_the_file_that_git_itself_would_write_is_written(console, config, name, monkeypatch):
    """The one below .config counts where it is the only one. git itself is the control."""
    home = config.path.parent
    monkeypatch.delenv("GIT_CONFIG_GLOBAL")
    (home / name).parent.mkdir(parents=True, exist_ok=True)
    (home / name).write_text("# mine\n")
    config.git("config", "--global", "user.name", "Ada")
    assert "Ada" in (home / name).read_text()

    console.run("setup", "git")

    assert config.program in (home / name).read_text()
    assert config.two_lines == config.helpers()


def test_a_link_to_where_dotfiles_are_kept_stays_one(console, config, tmp_path):
    """The file behind the link is written under its own lock, as git does it."""
    kept = tmp_path / "dotfiles"
    kept.write_text(MINE)
    config.path.symlink_to(kept)
    lock = kept.with_name("dotfiles.lock")
    lock.touch()

    refused = console.run("setup", "git")
    assert (1, f"error: {kept} is locked by another program: {lock} exists") == (
        refused.code,
        refused.err.splitlines()[0].removeprefix("keylease: "),
    )
    lock.unlink()
    assert 0 == console.run("setup", "git").code

    assert config.path.is_symlink()
    assert config.program in kept.read_text()
    assert 0 == console.run("setup", "git", "--undo").code
    assert MINE == kept.read_text()


def test_dry_run_writes_nothing(console, config):
    """It shows what would be written."""
    config.write(MINE)

    said = console.run("setup", "git", "--dry-run")

    assert f"would change {config.path}:" == said.out.splitlines()[0]
    assert f"  +     helper = {config.program}" == said.out.splitlines()[-1]
    assert MINE == config.path.read_text(encoding="utf-8")
    assert not console.state.exists()


@pytest.mark.parametrize("directory", ["my programs", "it's #1; $HOME"])
def test_git_with_a_short_path_finds_the_helper(console, config, monkeypatch, directory):
    """As cron, a timer and a desktop start it, and wherever the program was installed."""
    programs = config.path.parent.parent / directory
    (config.path.parent.parent / "programs").rename(programs)
    program = programs / "git-credential-keylease"
    program.write_text("#!/bin/sh\necho username=ada; echo password=$1\n")
    monkeypatch.setenv("PATH", os.pathsep.join([str(programs), os.environ["PATH"]]))

    said = console.run("setup", "git")
    monkeypatch.setenv("PATH", "/usr/bin:/bin")

    assert (0, "") == (said.code, said.err)
    told = config.git("credential", "fill", stdin="protocol=https\nhost=a.example\n\n")
    assert "password=get" in told.splitlines()
    assert 0 == console.run("setup", "git", "--undo").code
    assert [] == config.helpers()


def test_a_program_that_does_not_last_is_not_named(console, config, monkeypatch):
    """`pipx run` keeps it in a cache for some days, and then the path leads nowhere."""
    cache = config.path.parent / ".cache" / "bin"
    cache.parent.mkdir()
    (config.path.parent.parent / "programs").rename(cache)
    (cache / "git").symlink_to(config._git.path)
    monkeypatch.setenv("PATH", str(cache))
    monkeypatch.setattr("sysconfig.get_path", lambda _: str(cache))

    console.run("setup", "git")

    assert ["", "keylease"] == config.helpers()


def test_a_program_that_is_found_everywhere_has_its_short_name(console, config, monkeypatch):
    """A package of the system puts it into /usr/bin, and the file may be shared by machines."""
    programs = str(config.path.parent.parent / "programs")
    monkeypatch.setattr("keylease.cli.setup.programs.BARE", (programs,))

    said = console.run("setup", "git")

    assert (0, "") == (said.code, said.err)
    assert ["", "keylease"] == config.helpers()
