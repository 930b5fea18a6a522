"""Every program starts isolated: nothing of the caller decides which code its Python runs."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zipfile import ZipFile

import pytest
from support.kernel_keyring import require_kernel_keyring
from support.pseudo_terminal import PseudoTerminal
from support.questions import QUESTIONS, URL
from support.requirements import require
from support.share import part_of
from support.throwaway import Throwaway, find_program
from support.waiting import WAIT_SECONDS

from keylease.programs import names

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.skipif(
    sys.platform == "win32", reason="the launchers of Windows cannot isolate (decision 0026)"
)

ROOT = Path(__file__).parent.parent.parent
# The question for each program, and a part of the right answer.
ASKED = {
    "keylease": (("get",), "protocol=https\nhost=example.com\n\n", "password=secret"),
    "keylease-askpass": (("Password for 'https://ada@example.com': ",), "", "secret"),
    **{name: (each.words, each.message, each.answer) for name, each in QUESTIONS.items()},
}
LOGINS = sorted({each.login for each in QUESTIONS.values()})
# A value that changes or ends an interpreter that reads it. `TRAP` is a directory of traps.
VALUES = {
    "PYTHONASYNCIODEBUG": "1",
    "PYTHONBREAKPOINT": "json.trap",
    "PYTHONCASEOK": "1",
    "PYTHONCOERCECLOCALE": "warn",
    "PYTHONDEBUG": "1",
    "PYTHONDEVMODE": "1",
    "PYTHONDONTWRITEBYTECODE": "1",
    "PYTHONDUMPREFS": "1",
    "PYTHONEXECUTABLE": "/nonexistent/python",
    "PYTHONFAULTHANDLER": "1",
    "PYTHONHASHSEED": "nonsense",
    "PYTHONHOME": "/nonexistent",
    "PYTHONINSPECT": "1",
    "PYTHONINTMAXSTRDIGITS": "nonsense",
    "PYTHONIOENCODING": "utf-16",
    "PYTHONMALLOC": "nonsense",
    "PYTHONMALLOCSTATS": "1",
    "PYTHONNODEBUGRANGES": "1",
    "PYTHONNOUSERSITE": "1",
    "PYTHONOPTIMIZE": "2",
    "PYTHONPATH": "TRAP",
    "PYTHONPERFSUPPORT": "1",
    "PYTHONPLATLIBDIR": "nowhere",
    "PYTHONPROFILEIMPORTTIME": "1",
    "PYTHONPYCACHEPREFIX": "TRAP",
    "PYTHONSAFEPATH": "1",
    "PYTHONSTARTUP": "TRAP/json.py",
    "PYTHONTRACEMALLOC": "nonsense",
    "PYTHONUNBUFFERED": "1",
    "PYTHONUSERBASE": "TRAP",
    "PYTHONUTF8": "nonsense",
    "PYTHONVERBOSE": "1",
    "PYTHONWARNDEFAULTENCODING": "1",
    "PYTHONWARNINGS": "error",
    "PYTHON_BASIC_REPL": "1",
    "PYTHON_COLORS": "1",
    "PYTHON_CPU_COUNT": "nonsense",
    "PYTHON_FROZEN_MODULES": "off",
    "PYTHON_GIL": "nonsense",
    "PYTHON_PERF_JIT_SUPPORT": "1",
    "__PYVENV_LAUNCHER__": "/nonexistent/python",
}
FOREIGN = ("cryptography", "jeepney", "keyring", "click", "platformdirs", "rich", "cffi")


def ask(home: Throwaway, program: str, **more: Any) -> tuple[int, str, str]:
    """Ask a program its question; return the exit code, the answer and its complaints."""
    words, message, _ = ASKED[program]
    where = {"cwd": home.home} | more
    environment = home.environment | where.pop("variables", {})
    path = home.find(program)
    assert path is not None
    # A process gets a secret once for one question, but this test repeats its question.
    (home.state / "asked").unlink(missing_ok=True)
    done = subprocess.run(
        [path, *words],
        input=message,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        **where,
    )
    # The end in a tool's answer depends on the current second.
    answer = re.sub(r'"expir[^,}]*|password_expiry_utc=\d+|"Expiration":"[^"]*"', "", done.stdout)
    return done.returncode, answer, done.stderr


@pytest.fixture(scope="module")
def used(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Throwaway]:
    """Return a home with a session for each tool. The tests only read, so they share it."""
    require_kernel_keyring()
    with Throwaway(tmp_path_factory.mktemp("used"), {"KEYLEASE_KEYCHAIN": "kernel"}) as home:
        for words in LOGINS:
            limits = (
                "--timeout",
                "28800",
                "--password-stdin",
            )  # longer than any run of this module
            done = home.run("keylease", "login", *words, *limits, stdin="secret")
            assert 0 == done.returncode, done.stderr
        yield home


@pytest.fixture
def trap(tmp_path: Path) -> Path:
    """Return a directory with one file for each module that a program could import."""
    directory = tmp_path / "trap"
    (directory / "keylease").mkdir(parents=True)
    names = {*sys.stdlib_module_names, *FOREIGN, "sitecustomize", "usercustomize"}
    names -= {"encodings"}  # without it an interpreter ends before it can run a trap
    code = f"open({str(tmp_path / 'sprung')!r}, 'a').write(__name__ + chr(10))\n"
    for name in names:
        (directory / f"{name}.py").write_text(code, "utf-8")
    for name in ("__init__", "programs", "helper"):
        (directory / "keylease" / f"{name}.py").write_text(code, "utf-8")
    # A foreign dist-packages contains packages, not modules.
    for name in FOREIGN:
        (directory / "dist" / name).mkdir(parents=True)
        (directory / "dist" / name / "__init__.py").write_text(code, "utf-8")
    return directory


def sprung(trap: Path) -> list[str]:
    """Return which traps ran since the last call."""
    marker = trap.parent / "sprung"
    if not marker.exists():
        return []
    told = marker.read_text("utf-8").split()
    marker.unlink()
    return told


def test_every_program_is_asked():
    """Every program has its question here, so a new one is tested, too."""
    assert set(names()) == set(ASKED)


def test_every_variable_of_this_python_is_tried():
    """A variable that a newer Python reads is tested as soon as its help names it."""
    told = subprocess.run(
        [sys.executable, "-I", "--help-env"],
        capture_output=True,
        text=True,
        check=True,
        timeout=WAIT_SECONDS,
    )
    # In the list a space or a colon ends a name; -X options and paths are not variables.
    named = set(re.findall(r"^(PYTHON[A-Z_0-9]+)", told.stdout, re.MULTILINE))

    assert len(named) > 10, "no variable found: this test is out of date"
    assert set() == named - set(VALUES)


def values(trap: Path) -> dict[str, str]:
    """Return each variable with its value."""
    return {name: value.replace("TRAP", str(trap)) for name, value in VALUES.items()}


def test_no_variable_of_python_changes_an_answer(used: Throwaway, trap: Path) -> None:
    """git's helper gives the same answer with each PYTHON* variable set, and complains of none."""
    program = "git-credential-keylease"
    plain = ask(used, program)
    assert ASKED[program][2] in plain[1], plain

    for name, value in part_of(values(trap).items()):
        assert plain == ask(used, program, variables={name: value}), name
    assert [] == sprung(trap)


@pytest.mark.parametrize("program", ASKED)
def test_all_variables_together_change_no_answer(used: Throwaway, trap: Path, program: str) -> None:
    """Each program gives the same answer with every PYTHON* variable set at once."""
    plain = ask(used, program)
    assert ASKED[program][2] in plain[1], plain

    assert plain == ask(used, program, variables=values(trap))
    assert [] == sprung(trap)


def test_the_variables_do_change_an_ordinary_program(trap: Path) -> None:
    """The control: an interpreter without isolation dies of some, and runs the traps."""
    words = [sys.executable, "-c", "import json; print(1)"]
    died = {
        name
        for name, value in values(trap).items()
        if subprocess.run(
            words, env={name: value}, capture_output=True, check=False, timeout=WAIT_SECONDS
        ).returncode
    }

    assert {"PYTHONHOME", "PYTHONPLATLIBDIR", "PYTHONHASHSEED", "PYTHONMALLOC"} <= died
    assert "json" in sprung(trap)


@pytest.mark.parametrize("program", ASKED)
def test_nothing_of_the_working_directory_is_executed(
    used: Throwaway, trap: Path, program: str
) -> None:
    """A repository with a file for each module runs no code, whatever PYTHONPATH says."""
    plain = ask(used, program)
    assert ASKED[program][2] in plain[1], plain

    for path in (None, f":/opt/foo:.:dist:../trap:{trap}:{trap / 'dist'}"):
        variables = {} if path is None else {"PYTHONPATH": path}
        assert plain == ask(used, program, cwd=trap, variables=variables), path
    assert [] == sprung(trap)


@pytest.mark.parametrize("path", [":", ".", ":/opt/foo", "../trap"])
def test_the_working_directory_is_a_trap(trap: Path, path: str) -> None:
    """The control: the same directory does run code in an ordinary script."""
    subprocess.run(
        [sys.executable, "-c", "import json"],
        cwd=trap,
        env={"PYTHONPATH": path, "PYTHONSAFEPATH": "1"},
        capture_output=True,
        check=False,
        timeout=WAIT_SECONDS,
    )

    assert sprung(trap)


@pytest.mark.parametrize("path", [None, ":", "TRAP/dist"])
def test_module_run_by_a_person_takes_its_packages_from_beside_it(
    used: Throwaway, trap: Path, path: str | None
) -> None:
    """`python -m keylease` starts before we can act, but it imports our own packages."""
    for each in trap.glob("*.py"):
        # `python -m` imports what it needs before any line of ours runs.
        if each.stem not in {"json", "tomllib", "hmac", "ctypes", "secrets", *FOREIGN}:
            each.unlink()
    shutil.rmtree(trap / "keylease")
    variables = {} if path is None else {"PYTHONPATH": path.replace("TRAP", str(trap))}

    done = subprocess.run(
        [sys.executable, "-m", "keylease", "get"],
        input=ASKED["keylease"][1],
        env=used.environment | variables,
        cwd=trap,
        capture_output=True,
        text=True,
        check=False,
        timeout=WAIT_SECONDS,
    )

    assert "password=secret" in done.stdout, done.stderr
    assert [] == sprung(trap)


def test_command_of_exec_has_the_users_own_variables(used: Throwaway) -> None:
    """The command of `exec` gets the user's variables unchanged, including those that we ignore."""
    variables = {"PYTHONPATH": ":/opt/foo", "PYTHONHOME": "/nonexistent"}
    done = subprocess.run(
        [str(used.find("keylease")), "exec", URL, "--env", "TOKEN", "--", "env"],
        env=used.environment | variables,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert {"TOKEN=secret", "PYTHONPATH=:/opt/foo", "PYTHONHOME=/nonexistent"} <= set(
        done.stdout.splitlines()
    ), done.stderr


def build(directory: Path, **variables: str) -> Path:
    """Return the wheel of this source."""
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(directory)],
        cwd=ROOT,
        env={**os.environ, **variables},
        capture_output=True,
        check=True,
        timeout=300,
    )
    (found,) = directory.glob("*.whl")
    return found


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the wheel for POSIX."""
    return build(tmp_path_factory.mktemp("wheel"))


def make_environment(directory: Path) -> Path:
    """Make a virtual environment that already has our dependencies; return its programs."""
    subprocess.run(
        [sys.executable, "-m", "venv", "--without-pip", directory], check=True, timeout=WAIT_SECONDS
    )
    lib = directory / "lib" / Path(sysconfig.get_path("stdlib")).name / "site-packages"
    for each in Path(sysconfig.get_path("purelib")).iterdir():
        if not each.name.startswith(("keylease", "_keylease", "distutils")):
            (lib / each.name).symlink_to(each)
    return directory / "bin"


INSTALLERS = {
    "pip": "{pip} --python {python} install --no-deps --no-index {wheel}",
    "uv": "{uv} pip install --offline --no-deps --no-index --no-config --python {python} {wheel}",
    "editable": "{pip} --python {python} install --no-deps --no-index --no-build-isolation "
    "--editable {source}",
    "target": "{pip} --python {python} install --no-deps --no-index --target {elsewhere} {wheel}",
    "prefix": "{pip} --python {python} install --no-deps --no-index --prefix {elsewhere} {wheel}",
}


def install(how: str, home: Path, wheel: Path) -> Path:
    """Install the wheel below a directory and return the directory of its programs."""
    uv = shutil.which("uv", path=sysconfig.get_path("scripts")) or shutil.which("uv")
    require("uv" not in how or uv, "uv", "it is not on PATH")
    scripts = make_environment(home / "env")
    places = {
        "pip": f"{sys.executable}\0-m\0pip\0--disable-pip-version-check",
        "uv": uv or "",
        "python": str(scripts / "python"),
        "wheel": str(wheel),
        "source": str(ROOT),
        "elsewhere": str(home / "elsewhere"),
    }
    words = [word.format(**places) for word in INSTALLERS[how].split(" ")]
    done = subprocess.run(
        [part for word in words for part in word.split("\0")],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        env={name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ},
    )
    # `pip --python` needs pip 22.3.
    require("no such option: --python" not in done.stderr, "pip", "it is older than 22.3")
    assert 0 == done.returncode, done.stderr
    return home / "elsewhere" / "bin" if "elsewhere" in INSTALLERS[how] else scripts


def link(programs: Path, directory: Path, names: set[str]) -> Path:
    """Link the programs of these names into a new directory; return it."""
    directory.mkdir()
    for program in programs.iterdir():
        if program.name in names:
            (directory / program.name).symlink_to(program)
    return directory


HOSTILE = {
    "PYTHONHOME": "/nonexistent",
    "PYTHONPLATLIBDIR": "nowhere",
    "PYTHONPATH": ":.:dist",
    "PYTHONVERBOSE": "1",
}


@pytest.mark.parametrize("how", INSTALLERS)
def test_every_installer_makes_programs_that_are_isolated(
    used: Throwaway, trap: Path, wheel: Path, tmp_path: Path, how: str
) -> None:
    """Programs installed by pip and uv, in place or linked as by pipx, run no foreign code.

    The path is too long for a script's first line and has a space.
    """
    programs = install(how, tmp_path / ("with a space " + "long" * 30), wheel)
    by_hand = link(programs, tmp_path / "one", set(names()))
    as_pipx_does = link(programs, tmp_path / "all", {*names(), "keylease-start"})

    for directory in (programs, by_hand, as_pipx_does):
        for program in ("git-credential-keylease", "keylease"):
            words, message, expected = ASKED[program]
            done = subprocess.run(
                [directory / program, *words],
                input=message,
                env=used.environment | HOSTILE | {"PATH": str(trap)},
                cwd=trap,
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
            )
            assert (0, "") == (done.returncode, done.stderr), directory
            assert expected in done.stdout
    assert [] == sprung(trap)


def test_wheel_has_the_programs_of_its_platform(wheel: Path, tmp_path: Path) -> None:
    """The wheel for Windows has entry points, every other wheel has scripts, and none has both."""
    windows = build(tmp_path, KEYLEASE_WHEEL="windows")
    scripts = {name.rpartition("/")[2] for name in ZipFile(wheel).namelist() if "/scripts/" in name}

    assert {*names(), "keylease-start"} == scripts
    assert set() == programs_of(wheel)
    assert windows.name.endswith("-py3-none-win32.win_amd64.win_arm64.whl")
    assert set(names()) == programs_of(windows)
    assert not [name for name in ZipFile(windows).namelist() if "/scripts/" in name]


def programs_of(wheel: Path) -> set[str]:
    """Return the names of the entry points that are programs."""
    archive = ZipFile(wheel)
    (name,) = [name for name in archive.namelist() if name.endswith("entry_points.txt")]
    _, _, section = archive.read(name).decode().partition("[console_scripts]")
    return {line.split(" = ")[0] for line in section.partition("[")[0].split("\n") if line.strip()}


@pytest.mark.parametrize("lost", ["start", "interpreter"])
def test_broken_installation_says_so_to_a_person_alone(
    kernel_home: Throwaway, tmp_path: Path, lost: str
) -> None:
    """A program without its other half ends at once, and git's stderr stays empty."""
    directory = tmp_path / "broken"
    directory.mkdir()
    program = directory / "git-credential-keylease"
    shutil.copy(str(find_program(program.name)), program)
    if lost == "interpreter":
        (directory / "keylease-start").write_text("#!/nonexistent/python\n", "utf-8")

    quiet = kernel_home.run(program, "get")
    with PseudoTerminal() as terminal, Path(terminal.path).open("wb", buffering=0) as screen:
        told = subprocess.run([program, "get"], stderr=screen, timeout=60, check=False)
        terminal.wait_for("install keylease again")

    assert (127, "", "") == (quiet.returncode, quiet.stdout, quiet.stderr)
    assert 127 == told.returncode
