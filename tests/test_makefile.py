"""`make` uses the requested interpreter, even after another one was used."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support.requirements import require

ROOT = Path(__file__).parent.parent
POSIX = pytest.mark.skipif(sys.platform == "win32", reason="the interpreters are shell scripts")


@pytest.fixture
def checkout(tmp_path):
    """Return a directory with a fresh virtual environment made by `make`."""
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
    """Return what `make demo`, or another verb with variables, would do."""
    # A make that runs these tests, as in CI, passes its own variables in the environment.
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
    """`make test PYTHON=python3.13` does not use an environment of 3.11."""
    other = checkout / "other"
    other.write_text("#!/bin/sh\necho 3.99.0 /opt/other\n", encoding="utf-8")
    other.chmod(0o755)

    assert f"{other} -m venv --clear .venv" in plan(checkout, other)


def test_interop_installs_the_clients_and_says_what_it_cannot(checkout):
    """Interop installs every client that is a Python package and says where to get the others."""
    planned = plan(checkout, sys.executable, "interop")

    assert '".[test,clients,interop]"' in planned
    assert "apt-get install skopeo" in planned


def test_extras_are_what_ci_adds(checkout):
    """CI installs some clients; `make test` alone installs none."""
    assert '".[test,clients]"' in plan(checkout, sys.executable, "test", "EXTRAS=test,clients")
    assert '".[test]"' in plan(checkout, sys.executable, "test")


def test_what_ci_demands_is_asked_for_by_a_test():
    """Every requirement that CI demands is used by a test, so none is silently skipped."""
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    demanded = {
        name
        for line in script.splitlines()
        if line.startswith("require")
        for name in line.partition("=")[2].strip(",").split(",")
    }
    tests = [path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("*.py")]

    assert {"installed", "uv", "root", "ordinary-user"} <= demanded
    assert [] == sorted(name for name in demanded if not any(f'"{name}"' in text for text in tests))


@pytest.fixture
def clone(tmp_path):
    """Return a copy of the project with everything installed, so `make` needs no network."""
    require(shutil.which("make"), "make", "it is not on PATH")
    place = tmp_path / "clone"
    kept = shutil.ignore_patterns(".*_cache", ".venv", ".git", ".hypothesis", "dist", "__pycache__")
    shutil.copytree(ROOT, place, ignore=kept)
    venv = place / ".venv"
    (venv / "bin").mkdir(parents=True)
    python = venv / "bin" / "python"
    # Every package is installed already, and the index is unreachable.
    python.write_text(f'#!/bin/sh\nexport PIP_NO_INDEX=1\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)
    (venv / ".made").write_text(f"{sys.version.split()[0]} {sys.base_prefix}\n", encoding="utf-8")
    for name in (".keylease", ".test"):
        (venv / name).touch()
    return place


def make(clone, *words, path=None, umask=0o022):
    """Run `make` and return its result."""
    surroundings = {
        name: value
        for name, value in os.environ.items()
        if name not in {"EXTRAS", "MAKEFLAGS", "MAKELEVEL", "MAKEOVERRIDES", "MFLAGS", "PYTHONPATH"}
    }
    return subprocess.run(
        ["make", *words, f"PYTHON={sys.executable}"],
        cwd=clone,
        env=surroundings | {"PATH": path or os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
        umask=umask,
    )


@POSIX
def test_demo_without_git_says_so_and_installs_nothing(clone, tmp_path):
    """Without git, `make demo` says so at once, before minutes of installing."""
    shutil.rmtree(clone / ".venv")
    bare = tmp_path / "bare"
    bare.mkdir()
    for program in ("make", "sh", "cat", "find"):
        (bare / program).symlink_to(shutil.which(program))

    done = make(clone, "demo", path=str(bare))

    assert 2 == done.returncode
    assert "no git here can serve HTTP; install git" in done.stdout + done.stderr
    assert not (clone / ".venv").exists()


@POSIX
def test_changed_source_is_installed_without_the_network(clone, tmp_path):
    """A changed source is installed without the network."""
    target = tmp_path / "target"
    (clone / "README.md").write_text("Changed.\n", encoding="utf-8")
    recipe = make(clone, "--dry-run", "demo").stdout
    (install,) = [line for line in recipe.splitlines() if " install " in line]

    done = subprocess.run(
        ["sh", "-c", f"{install} --no-deps --target '{target}'"],
        cwd=clone,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )

    assert 0 == done.returncode, done.stderr
    assert (target / "keylease" / "__init__.py").is_file()


@POSIX
def test_package_and_plain_build_give_the_same_bytes(clone, tmp_path):
    """`make package` and a plain build give the same bytes at any time and umask."""
    other = tmp_path / "other"
    subprocess.run(["cp", "-R", clone, other], check=True, timeout=60, umask=0o077)
    for path in (other / "src").rglob("*"):
        path.chmod(path.stat().st_mode & 0o700)
        os.utime(path, (1, 1))
    python = clone / ".venv" / "bin" / "python"
    # A separate build environment would need the network.
    python.write_text(f'#!/bin/sh\nexec {sys.executable} "$@" --no-isolation\n')
    made = make(clone, "package", umask=0o002)
    assert 0 == made.returncode, made.stderr
    words = [sys.executable, "-m", "build", "--no-isolation", str(other)]
    surroundings = {name: os.environ[name] for name in os.environ if name != "PYTHONPATH"}

    subprocess.run(words, env=surroundings, cwd=tmp_path, check=True, timeout=300, umask=0o077)

    built = {path.name: path.read_bytes() for path in (clone / "dist").iterdir()}
    plain = {path.name: path.read_bytes() for path in (other / "dist").iterdir()}
    assert [".gz", ".whl"] == sorted(Path(name).suffix for name in plain)
    assert plain == {name: content for name, content in built.items() if name in plain}
