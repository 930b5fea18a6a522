"""Completion in real shells: what they offer after Tab."""

from __future__ import annotations

import shutil
import subprocess

import pytest
from support.waiting import WAIT_SECONDS

from keylease.cli.setup import TOOLS

# Each script prints what the shell would offer after `keylease setup `, one word a line. None of
# the shells reads a start-up file.
ASK = {
    "bash": """
source "$1"
COMP_WORDS=(keylease setup ""); COMP_CWORD=2
_keylease_completion keylease
printf '%s\\n' "${COMPREPLY[@]}"
""",
    "fish": 'source $argv[1]; complete --do-complete "keylease setup "',
}


@pytest.mark.parametrize("shell", ASK)
def test_shell_offers_the_commands(kernel_home, shell):
    """The generated completion script works in its shell."""
    program = shutil.which(shell)
    if program is None:
        pytest.skip(f"{shell} is not installed")
    told = kernel_home.run("keylease", "setup", "completion", shell).stdout
    path = told.splitlines()[0].removeprefix("wrote ")
    words = [program, "-c", ASK[shell], *(["bash"] if shell == "bash" else []), path]

    done = subprocess.run(
        words,
        env=kernel_home.environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=WAIT_SECONDS,
    )

    offered = {line.split("\t")[0].split(",")[-1] for line in done.stdout.splitlines()}
    assert set(TOOLS) == offered, done.stderr
