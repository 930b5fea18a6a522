"""docs/configuration.md is correct: its keys match the code, and its examples are read."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

import pytest

from keylease import config
from keylease.config import Place
from keylease.config.base import KEYS, Stated, check, variable
from keylease.config.file import LONGEST_FILE, LONGEST_LINE
from keylease.errors import ConfigError
from keylease.model import MAX_CAP_SECONDS, Target, Terms
from keylease.rules import terms_of

ROOT = Path(__file__).parent.parent
DOCUMENT = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
ROWS = {
    cells[0].strip("`"): cells[1:]
    for row in re.search(r"^\| Key \|.*\n.*\n((?:\|.*\n)+)", DOCUMENT, re.MULTILINE)[1].splitlines()
    for cells in [[cell.strip() for cell in row.split("|")[1:-1]]]
}
EXAMPLES = re.findall(r"```toml\n(# \w+\.toml\n.*?)```", DOCUMENT, re.DOTALL)


@pytest.fixture
def places(tmp_path, monkeypatch):
    """Return the paths of the document's two example files, written as shown."""
    for name in KEYS:
        monkeypatch.delenv(variable(name), raising=False)
    if sys.platform == "win32":
        monkeypatch.setattr("keylease.config.file._judge_owner", lambda _: None)
    me = frozenset([os.geteuid() if hasattr(os, "geteuid") else 0])
    directory = tmp_path / "keylease"
    directory.mkdir(mode=0o755)
    found = {}
    for text in EXAMPLES:
        name = text[2:].partition("\n")[0]
        path = directory / name
        path.write_text(text, "utf-8")
        path.chmod(0o644)
        kind = "policy" if name == "policy.toml" else "user"
        found[kind] = Place(kind, str(path), me)
    assert {"user", "policy"} == set(found)
    return found


def test_every_key_is_documented_and_no_other():
    """Every key is documented with default, variable and allowed files, and no others are."""
    assert list(KEYS) == list(ROWS)
    for name, (_, default, named, in_target, _) in ROWS.items():
        key = KEYS[name]
        said = {None: "the best", False: "false"}.get(key.default, key.default)
        assert str(said) == default.strip('`"'), name
        assert (f"`{variable(name)}`" if key.in_environment else "none") == named
        assert ("yes" if key.in_target else "no") == in_target


@pytest.mark.parametrize("name", ["idle_timeout", "cap"])
def test_documented_range_is_the_one_that_counts(name):
    """The first and last number of a range are accepted, and the numbers beyond are not."""
    first, last = map(int, re.search(r"(\d+) to (\d+)", ROWS[name][0]).groups())

    assert (1, MAX_CAP_SECONDS) == (first, last)
    for value in (first, last):
        check(name, Stated(value, "here"))
    for value in (first - 1, last + 1):
        with pytest.raises(ConfigError):
            check(name, Stated(value, "here"))


def test_documented_words_are_those_that_count():
    """Every documented word is accepted."""
    for word in re.findall(r'"(\w+)"', ROWS["store"][0]):
        check("store", Stated(word, "here"))


def test_documented_size_is_the_one_that_counts():
    """The documented size limit is the real one."""
    said = f"at most {LONGEST_FILE} bytes and its lines at most {LONGEST_LINE} characters"
    assert said in DOCUMENT


def test_examples_are_read_and_mean_what_is_said(places):
    """The documented examples load and mean what the document says."""
    settings = config.load(
        {}, user=places["user"], policy=places["policy"], environment=os.environ
    ).settings

    def terms(host):
        return terms_of(settings, Target("web", "https", host))

    assert (600, 14400) == settings.limits
    assert Terms(300, 14400, "update") == terms("git.example")
    assert Terms(600, 14400, "never") == terms("git.example:8443")
    assert Terms(60, 14400, "never") == terms("vault.example")
    assert terms("leaked.example").revoked


def test_shown_table_is_what_the_program_says(places):
    """The document's table is what the command prints for the example files."""
    found = config.load({}, user=places["user"], policy=places["policy"], environment=os.environ)
    shown = re.search(r"\$ keylease config show\n(.*?)```", DOCUMENT, re.DOTALL)[1]
    rows = [re.split(r"\s{2,}", line) for line in shown.splitlines()[1:]]
    assert rows

    for name, value, source, instead_of in rows:
        each = found.general[name]
        wish = f"{each.instead_of.value}, {each.instead_of.source}"
        wish = wish.replace(places["user"].path, "/home/ada/.config/keylease/config.toml")
        assert value == str(each.value)
        assert source == each.source.replace(places["policy"].path, "/etc/keylease/policy.toml")
        assert instead_of == wish
