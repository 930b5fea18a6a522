"""What a helper shuts before it has a secret; what others see of it is in tests/security."""

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
    """Run a program in a process of its own, which it may shut as it likes."""
    words = [sys.executable, "-c", program]
    return subprocess.run(
        words, capture_output=True, text=True, check=False, timeout=WAIT_SECONDS, **more
    )


@POSIX
def test_what_is_ignored_stays_ignored():
    """nohup(1) works, and a signal that ends the process is the one that its parent sees."""
    done = run(IGNORING)

    assert ("goes on\n", -signal.SIGTERM) == (done.stdout, done.returncode)


def test_leaving_says_everything_and_ends_at_once():
    """What was said is not lost, the exit code is passed on, and no tear-down follows."""
    done = run(LEAVING)

    assert (7, "said\n") == (done.returncode, done.stderr)


@pytest.mark.skipif(sys.platform != "linux", reason="it can be asked for on Linux only")
@pytest.mark.parametrize(
    ("variable", "expected"), [({}, "True"), ({"KEYLEASE_DUMPABLE": "1"}, "False")]
)
def test_tracers_are_refused_unless_the_user_wants_them(variable, expected):
    """The opt-out is a variable, and it is off."""
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


@pytest.mark.skipif(sys.platform != "linux", reason="it can be asked for on Linux only")
def test_what_is_in_force_is_what_the_kernel_says():
    """It is asked, not remembered; and what is handed on is what was given, however often shut."""
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


@pytest.mark.skipif(sys.platform != "linux", reason="what refuses is a filter as Linux has them")
def test_what_the_system_refuses_is_not_called_closed():
    """A sandbox that refuses the calls stops nobody, and a refusal to tell is no yes."""
    assert ["None", "None", "goes", "on"] == run(REFUSED).stdout.split()
