"""`keylease setup aws`: one key in each profile."""

import pytest


@pytest.fixture
def file(tmp_path, monkeypatch):
    """Return where the configuration is to be, with the program on PATH."""
    program = tmp_path / "bin" / "keylease-aws"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\n", encoding="utf-8")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "aws" / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "aws" / "credentials"))
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY", raising=False)
    return tmp_path / "aws" / "config"


@pytest.fixture
def line(file):
    """Return what is written for a profile."""
    return lambda name: f"credential_process = {file.parents[1]}/bin/keylease-aws {name}"


def test_profiles_are_made_and_taken_away(console, file, line):
    """Each is shown, made once, and nothing of it is left."""
    said = console.run("setup", "aws", "default", "prod")

    assert (0, "") == (said.code, said.err)
    assert (
        f"changed {file}:\n  + default: {line('default')}\n  + profile prod: {line('prod')}\n"
    ) == said.out
    text = f"[default]\n{line('default')}\n\n[profile prod]\n{line('prod')}\n"
    assert text == file.read_text("utf-8")
    assert (0, "nothing to change\n", "") == console.run("setup", "aws", "prod", "default")
    assert 0 == console.run("setup", "aws", "--undo").code
    assert not file.exists()
    assert (0, "nothing to undo\n", "") == console.run("setup", "aws", "--undo")


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("[profile prod]\nregion = eu\n", "[profile prod]\n{}\nregion = eu\n"),
        ('# x\n[ profile "prod" ]\nregion=eu', '# x\n[ profile "prod" ]\n{}\nregion=eu\n'),
        (
            "[profile prod]\na = 1\ncredential_process = b c\ns3 =\n  x = 1\n[default]\na = 2\n",
            (
                "[profile prod]\na = 1\n{}\n# kept by keylease: credential_process = b c\n"
                "s3 =\n  x = 1\n[default]\na = 2\n"
            ),
        ),
        (
            "[profile production]\nregion = eu\n",
            "[profile production]\nregion = eu\n\n[profile prod]\n{}\n",
        ),
        ("[default]\nregion = eu", "[default]\nregion = eu\n\n[profile prod]\n{}\n"),
    ],
)
def test_everything_else_stays(console, file, line, before, after):
    """Comments, order and other profiles are as they were; --undo puts back what was there."""
    file.parent.mkdir()
    file.write_text(before, encoding="utf-8")

    said = console.run("setup", "aws", "prod")

    assert (0, "") == (said.code, said.err)
    assert after.format(line("prod")) == file.read_text("utf-8")
    assert 0 == console.run("setup", "aws", "--undo").code
    assert before.rstrip("\n") == file.read_text("utf-8").rstrip("\n")


def test_a_plaintext_key_that_comes_first_is_told(console, file):
    """With such a key AWS programs never ask keylease, so setup warns."""
    file.parent.mkdir()
    file.with_name("credentials").write_text(
        "[prod]\naws_access_key_id = AKIA\naws_secret_access_key = canary\n", encoding="utf-8"
    )

    said = console.run("setup", "aws", "prod")

    assert "holds a key of the profile prod in plaintext, which comes first" in said.err
    assert "keylease login --tool aws prod" in said.err
    assert "canary" not in said.out + said.err


@pytest.mark.parametrize("words", [("two words",), ("--undo", "prod"), ("-x",)])
def test_what_makes_no_sense_is_refused(console, file, words):
    """A profile whose name no session can have is not set up."""
    assert 2 == console.run("setup", "aws", *words).code
    assert not file.exists()


def test_a_file_that_is_broken_is_left_alone(console, file):
    """It is not repeated either: there may be a key in it."""
    file.parent.mkdir()
    file.write_text("[profile prod\ncanary", encoding="utf-8")

    said = console.run("setup", "aws", "prod")

    assert 1 == said.code
    assert "canary" not in said.err
    assert "[profile prod\ncanary" == file.read_text("utf-8")


def test_dry_run_writes_nothing(console, file):
    """It shows what would be written."""
    said = console.run("setup", "aws", "--dry-run")

    assert said.out.startswith(f"would change {file}:\n  + default: credential_process = ")
    assert not file.exists()
