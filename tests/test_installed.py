"""The tests run against the installed package, not the source tree."""

import os
import sys
from importlib.metadata import entry_points, files
from pathlib import Path

import pytest
from support.throwaway import find_program

import keylease
from keylease.programs import names

SOURCE = Path(__file__).parent.parent / "src" / "keylease"
LAUNCH = SOURCE.parent.parent / "packaging" / "launch"
INSTALLED = Path(keylease.__file__).parent


@pytest.fixture(autouse=True)
def _installed():
    """Skip if the source tree was chosen on purpose."""
    if "src" in [Path(each).name for each in os.environ.get("PYTHONPATH", "").split(os.pathsep)]:
        pytest.skip("PYTHONPATH names the source tree")


def contents(directory):
    """Return every file of the package by name."""
    return {
        str(path.relative_to(directory)): path.read_bytes()
        for path in directory.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


def test_tests_import_what_is_installed():
    """The tests import the installed package, so a file missing from the build is noticed."""
    assert INSTALLED != SOURCE


def test_installed_package_is_of_this_source():
    """The installed package is built from this source, not from an older one."""
    assert contents(SOURCE) == contents(INSTALLED)


def test_type_information_is_installed():
    """Type information is installed for the user's type checker."""
    assert "keylease/py.typed" in [str(file) for file in files("keylease")]


@pytest.mark.parametrize("name", names())
def test_program_is_installed(name):
    """Every program is installed, so git and people find it."""
    assert find_program(name)


@pytest.mark.skipif(sys.platform == "win32", reason="programs are entry points on Windows")
def test_every_program_is_the_same_script():
    """All programs are the same script except for the name, so one test covers all."""
    template = (LAUNCH / "program.sh").read_text("utf-8")

    assert {name: template.replace("NAME", name) for name in names()} == {
        name: Path(find_program(name)).read_text("utf-8") for name in names()
    }
    assert [] == list(entry_points(group="console_scripts", module="keylease.programs"))
