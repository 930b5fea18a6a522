"""`make` takes the interpreter that it is told, also where it took another one before."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support.requirements import require

ROOT = Path(__file__).parent.parent


@pytest.fixture
def checkout(tmp_path):
    """Return a directory in which `make` made its virtual environment a moment ago."""
    if sys.platform == "win32":
        pytest.skip("the interpreters of these tests are shell scripts")
    require(shutil.which("make"), "make", "it is not on PATH")
    for name in ("Makefile", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tmp_path)
    (tmp_path / "src").mkdir()
    made = tmp_path / ".venv" / ".made"
    made.parent.mkdir()
    told = f"{sys.version.split()[0]} {sys.base_prefix}"
    made.write_text(f"{told}\n", encoding="utf-8")
    return tmp_path


def plan(checkout, python, *words):
    """Return what `make demo` would do, or another verb with its variables."""
    # Where a make runs these tests, as in CI, it hands its own variables on in the environment.
    surroundings = {
        name: value
        for name, value in os.environ.items()
        if name not in {"EXTRAS", "MAKEFLAGS", "MAKELEVEL", "MAKEOVERRIDES", "MFLAGS"}
    }
    done = subprocess.run(
        ["make", "--dry-run", *(words or ("demo",)), f"PYTHON={python}"],
        cwd=checkout,
        env=surroundings,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return done.stdout


def test_same_interpreter_keeps_the_environment(checkout):
    """A second `make demo` does not install everything again."""
    assert "-m venv" not in plan(checkout, sys.executable)


def test_other_interpreter_gets_an_environment_of_its_own(checkout):
    """`make test PYTHON=python3.13` does not quietly run what 3.11 had made."""
    other = checkout / "other"
    other.write_text("#!/bin/sh\necho 3.99.0 /opt/other\n", encoding="utf-8")
    other.chmod(0o755)

    assert f"{other} -m venv --clear .venv" in plan(checkout, other)


def test_interop_installs_the_clients_and_says_what_it_cannot(checkout):
    """Every client that is a package of Python, and a line on where the others are from."""
    planned = plan(checkout, sys.executable, "interop")

    assert '".[test,clients,interop]"' in planned
    assert "apt-get install skopeo" in planned


def test_extras_are_what_ci_adds(checkout):
    """CI runs some of the clients; `make test` alone installs none."""
    assert '".[test,clients]"' in plan(checkout, sys.executable, "test", "EXTRAS=test,clients")
    assert '".[test]"' in plan(checkout, sys.executable, "test")


def test_what_ci_demands_is_asked_for_by_a_test():
    """A name that no test knows would demand nothing, and its tests could be skipped in CI."""
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    demanded = {
        name
        for line in script.splitlines()
        if line.startswith("KEYLEASE_CI_REQUIRE")
        for name in line.partition("=")[2].strip(",").split(",")
    }
    tests = [path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("*.py")]

    assert {"installed", "uv"} <= demanded
    assert [] == sorted(name for name in demanded if not any(f'"{name}"' in text for text in tests))
