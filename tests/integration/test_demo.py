"""`make demo`, the first thing that a newcomer runs: it works, explains itself and cleans up."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from support.git_server import find_git
from support.kernel_keyring import require_kernel_keyring
from support.requirements import require
from support.throwaway import find_program
from support.waiting import WAIT_SECONDS

from keylease.keystores.base import Item
from keylease.keystores.kernel import KernelKeyStore
from keylease.programs import names

DEMO = Path(__file__).parent.parent.parent / "packaging" / "demo.py"


@pytest.fixture
def play(tmp_path):
    """Start the demo on the kernel keyring; its home is below `tmp_path`."""
    require_kernel_keyring()
    require(find_git(), "git-http", "no git here can serve HTTP")
    for program in names():
        require(find_program(program), "installed", f"{program} is not installed beside Python")
    started = []

    def start(**environment):
        process = subprocess.Popen(
            [sys.executable, DEMO],
            env=os.environ | {"KEYLEASE_KEYCHAIN": "kernel", "TMPDIR": str(tmp_path)} | environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate(timeout=WAIT_SECONDS)


def keys(vault):
    """Return which of the vault's two keys are in the keyring.

    Do not use /proc/keys: it lists a deleted key until the kernel collects it.
    """
    items = [Item(vault, kind, 1) for kind in ("session-key", "audit-key")]
    return [key is not None for key in KernelKeyStore().read(items)]


def test_demo_ends_with_its_verdict(play, tmp_path):
    """A newcomer sees every step succeed, a clear verdict at the end, and exit code 0."""
    out, err = (process := play()).communicate(timeout=120)

    assert 0 == process.returncode, out + err
    assert out.splitlines()[-1].startswith("verdict: OK")
    assert "" == err
    (vault,) = set(re.findall(r"keylease:(\w+):session-key", out))
    assert [False, False] == keys(vault)
    assert [] == list(tmp_path.iterdir())


def test_demo_shows_the_commands_of_a_user(play):
    """A newcomer can type the commands that the demo shows."""
    out, _ = play().communicate(timeout=120)

    shown = [line.removeprefix("$ ") for line in out.splitlines() if line.startswith("$ ")]
    for command in ("keylease setup git", "git clone http://127.0.0.1:", "keylease status"):
        assert [command] == [command for line in shown if line.startswith(command)][:1]


def test_demo_needs_no_tool_but_git(play, tmp_path_factory):
    """Without keyctl the demo deletes the key by other means."""
    directory = tmp_path_factory.mktemp("bin")
    (directory / "git").symlink_to(find_git())
    for program in ("cut", "grep", "sh"):
        (directory / program).symlink_to(shutil.which(program))

    out, err = (process := play(PATH=str(directory))).communicate(timeout=120)

    assert 0 == process.returncode, out + err
    assert "keyctl is not installed here" in out


def test_demo_that_fails_says_so(play, tmp_path):
    """An unusable keychain gives exit code 1 and a verdict, not a traceback."""
    out, err = (process := play(KEYLEASE_KEYCHAIN="no-such-keychain")).communicate(timeout=120)

    assert 1 == process.returncode
    assert out.splitlines()[-1].startswith("verdict: FAILED")
    assert "" == err
    assert [] == list(tmp_path.iterdir())


def test_demo_that_is_interrupted_cleans_up(play, tmp_path):
    """Ctrl-C during the demo leaves neither keys nor files."""
    process = play()
    # The first line after the login: from here on there are keys that could be left behind.
    for line in process.stdout:
        if "a clone with no prompt" in line:
            break
    (path,) = tmp_path.glob("*/throwaway/home/**/vault.json")
    vault = json.loads(path.read_text())["vault"]
    made = keys(vault)

    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=120)

    assert [True, True] == made
    assert 1 == process.returncode
    assert out.splitlines()[-1].startswith("verdict: INTERRUPTED")
    assert [False, False] == keys(vault)
    assert [] == list(tmp_path.iterdir())


def test_needs_are_checked_before_keylease_is_installed():
    """In a fresh clone the check of what the machine lacks runs on Python alone."""
    require(find_git(), "git-http", "no git here can serve HTTP")
    done = subprocess.run(
        [sys.executable, "-I", "-S", DEMO, "--check"],
        capture_output=True,
        text=True,
        check=False,
        timeout=WAIT_SECONDS,
    )

    assert (0, "", "") == (done.returncode, done.stdout, done.stderr)
