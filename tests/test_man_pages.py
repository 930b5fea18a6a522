"""The manual has a current page for each command, without faults in roff."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import click
import pytest
from support.waiting import WAIT_SECONDS

from keylease.__main__ import OPERATIONS
from keylease.cli import keylease
from keylease.protocols.git import USAGE

ROOT = Path(__file__).parent.parent
PAGES = sorted((ROOT / "docs" / "man").glob("*.1"))

if not (ROOT / "packaging" / "man.py").exists():
    pytest.skip("the script is in the source tree only", allow_module_level=True)

SPEC = importlib.util.spec_from_file_location("man", ROOT / "packaging" / "man.py")
man = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(man)


def test_pages_are_up_to_date():
    """The pages match the program; packaging/man.py updates them."""
    assert [] == man.outdated()


def test_old_page_is_noticed(monkeypatch, tmp_path):
    """The check finds a missing, a changed and a superfluous page."""
    for name, text in man.pages().items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    monkeypatch.setattr(man, "PAGES", tmp_path)
    assert [] == man.outdated()

    (tmp_path / "keylease-login.1").unlink()
    (tmp_path / "keylease-gone.1").write_text("")
    (tmp_path / "keylease.1").write_text("changed")

    assert ["keylease-gone.1", "keylease-login.1", "keylease.1"] == man.outdated()


def commands(command=keylease, path=("keylease",)):
    """Yield the words of every command."""
    yield path
    if isinstance(command, click.Group):
        with click.Context(command) as context:
            for name in command.list_commands(context):
                yield from commands(command.get_command(context, name), (*path, name))


def test_every_command_has_a_page():
    """Every command and subcommand has a page."""
    names = {"-".join(path) for path in commands()} | {"git-credential-keylease", *man.OTHERS}

    assert {f"{name}.1" for name in names} == {page.name for page in PAGES}


def test_helper_is_described_as_it_is():
    """The helper's page has every operation, option and exit code."""
    page = (ROOT / "docs" / "man" / "git-credential-keylease.1").read_text(encoding="utf-8")
    plain = page.replace("\\-", "-")

    assert USAGE.removeprefix("usage: git-credential-keylease ") in plain.splitlines()
    for operation in OPERATIONS:
        assert f"\n.B {operation}\n" in plain
    for option in re.findall(r"--[a-z]+ [A-Z]+", USAGE):
        assert f"\n.B {option}\n" in plain
    for code in (0, 1, 129):
        assert f"\n.B {code}\n" in plain


def test_usage_of_the_helper_is_documented():
    """The helper's usage line is documented."""
    assert f"\n{USAGE}\n" in (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
@pytest.mark.parametrize(
    "words",
    [
        ("groff", "-man", "-ww", "-Tutf8", "-z"),
        ("man", "--warnings=w", "-E", "UTF-8", "-l", "-Tutf8", "-Z"),
        ("mandoc", "-T", "lint", "-W", "warning"),
    ],
    ids=lambda words: words[0],
)
def test_page_has_no_fault(page, words):
    """Formatters print no warning for any page."""
    program = shutil.which(words[0])
    if program is None:
        pytest.skip(f"{words[0]} is not installed")

    done = subprocess.run(
        [program, *words[1:], page],
        env=os.environ | {"LC_ALL": "C.UTF-8"},
        capture_output=True,
        text=True,
        check=False,
        timeout=WAIT_SECONDS,
    )

    assert "" == done.stderr
    # No date on purpose: the same source gives the same page on any day.
    complaints = [line for line in done.stdout.splitlines() if "missing date" not in line]
    assert words[0] != "mandoc" or [] == complaints


def test_fault_is_found(tmp_path):
    """The check finds a fault in a page."""
    program = shutil.which("groff")
    if program is None:
        pytest.skip("groff is not installed")
    page = tmp_path / "page.1"
    page.write_text('.TH A 1 "" "" ""\n.SH NAME\n.nosuchrequest\n')

    done = subprocess.run(
        [program, "-man", "-ww", "-Tutf8", "-z", page],
        capture_output=True,
        text=True,
        check=False,
        timeout=WAIT_SECONDS,
    )

    assert "nosuchrequest" in done.stderr


@pytest.mark.parametrize(
    ("text", "roff"),
    [
        (".TH is no request here", "\\&.TH is no request here"),
        ("'quoted' at the head", "\\&'quoted' at the head"),
        ("a\\nb --fd", "a\\enb \\-\\-fd"),
        ('say "no"', "say \\(dqno\\(dq"),
    ],
)
def test_text_is_escaped(text, roff):
    """Help text is never interpreted as roff requests."""
    assert roff == man._line(text)


def test_wheel_installs_the_pages():
    """`pip install` puts the pages where `man` finds them."""
    document = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    shared = document["tool"]["hatch"]["build"]["targets"]["wheel"]["shared-data"]

    assert {"docs/man": "share/man/man1"} == shared
    assert {"docs/man"} == {str(page.parent.relative_to(ROOT)) for page in PAGES}
