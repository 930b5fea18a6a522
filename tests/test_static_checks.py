"""The static checks run as tests, so one command checks the whole project."""

import shutil
import subprocess
import sysconfig
from pathlib import Path

import pytest
from support.share import VARIABLE, part_of

from keylease.tools import TOOLS

ROOT = Path(__file__).parent.parent
CHECKS = {
    "ruff": ["ruff", "check", "."],
    "black": ["black", "--check", "--quiet", "--diff", "."],
    "bandit": ["bandit", "--quiet", "-c", "pyproject.toml", "-r", "src", "packaging", "benchmarks"],
    "zizmor": ["zizmor", "--offline", "--quiet", ".github"],
    # mypy checks code behind `sys.platform` only for the platform it is given, so all are given.
    "mypy-linux": ["mypy", "--platform", "linux"],
    "mypy-macos": ["mypy", "--platform", "darwin"],
    "mypy-windows": ["mypy", "--platform", "win32"],
}


def find_tool(name):
    """Return the tool from this environment, or else from PATH."""
    return shutil.which(name, path=sysconfig.get_path("scripts")) or shutil.which(name)


def run(command, tool):
    """Run a check in the project's root and return its exit code and output."""
    done = subprocess.run(
        [tool, *command[1:]], cwd=ROOT, capture_output=True, text=True, timeout=300, check=False
    )
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize("name", CHECKS)
def test_check_has_no_complaint(name):
    """The tool has no complaint about the code."""
    if name not in part_of(CHECKS):
        pytest.skip(f"{VARIABLE}: the other run of CI makes this check")
    tool = find_tool(CHECKS[name][0])
    if tool is None:
        pytest.skip(f"{CHECKS[name][0]} is not installed")

    code, said = run(CHECKS[name], tool)

    assert 0 == code, said


def test_every_protocol_keeps_the_contract(tmp_path):
    """mypy holds each module of the table against what the helper calls."""
    tool = find_tool("mypy")
    if tool is None:
        pytest.skip("mypy is not installed")
    names = sorted({tool.protocol for tool in TOOLS if tool.protocol})
    lines = ["from keylease.protocols.base import Protocol"]
    lines += [f"from keylease.protocols import {name}" for name in names]
    lines += [f"_{name}: Protocol = {name}" for name in names]
    wrong = "_wrong: Protocol = Protocol"
    program = tmp_path / "contract.py"

    for more, code in (([], 0), ([wrong], 1)):
        program.write_text("\n".join([*lines, *more, ""]), encoding="utf-8")
        assert code == run(["mypy", str(program)], tool)[0]


def test_every_ignored_rule_has_its_reason():
    """Every ignored rule has a reason."""
    lines = (ROOT / "pyproject.toml").read_text(encoding="utf-8").splitlines()
    start = lines.index("[tool.ruff.lint]")
    rules = [line for line in lines[start:] if line.startswith('    "')]

    assert len(rules) > 10, "no rule found: this test is out of date"
    assert [] == [line for line in rules if "#" not in line]
