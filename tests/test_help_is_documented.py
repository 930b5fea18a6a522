"""docs/cli.md has the help of every command, word for word.

To update the document: python tests/test_help_is_documented.py
"""

from __future__ import annotations

import io
import os
import re
import sys
from contextlib import redirect_stdout
from pathlib import Path
from unittest import mock

import click
import pytest

from keylease import errors
from keylease.cli import keylease, main

DOCUMENT = Path(__file__).parent.parent / "docs" / "cli.md"
BLOCK = re.compile(
    r"^```console\n\$ keylease ((?:[a-z]+ )*)--help\n(.*?)^```$", re.DOTALL | re.MULTILINE
)
REFRESH = f"refresh it with: python {Path(__file__).name}, in the directory tests"


def commands(command=keylease, path=()):
    """Yield the words of every command and group."""
    yield path
    if isinstance(command, click.Group):
        with click.Context(command) as context:
            for name in command.list_commands(context):
                yield from commands(command.get_command(context, name), (*path, name))


COMMANDS = list(commands())


def help_of(path):
    """Return the output of `--help` on a terminal of the usual width."""
    printed = io.StringIO()
    with redirect_stdout(printed), mock.patch.dict(os.environ, {"COLUMNS": "80"}):
        assert main([*path, "--help"]) == 0
    return printed.getvalue()


def documented():
    """Return the help of each command in the document."""
    text = DOCUMENT.read_text(encoding="utf-8")
    return {tuple(words.split()): said for words, said in BLOCK.findall(text)}


@pytest.mark.parametrize("path", COMMANDS, ids=lambda path: " ".join(("keylease", *path)))
def test_help_is_documented(path):
    """The documented help is what the program prints."""
    assert help_of(path) == documented().get(path), REFRESH


def test_every_documented_command_exists():
    """Every documented command exists."""
    assert set(COMMANDS) == set(documented()), REFRESH


@pytest.mark.parametrize("path", COMMANDS, ids=lambda path: " ".join(("keylease", *path)))
def test_help_fits_a_terminal(path):
    """No line of help is wider than a terminal."""
    assert [] == [line for line in help_of(path).splitlines() if len(line) > 80]


def exit_codes():
    """Yield the exit code of every refusal."""
    kinds = [errors.KeyleaseError]
    while kinds:
        kind = kinds.pop()
        kinds += kind.__subclasses__()
        yield kind.exit_code


@pytest.mark.parametrize(
    "document", [DOCUMENT, DOCUMENT.parent.parent / "README.md"], ids=lambda path: path.name
)
def test_every_exit_code_is_documented(document):
    """Every exit code is documented, and no others are."""
    section = document.read_text(encoding="utf-8").split("## Exit codes")[1].split("\n## ")[0]
    documented_codes = {int(code) for code in re.findall(r"^\| (\d+) \|", section, re.MULTILINE)}

    assert {0, *exit_codes()} == documented_codes - {130}


def refresh():
    """Write the present help into the document."""
    text = DOCUMENT.read_text(encoding="utf-8")

    def block(found):
        said = help_of(tuple(found[1].split()))
        return f"```console\n$ keylease {found[1]}--help\n{said}```"

    DOCUMENT.write_text(BLOCK.sub(block, text), encoding="utf-8")


if __name__ == "__main__":
    sys.exit(refresh())
