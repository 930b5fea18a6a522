"""`keylease setup vault|terraform|go|pnpm|bazel`: lines that are put in, and taken out again."""

import subprocess
import sys
from typing import NamedTuple

import pytest
from support.waiting import WAIT_SECONDS

if sys.platform == "win32":
    pytest.skip("the paths are those of other systems", allow_module_level=True)

GO_ENV = (
    "Library/Application Support/go/env" if sys.platform == "darwin" else ".config/go/env"
)  # os.UserConfigDir of Go


class Case(NamedTuple):
    """One tool: its command, its file, and the line with the program's directory in it."""

    words: tuple[str, ...]
    file: str
    line: str
    others: str
    """Other lines that such a file can have."""

    @property
    def tool(self):
        """The tool's name."""
        return self.words[0]


CASES = (
    Case(("vault",), ".vault", 'token_helper = "{}/keylease-vault"', "# mine\n"),
    Case(
        ("terraform",),
        ".terraformrc",
        'credentials_helper "keylease" {{}}',
        'plugin_cache_dir = "x"\n# credentials_helper "old" {{}}\n',
    ),
    Case(("go",), GO_ENV, "GOAUTH={}/keylease-goauth;netrc", "GOPROXY=https://proxy.example\n"),
    Case(
        ("pnpm", "https://npm.example"),
        ".npmrc",
        "//npm.example/:tokenHelper={}/keylease-pnpm https://npm.example/",
        "registry=https://npm.example/\n//npm.example/:_authToken=hunter2\n",
    ),
    Case(
        ("bazel", "cache.example"),
        ".bazelrc",
        "common --credential_helper=cache.example={}/keylease-bazel",
        "build --jobs=2\ncommon --credential_helper=other.example=/x/helper\n",
    ),
)


@pytest.fixture(params=CASES, ids=lambda case: case.tool)
def case(request, programs):
    """Return each tool, with its line as it is to be."""
    return request.param._replace(line=request.param.line.format(programs))


@pytest.mark.usefixtures("programs")
def test_the_line_is_written_and_taken_away(console, case, user_home):
    """It is shown, done once, and nothing of it is left."""
    file = user_home / case.file
    said = console.run("setup", *case.words)

    assert 0 == said.code, said.err
    assert f"changed {file}:\n  + {case.line}\n" in said.out
    assert f"{case.line}\n" == file.read_text("utf-8")
    assert (0, "nothing to change\n") == console.run("setup", *case.words)[:2]
    undone = console.run("setup", case.tool, "--undo")
    assert f"changed {file}:\n  - {case.line}\n" in undone.out
    assert not file.exists()
    assert (0, "nothing to undo\n", "") == console.run("setup", case.tool, "--undo")


@pytest.mark.parametrize("end", ["", "\xff", "\n\n"])
def test_everything_else_stays(console, case, user_home, end):
    """Whatever else is in the file is there afterwards, byte by byte, and is not shown."""
    file = user_home / case.file
    file.parent.mkdir(parents=True, exist_ok=True)
    before = case.others.encode() + end.encode("latin-1") + b"\n"
    file.write_bytes(before)
    file.chmod(0o640)

    said = console.run("setup", *case.words)

    assert 0 == said.code, said.err
    assert before + f"{case.line}\n".encode() == file.read_bytes()
    assert 0o640 == file.stat().st_mode & 0o777
    assert "hunter2" not in said.out + said.err
    assert 0 == console.run("setup", case.tool, "--undo").code
    assert before == file.read_bytes()


def test_dry_run_writes_nothing(console, case, user_home):
    """It shows what would be written."""
    said = console.run("setup", *case.words, "--dry-run")

    assert f"would change {user_home / case.file}:\n  + {case.line}\n" in said.out
    assert [] == list(user_home.iterdir())


@pytest.mark.usefixtures("user_home")
def test_a_program_that_is_not_there_is_not_named(console, case, programs):
    """With the tool turned off it would fail, or go on in plaintext."""
    for program in programs.iterdir():
        program.unlink()

    said = console.run("setup", *case.words)

    assert 127 == said.code
    assert "there is no command " in said.err


@pytest.mark.parametrize(
    "words", [("pnpm",), ("bazel",), ("pnpm", "x", "--undo"), ("bazel", "a b")]
)
@pytest.mark.usefixtures("programs", "user_home")
def test_what_is_not_named_is_not_guessed(console, words):
    """Which registry or host is meant only a person knows."""
    assert 2 == console.run("setup", *words).code


def test_another_token_helper_comes_back(console, programs, user_home):
    """The clients run one helper, so that of before is a comment until --undo."""
    file = user_home / ".vault"
    file.write_text('token_helper = "/opt/other"\n# mine\n', encoding="utf-8")

    said = console.run("setup", "vault")

    assert '- token_helper = "/opt/other"' in said.out
    ours = f'token_helper = "{programs}/keylease-vault"\n'
    kept = '# kept by keylease: token_helper = "/opt/other"\n'
    assert f"{ours}{kept}# mine\n" == file.read_text("utf-8")
    console.run("setup", "vault")
    console.run("setup", "vault", "--undo")
    assert 'token_helper = "/opt/other"\n# mine\n' == file.read_text("utf-8")


def test_each_client_that_is_there_has_its_own_file(console, programs, user_home):
    """OpenBao reads another file than Vault."""
    (programs / "bao").symlink_to(programs / "keylease-vault")

    console.run("setup", "vault")

    assert [".bao"] == sorted(each.name for each in user_home.glob(".*") if each.is_file())


@pytest.mark.usefixtures("programs")
def test_a_token_in_plaintext_is_told(console, user_home, monkeypatch):
    """It would outlive every session."""
    (user_home / ".vault-token").write_text("hvs.token", encoding="utf-8")
    monkeypatch.setenv("VAULT_TOKEN", "hvs.token")

    said = console.run("setup", "vault")

    assert ".vault-token holds a token in plaintext" in said.err
    assert "VAULT_TOKEN or BAO_TOKEN is set" in said.err


def test_terraform_finds_the_program_where_it_looks(console, programs, user_home):
    """It is there before it is named, runs ours with all arguments, and goes when it goes."""
    said = console.run("setup", "terraform")
    program = user_home / ".terraform.d" / "plugins" / "terraform-credentials-keylease"

    assert said.out.index(str(program)) < said.out.index(".terraformrc")
    done = subprocess.run(
        [program, "get", "a b"],
        capture_output=True,
        text=True,
        check=True,
        timeout=WAIT_SECONDS,
    )
    ours = programs / "terraform-credentials-keylease"
    assert f"answered by {ours} get a b\n" == done.stdout
    undone = console.run("setup", "terraform", "--undo")
    assert undone.out.index(".terraformrc") < undone.out.index(str(program))
    assert not program.exists()


@pytest.mark.parametrize("kind", ["file", "link"])
@pytest.mark.usefixtures("programs")
def test_a_program_of_somebody_else_is_left_alone(console, user_home, tmp_path, kind):
    """The name alone does not make it keylease's, and a link is not written through."""
    other = tmp_path / "other"
    other.write_text("theirs", encoding="utf-8")
    program = user_home / ".terraform.d" / "plugins" / "terraform-credentials-keylease"
    program.parent.mkdir(parents=True)
    if kind == "file":
        program.write_text("theirs", encoding="utf-8")
    else:
        program.symlink_to(other)

    said = console.run("setup", "terraform")

    assert 1 == said.code
    assert "was not written by keylease" in said.err
    assert "theirs" == program.read_text("utf-8")
    assert not (user_home / ".terraformrc").exists()


def test_a_link_to_the_program_is_as_good(console, programs, user_home):
    """A plugin made by hand stays."""
    program = user_home / ".terraform.d" / "plugins" / "terraform-credentials-keylease"
    program.parent.mkdir(parents=True)
    program.symlink_to(programs / "terraform-credentials-keylease")

    assert 0 == console.run("setup", "terraform").code
    assert 0 == console.run("setup", "terraform", "--undo").code
    assert program.is_symlink()


@pytest.mark.parametrize(
    "text", ['credentials_helper "other" {}\n', '{"credentials_helper": {"x": {}}}']
)
@pytest.mark.usefixtures("programs")
def test_another_helper_of_terraform_is_left_alone(console, user_home, text):
    """Terraform takes one, and which is a person's choice."""
    (user_home / ".terraformrc").write_text(text, encoding="utf-8")

    said = console.run("setup", "terraform")

    assert 1 == said.code
    assert 'write this by hand: credentials_helper "keylease" {}' in said.err
    assert not (user_home / ".terraform.d").exists()
    assert text == (user_home / ".terraformrc").read_text("utf-8")


@pytest.mark.usefixtures("programs")
def test_tokens_that_come_before_the_helper_are_told(console, user_home, monkeypatch):
    """Terraform would still use these tokens, so setup warns."""
    directory = user_home / ".terraform.d"
    directory.mkdir()
    tokens = '{"credentials":{"h":{"token":"hunter2"}}}'
    (directory / "credentials.tfrc.json").write_text(tokens, encoding="utf-8")
    monkeypatch.setenv("TF_TOKEN_app_terraform_io", "hunter2")

    said = console.run("setup", "terraform")

    assert "run: terraform logout" in said.err
    assert "TF_TOKEN_" in said.err
    assert "hunter2" not in said.err


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("GOAUTH=git /src", "GOAUTH={}/keylease-goauth;git /src"),
        ("GOAUTH=netrc", "GOAUTH={}/keylease-goauth;netrc"),
        ("GOAUTH=/old/keylease-goauth; netrc", "GOAUTH={}/keylease-goauth;netrc"),
    ],
)
def test_what_go_asked_before_is_asked_after(console, programs, user_home, before, after):
    """Ours is asked first, and the others are not lost."""
    file = user_home / GO_ENV
    file.parent.mkdir(parents=True)
    file.write_text(f"{before}\n", encoding="utf-8")

    assert 0 == console.run("setup", "go").code
    assert after.format(programs) + "\n" == file.read_text("utf-8")
    console.run("setup", "go", "--undo")
    if "keylease" not in before:
        assert f"{before}\n" == file.read_text("utf-8")


@pytest.mark.usefixtures("programs")
def test_a_go_that_asks_nobody_is_left_so(console, user_home, monkeypatch):
    """`off` is the user's decision."""
    file = user_home / GO_ENV
    file.parent.mkdir(parents=True)
    file.write_text("GOAUTH=off\n", encoding="utf-8")

    assert "go env -u GOAUTH" in console.run("setup", "go").err
    monkeypatch.setenv("GOENV", "off")
    assert "GOENV is off" in console.run("setup", "go").err


@pytest.mark.usefixtures("programs", "user_home")
def test_a_variable_that_counts_before_the_file_is_told(console, monkeypatch):
    """Go would not read the line."""
    monkeypatch.setenv("GOAUTH", "netrc")

    assert "GOAUTH is set in the environment" in console.run("setup", "go").err


@pytest.mark.usefixtures("programs")
def test_a_registry_with_a_token_in_plaintext_is_told(console, user_home):
    """The line is the user's own, so it stays until they take it out."""
    lines = "//npm.example/:_authToken=hunter2\n"
    (user_home / ".npmrc").write_text(lines, encoding="utf-8")

    said = console.run("setup", "pnpm", "https://npm.example/")

    assert "holds a token for https://npm.example/ in plaintext" in said.err
    assert "hunter2" not in said.err


@pytest.mark.usefixtures("programs")
def test_another_token_helper_of_a_registry_is_left_alone(console, user_home):
    """Which of the two is meant only a person knows."""
    line = "//npm.example/:tokenHelper=/opt/other\n"
    (user_home / ".npmrc").write_text(line, encoding="utf-8")

    assert 2 == console.run("setup", "pnpm", "//npm.example/").code
    assert line == (user_home / ".npmrc").read_text("utf-8")


def test_a_host_may_be_named_by_its_url(console, programs, user_home):
    """Bazel matches names without ports, and a star for what is below."""
    console.run("setup", "bazel", "https://cache.example:8443/x", "*.corp.example")

    helper = programs / "keylease-bazel"
    assert [
        f"common --credential_helper=cache.example={helper}",
        f"common --credential_helper=*.corp.example={helper}",
    ] == (user_home / ".bazelrc").read_text("utf-8").splitlines()
