"""A run that leaves something behind fails and names it."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from support.kernel_keyring import keyctl, require_kernel_keyring, require_keyctl
from support.waiting import WAIT_SECONDS, ended, wait_until

if sys.platform != "linux":
    pytest.skip("needs /proc to list keys and processes", allow_module_level=True)

from support.leftovers import NAME, Key, living_keys

CONFTEST = """
from pathlib import Path
from support.leftovers import Leftovers

def pytest_configure(config):
    config.pluginmanager.register(Leftovers(Path("own")), "leftovers")
"""
# What /proc/keys says, one key of each fate.
LISTED = """\
03ae913e I--Q---     1 perm 0c030000     0 65534 keyring   .user_reg: 2
04bb6913 I--Q---     1 14m  3f010000  1000  1000 user      keylease:share:00ff: 32
04bb6914 I--Q---     1 expd 3f010000  1000  1000 user      keylease:share:01ff: 32
04bb6915 I--Q--i     1 14m  3f010000  1000  1000 user      keylease:share:02ff: 32
04bb6916 IR-Q---     1 perm 3f010000  1000  1000 user      keylease:share:03ff: 32
04bb6917 I--Q---     1 perm 3f010000  1001  1000 user      keylease:share:04ff: 32
04bb6918 I--Q---     1 perm 3f010000  1000  1000 user      keylease:c0de:audit-key.1: 32
04bb6919 I--Q---     1 perm 3f010000  1000  1000 user      somebody:else: 32
"""
KEY = """
import subprocess
def test_that_leaves_a_key():
    name = "keylease:share:{name}"
    subprocess.run(["keyctl", "add", "user", name, "x", "@u"], check=True, timeout=60)
def test_that_leaves_nothing():
    assert True
"""
FILE = """
import tempfile
def test_that_leaves_a_directory():
    tempfile.mkdtemp(prefix="kl-left-")
"""
DAEMON = """
import os, subprocess, sys
def test_that_leaves_a_process(tmp_path):
    program = "import os, time; os.fork() and os._exit(0); time.sleep(600)"
    words = [sys.executable, "-c", program]
    # As an orphan, and known by nothing but the home of its test.
    subprocess.run(words, env={"HOME": str(tmp_path)}, start_new_session=True, timeout=60)
"""
CHILD = """
import subprocess, sys
started = []
def test_that_leaves_a_child():
    started.append(subprocess.Popen(["sleep", "600"], env={}))
"""


@pytest.fixture
def session(tmp_path):
    """Return a function that runs tests in a separate pytest with the plugin."""
    (tmp_path / "tmp").mkdir()
    (tmp_path / "conftest.py").write_text(CONFTEST, encoding="utf-8")
    support = str(Path(__file__).parent)
    environment = {**os.environ, "PYTHONPATH": support, "TMPDIR": str(tmp_path / "tmp")}
    environment.pop("PYTEST_DEBUG_TEMPROOT", None)

    def run(source):
        (tmp_path / "test_inner.py").write_text(source, encoding="utf-8")
        words = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_inner.py"]
        return subprocess.run(
            words,
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=WAIT_SECONDS,
        )

    return run


def test_keys_that_live_are_told_from_those_that_are_over():
    """Expired keys, and keys of other users or programs, are no leftovers."""
    expected = {
        Key("04bb6913", "keylease:share:00ff"),
        Key("04bb6918", "keylease:c0de:audit-key.1"),
    }

    assert expected == living_keys(LISTED, 1000)


def test_run_that_leaves_nothing_passes(session):
    """The control: a clean run passes."""
    done = session("def test_nothing(tmp_path): (tmp_path / 'file').touch()")

    assert 0 == done.returncode, done.stdout
    assert "1 passed in" in done.stdout.splitlines()[-1]
    assert NAME not in done.stdout


def test_key_that_is_left_fails_the_run(session):
    """A leftover key fails the run, and the report names it and its test."""
    require_kernel_keyring()
    require_keyctl()
    name = f"keylease:share:{os.urandom(8).hex()}"

    done = session(KEY.replace("keylease:share:{name}", name))

    keyctl("purge", "-s", "user", name)
    assert 1 == done.returncode
    assert f"key {name} (" in done.stdout
    assert "test_inner.py::test_that_leaves_a_key" in done.stdout
    assert "2 passed, 1 error in" in done.stdout.splitlines()[-1]


def test_file_that_is_left_fails_the_run(session, tmp_path):
    """A leftover bus directory outside pytest's own directories fails the run."""
    done = session(FILE)

    assert 1 == done.returncode
    assert "kl-left-" in done.stdout
    assert "test_inner.py::test_that_leaves_a_directory" in done.stdout
    left = [path.name for path in (tmp_path / "tmp").iterdir()]
    assert [] == [name for name in left if not name.startswith("pytest-of-")], "it is removed"


@pytest.mark.parametrize("source", [DAEMON, CHILD], ids=["daemon", "child"])
def test_process_that_is_left_fails_the_run(session, source):
    """A leftover process fails the run: a daemon by its home, a child by its parent."""
    done = session(source)

    found = [line for line in done.stdout.splitlines() if line.startswith("process ")]
    for line in found:
        pid = int(line.split()[1].rstrip(":"))
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda pid=pid: ended(pid), line)
    assert 1 == len(found), done.stdout
    assert 1 == done.returncode
    assert NAME in done.stdout
