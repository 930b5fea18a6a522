"""Which function a program is, and the order of sys.path when Python is not isolated."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest
from support.waiting import WAIT_SECONDS

import keylease
from keylease.programs import OWN, names
from keylease.tools import TOOLS

ORDER = """
import os, sys
from keylease import programs
own = os.path.dirname(os.path.dirname(programs.__file__))
library = os.path.dirname(os.__file__)
packages = os.path.join(library, "site-packages")
here = os.getcwd()
sys.path[:] = ["", here, ".", "relative", "/elsewhere", packages, own, library]
programs.order_path()
print([library, own, "/elsewhere"] == [each for each in sys.path if each != packages], sys.path)
print(sys.path.index(library) < sys.path.index(own) <= sys.path.index("/elsewhere"))
"""
STANDING = """
from keylease import programs
programs.order_path()
import hmac, keylease.wiring
print("imported")
"""
ISOLATED = "import sys, keylease; print(keylease.__file__, sys.flags.isolated, sys.flags.no_site)"


def run(program: str, **more: object) -> subprocess.CompletedProcess[str]:
    """Run a program in a separate process."""
    words = [sys.executable, "-c", program]
    return subprocess.run(
        words, capture_output=True, text=True, check=False, timeout=WAIT_SECONDS, **more
    )


def test_every_program_for_people_is_a_function():
    """The table of programs names existing functions."""
    main = import_module("keylease.__main__")

    assert [] == [name for name, function in OWN.items() if not callable(getattr(main, function))]


def test_every_program_that_a_tool_runs_has_one_protocol():
    """Each program for tools has exactly one protocol."""
    asking = [tool for tool in TOOLS if tool.program]

    for program in {tool.program for tool in asking}:
        assert 1 == sum(bool(tool.protocol) for tool in asking if tool.program == program), program
    assert {*OWN, *(tool.program for tool in asking)} == set(names())


@pytest.mark.parametrize("ending", ["", ".exe", ".EXE"])
def test_a_program_of_windows_is_known_by_its_name(ending: str) -> None:
    """One entry point finds all programs, with or without `.exe`."""
    program = f"""
import sys
from keylease import programs
sys.argv[:] = [__import__("os").path.join("Scripts", "keylease{ending}"), "--version"]
sys.exit(programs.main())
"""
    assert f"keylease {keylease.__version__}\n" == run(program).stdout


def test_the_order_is_library_own_rest(tmp_path: Path) -> None:
    """No directory comes before Python's, and the working directory is not on the path."""
    done = run(ORDER, cwd=tmp_path)

    assert done.stdout.startswith("True"), done.stdout + done.stderr
    assert done.stdout.endswith("True\n")


@pytest.mark.parametrize("module", [os, keylease])
def test_a_user_who_stands_in_the_library_is_served(module) -> None:
    """Python's or keylease's own directory stays importable, even as the working directory."""
    directory = Path(module.__file__).parent
    directory = directory.parent if module is keylease else directory

    done = run(STANDING, cwd=directory)

    assert ("imported\n", "") == (done.stdout, done.stderr)


def test_an_isolated_interpreter_finds_the_same_keylease(tmp_path: Path) -> None:
    """doctor starts this same keylease, whatever the environment says."""
    program = f"from keylease.programs import isolated; print(*isolated({ISOLATED!r}), sep=chr(0))"
    words = run(program).stdout.rstrip("\n").split("\0")

    done = subprocess.run(
        words,
        cwd=tmp_path,
        env={"PYTHONPATH": str(tmp_path), "PYTHONHOME": "/nonexistent"},
        capture_output=True,
        text=True,
        check=False,
        timeout=WAIT_SECONDS,
    )

    assert f"{keylease.__file__} 1 1\n" == done.stdout, done.stderr
