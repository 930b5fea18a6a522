"""What a helper restricts before it has a secret; tests/security checks it from outside."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest
from support.waiting import WAIT_SECONDS

POSIX = pytest.mark.skipif(sys.platform == "win32", reason="signals are POSIX's")
IGNORING = """
import signal
signal.signal(signal.SIGHUP, signal.SIG_IGN)
from keylease.secrets import hardening
hardening.harden()
signal.raise_signal(signal.SIGHUP)
print("goes on", flush=True)
signal.raise_signal(signal.SIGTERM)
"""
LEAVING = """
import sys
from keylease.secrets import hardening
from keylease.secrets.secret import Secret
secret = Secret(b"s" * 32)
view = secret.reveal()
class Late:
    def __del__(self):
        print("the interpreter was taken apart", file=sys.stderr)
late = Late()
print("said", file=sys.stderr)
hardening.wipe_and_exit(7)
"""


def run(program: str, **more: object) -> subprocess.CompletedProcess[str]:
    """Run a program in its own process, which it may restrict."""
    words = [sys.executable, "-c", program]
    return subprocess.run(
        words, capture_output=True, text=True, check=False, timeout=WAIT_SECONDS, **more
    )


@POSIX
def test_what_is_ignored_stays_ignored():
    """nohup(1) works, and the parent sees the signal that ended the process."""
    done = run(IGNORING)

    assert ("goes on\n", -signal.SIGTERM) == (done.stdout, done.returncode)


def test_leaving_says_everything_and_ends_at_once():
    """Leaving flushes the output, returns the exit code, and skips the tear-down."""
    done = run(LEAVING)

    assert (7, "said\n") == (done.returncode, done.stderr)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux reports the state")
@pytest.mark.parametrize(
    ("variable", "expected"), [({}, "True"), ({"KEYLEASE_DUMPABLE": "1"}, "False")]
)
def test_tracers_are_refused_unless_the_user_wants_them(variable, expected):
    """Tracers are refused by default; a variable allows them."""
    program = (
        "from keylease.secrets import hardening;"
        "hardening.harden(); print(hardening.restrictions().tracers_refused)"
    )
    environment = {k: v for k, v in os.environ.items() if k != "KEYLEASE_DUMPABLE"} | variable

    assert expected == run(program, env=environment).stdout.strip()


SHUT = """
import resource
from keylease.secrets import hardening
_, most = resource.getrlimit(resource.RLIMIT_CORE)
resource.setrlimit(resource.RLIMIT_CORE, (most, most))
print(hardening.restrictions() == hardening.Restrictions(most, tracers_refused=False))
hardening.restrict_process()
hardening.restrict_process()
print(hardening.restrictions() == hardening.Restrictions(0, tracers_refused=True))
with hardening.original_core_limit():
    print(hardening.restrictions().core_limit == most)
print(hardening.restrictions().core_limit)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux reports the state")
def test_what_is_in_force_is_what_the_kernel_says():
    """The state comes from the kernel, and a repeated call keeps the original for children."""
    environment = {k: v for k, v in os.environ.items() if k != "KEYLEASE_DUMPABLE"}

    assert ["True", "True", "True", "0"] == run(SHUT, env=environment).stdout.split()


REFUSED = """
import resource
from keylease.secrets import hardening
def refuse(*_):
    raise PermissionError(1, "Operation not permitted")
resource.setrlimit = refuse
hardening._prctl = lambda option, argument: -1
hardening.restrict_process()
print(hardening.restrictions().tracers_refused)
resource.getrlimit = refuse
print(hardening.restrictions().core_limit)
with hardening.original_core_limit():
    print("goes on")
"""


@pytest.mark.skipif(sys.platform != "linux", reason="uses a seccomp filter of Linux")
def test_what_the_system_refuses_is_not_called_closed():
    """A restriction that the system refuses, or cannot report, does not count as active."""
    assert ["None", "None", "goes", "on"] == run(REFUSED).stdout.split()
