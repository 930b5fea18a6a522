"""`keylease setup cargo`: one key of cargo's configuration."""

import tomllib

import pytest


@pytest.fixture
def program(tmp_path, monkeypatch):
    """Return the path of our program, which is on PATH, and not on cron's."""
    program = tmp_path / "bin" / "cargo-credential-keylease"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\n", encoding="utf-8")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent))
    return str(program)


@pytest.fixture
def line(program):
    """Return the line that is written."""
    return f'global-credential-providers = ["{program}"]'


@pytest.fixture
def file(tmp_path, monkeypatch, program):
    """Return where the configuration is to be."""
    assert program
    home = tmp_path / "cargo"
    home.mkdir()
    monkeypatch.setenv("CARGO_HOME", str(home))
    return home / "config.toml"


def test_the_key_is_written_and_taken_away(console, file, line):
    """It is shown, done once, and nothing of it is left."""
    said = console.run("setup", "cargo")

    assert (0, f"changed {file}:\n  + {line}\n", "") == said
    assert f"[registry]\n{line}\n" == file.read_text("utf-8")
    assert (0, "nothing to change\n", "") == console.run("setup", "cargo")
    assert 0 == console.run("setup", "cargo", "--undo").code
    assert not file.exists()
    assert (0, "nothing to undo\n", "") == console.run("setup", "cargo", "--undo")


@pytest.mark.parametrize(
    "text",
    [
        "# mine\n[build]\njobs = 2 # two\n",
        '[registry]\ndefault = "mine"\n\n[build]\njobs = 2\n',
        '[registry] # where from\ndefault = "mine"',
        'registry.default = "mine"\nregistry.global-credential-providers = ["cargo:token"]\n',
        '[registry]\nglobal-credential-providers = [\n  "cargo:token", # a\n]\ndefault = "a"\n',
        '[registries.mine]\nindex = "sparse+https://registry.example/index/"\n',
        "[http]\nproxy = 'ä'",
    ],
)
def test_everything_else_stays(console, file, program, text):
    """Only one key means something else afterwards, and --undo brings back what it meant."""
    file.write_text(text, encoding="utf-8")
    before = tomllib.loads(text)

    said = console.run("setup", "cargo")

    assert (0, "") == (said.code, said.err)
    after = tomllib.loads(file.read_text("utf-8"))
    assert [program] == after["registry"].pop("global-credential-providers")
    before.setdefault("registry", {}).pop("global-credential-providers", None)
    assert before == after
    for remark in ("# mine", "# two", "# where from"):
        assert (remark in text) == (remark in file.read_text("utf-8"))
    assert 0 == console.run("setup", "cargo", "--undo").code
    assert tomllib.loads(text) == tomllib.loads(file.read_text("utf-8"))


@pytest.mark.parametrize(
    "text", ["registry = 1\n", "not toml", "\x00", 'registry = { default = "a" }\n']
)
def test_what_cannot_be_edited_is_left_alone(console, file, text):
    """An invalid file, or one with the table on one line, is left to its owner."""
    file.write_text(text, encoding="utf-8")

    said = console.run("setup", "cargo")

    assert 1 == said.code
    assert text == file.read_text("utf-8")
    assert 2 == len(said.err.splitlines())


def test_dry_run_writes_nothing(console, file, line):
    """It shows what would be written."""
    said = console.run("setup", "cargo", "--dry-run")

    assert f"would change {file}:\n  + {line}\n" == said.out
    assert not file.exists()


def test_what_stands_in_the_way_is_told(console, file):
    """A registry's own provider comes first, and old tokens are still in the clear."""
    file.write_text('[registries.mine]\ncredential-provider = "cargo:token"\n', encoding="utf-8")
    (file.parent / "credentials.toml").write_text('[registries.mine]\ntoken = "secret"\n', "utf-8")

    said = console.run("setup", "cargo")

    assert "these registries have their own provider: mine" in said.err
    assert "credentials.toml may hold tokens in plaintext" in said.err
    assert "secret" not in said.err + said.out


def test_the_older_name_counts_where_it_is_there(console, file, line):
    """cargo reads `config` and not `config.toml` where both are there."""
    older = file.with_suffix("")
    older.write_text("", encoding="utf-8")

    console.run("setup", "cargo")

    assert line in older.read_text("utf-8")
    assert not file.exists()


def test_a_program_whose_path_has_a_blank_is_named_alone(console, file, monkeypatch, tmp_path):
    """cargo splits a provider at blanks."""
    (tmp_path / "bin").rename(tmp_path / "my bin")
    monkeypatch.setenv("PATH", str(tmp_path / "my bin"))

    console.run("setup", "cargo")

    assert 'global-credential-providers = ["cargo-credential-keylease"]' in file.read_text("utf-8")


def test_the_short_name_of_an_earlier_version_gives_way(console, file, line):
    """It is ours, so no comment of it stays, and the undo leaves nothing."""
    file.write_text(f'[registry]\n{line.partition("=")[0]}= ["cargo-credential-keylease"]\n')

    console.run("setup", "cargo")
    assert f"[registry]\n{line}\n" == file.read_text("utf-8")
    console.run("setup", "cargo", "--undo")

    assert not file.exists()
