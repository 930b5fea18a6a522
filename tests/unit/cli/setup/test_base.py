"""What every setup does alike: the bytes come back, the mode and the owner stay, nothing leaks."""

import os
import stat
import sys

import pytest
from support.requirements import require_root

if sys.platform == "win32":
    pytest.skip("the paths and modes are those of other systems", allow_module_level=True)

CANARY = "hunter2canary"
FILES = (
    (
        ("docker",),
        ".docker/config.json",
        f'{{"auths": {{"r": {{"auth": "{CANARY}"}}}},\n "z": 1.0}}',
    ),
    (("docker", "r"), ".docker/config.json", '{"credHelpers": {}, "a": 1, "a": 2}\r\n'),
    (("docker",), ".docker/config.json", ""),
    (("cargo",), ".cargo/config.toml", "[net]\nretry = 2 # why"),
    (("cargo",), ".cargo/config.toml", "[registry]\n"),
    (
        ("cargo",),
        ".cargo/config.toml",
        '[registry]\r\nglobal-credential-providers = [\r\n  "cargo:token", # why\r\n]\r\n',
    ),
    (("pip",), ".config/pip/pip.conf", "[global]\n\n[install]\nuser = no"),
    (("pip",), ".config/pip/pip.conf", f"[global]\nindex-url = https://ada:{CANARY}@x.example/\n"),
    (("vault",), ".vault", 'token_helper = "/usr/bin/pass"\n# mine'),
    (("terraform",), ".terraformrc", 'plugin_cache_dir = "x"'),
    (("pnpm", "https://npm.example"), ".npmrc", f"//npm.example/:_authToken={CANARY}"),
    (("bazel", "cache.example"), ".bazelrc", "build --jobs=2\n\n\n"),
)


@pytest.fixture
def home(user_home, programs, monkeypatch):
    """Return an empty home, with all programs on PATH."""
    assert programs.is_dir()
    for name in ("DOCKER_CONFIG", "DOCKER_AUTH_CONFIG", "CARGO_HOME", "PIP_CONFIG_FILE"):
        monkeypatch.delenv(name, raising=False)
    return user_home


@pytest.fixture(params=FILES, ids=lambda case: f"{case[0][0]}-{case[2][:12]!a}")
def written(request, home):
    """Return the words of a setup, the tool's file, and what is in it."""
    words, name, text = request.param
    if sys.platform == "darwin" and words[0] == "pip":
        pytest.skip("pip's file is elsewhere on macOS")
    file = home / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(text.encode())
    file.chmod(0o640)
    return words, file, text.encode()


def test_undo_puts_back_every_byte(console, written):
    """However the file was typed, and also after a second setup that had nothing to do."""
    words, file, before = written
    assert 0 == console.run("setup", *words).code
    assert before != file.read_bytes()
    console.run("setup", *words)

    undone = console.run("setup", words[0], "--undo")

    assert 0 == undone.code, undone.err
    assert before == file.read_bytes()
    assert 0o640 == stat.S_IMODE(file.stat().st_mode)


def test_no_secret_is_shown_or_kept(console, written, tmp_path):
    """Other content of the file is neither shown nor copied."""
    words, file, before = written
    said = console.run("setup", *words)
    copies = [
        path
        for path in tmp_path.rglob("*")
        if path.is_file() and CANARY.encode() in path.read_bytes()
    ]

    assert CANARY not in said.out + said.err
    assert [file] * (CANARY.encode() in before) == copies


def test_a_link_stays_a_link(console, home, tmp_path):
    """The file behind the link is written, and put back."""
    kept = tmp_path / "dotfiles"
    kept.write_text("# mine")
    (home / ".vault").symlink_to(kept)

    console.run("setup", "vault")
    assert "keylease-vault" in kept.read_text()
    console.run("setup", "vault", "--undo")

    assert (home / ".vault").is_symlink()
    assert "# mine" == kept.read_text()


def test_an_edit_after_setup_is_not_lost(console, home):
    """The place was edited, so the undo takes out what is keylease's, and no more."""
    (home / ".bazelrc").write_text("build --x")
    console.run("setup", "bazel", "a.example")
    text = (home / ".bazelrc").read_text()
    (home / ".bazelrc").write_text("# new\n" + text + "build --y\n")

    console.run("setup", "bazel", "--undo")

    assert "# new\nbuild --x\nbuild --y\n" == (home / ".bazelrc").read_text()


def test_two_setups_of_one_tool_are_undone_to_the_byte(console, home):
    """The second was made of what the first had left."""
    (home / ".bazelrc").write_text("build --x")
    console.run("setup", "bazel", "a.example")
    console.run("setup", "bazel", "b.example")

    console.run("setup", "bazel", "--undo")

    assert "build --x" == (home / ".bazelrc").read_text()


def test_an_empty_file_is_not_removed(console, home):
    """An empty file that existed before setup stays."""
    (home / ".npmrc").touch()
    console.run("setup", "pnpm", "https://npm.example")

    console.run("setup", "pnpm", "--undo")

    assert b"" == (home / ".npmrc").read_bytes()


def test_a_new_file_is_private(console, home):
    """Tokens may come into it later, from elsewhere."""
    console.run("setup", "pnpm", "https://npm.example")

    assert 0o600 == stat.S_IMODE((home / ".npmrc").stat().st_mode)


def test_a_file_stays_its_owners(console, home):
    """Setup as root keeps the user as the owner of the files."""
    require_root("giving a file to another user")
    (home / ".npmrc").write_text("x=1\n")
    os.chown(home / ".npmrc", 1234, 2345)

    console.run("setup", "pnpm", "https://npm.example")
    found = (home / ".npmrc").stat()

    assert (1234, 2345) == (found.st_uid, found.st_gid)


OTHERS = (
    (
        ("aws", "prod"),
        ".aws/config",
        f"[profile prod]\ncredential_process = /bin/tool --key {CANARY}\n",
    ),
    (("go",), ".config/go/env", f"GOAUTH=/bin/tool --key {CANARY};netrc\n"),
    (
        ("cargo",),
        ".cargo/config.toml",
        f'[registry]\nglobal-credential-providers = ["tool --key {CANARY}"]\n',
    ),
)


@pytest.mark.parametrize("other", OTHERS, ids=lambda case: case[0][0])
def test_arguments_of_another_program_are_not_shown(console, home, programs, other):
    """The arguments may hold a key, so only the program is named."""
    words, name, text = other
    if sys.platform == "darwin" and words[0] == "go":
        pytest.skip("go's file is elsewhere on macOS")
    (programs / "keylease-aws").write_bytes((programs / "keylease-pnpm").read_bytes())
    (programs / "keylease-aws").chmod(0o755)
    (home / name).parent.mkdir(parents=True)
    (home / name).write_text(text)

    said = [console.run("setup", *words), console.run("setup", words[0], "--undo")]

    assert [0, 0] == [each.code for each in said]
    assert CANARY not in "".join(each.out + each.err for each in said)
    assert "tool ..." in said[0].out
    assert "tool ..." in said[1].out
    assert text == (home / name).read_text()
