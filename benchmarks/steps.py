"""Count the steps of one answer: function calls, module entries and system calls of one `get`.

Times drift with the machine; steps do not. The count is of `keylease.helper.run` alone, in a warm
process, so imports and the start of the interpreter are left out. System calls are counted where
strace is installed. It works in a throwaway HOME, with a credential made up for the purpose.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(CHECKOUT / "tests"))

from support.throwaway import Throwaway  # noqa: E402 (after the line above)
from support.tracing import READABLE  # noqa: E402 (after the line above)

REQUEST = "protocol=https\nhost=git.example\n"
CREDENTIAL = f"{REQUEST}username=ada\npassword=made-up\n\n"

# Runs in the home. The first answer warms up; the second one is counted.
_COUNT = """
import json, os, sys
from collections import Counter

from keylease import helper

def ask():
    read, write = os.pipe()
    os.write(write, sys.argv[1].encode())
    os.close(write)
    os.dup2(read, 0)
    os.close(read)
    return helper.run("git", ["get"])

silent = os.open(os.devnull, os.O_WRONLY)
told = os.dup(1)
os.dup2(silent, 1)
ask()
calls, entries, last = Counter(), 0, [None]

def profile(frame, event, argument):
    global entries
    if event != "call":
        return
    module = frame.f_globals.get("__name__", "")
    if not module.startswith("keylease"):
        return
    calls[module] += 1
    caller = frame.f_back.f_globals.get("__name__", "") if frame.f_back else ""
    entries += caller != module

os.access("/counted from here", os.F_OK)
if "uncounted" not in sys.argv:
    sys.setprofile(profile)
code = ask()
sys.setprofile(None)
os.access("/counted to here", os.F_OK)
os.dup2(told, 1)
print(json.dumps({"code": code, "entries": entries, "calls": calls}))
"""

COMMAND = [sys.executable, "-I", "-c", _COUNT, f"{REQUEST}\n"]


def system_calls(home: Throwaway) -> Counter[str]:
    """Return how often one answer makes each system call; nothing without strace."""
    strace = shutil.which("strace")
    if strace is None:
        return Counter()
    trace = home.home / "trace"
    subprocess.run(
        [strace, "-f", "-o", trace, *COMMAND, "uncounted"],
        env=home.environment | READABLE,
        capture_output=True,
        check=True,
    )
    counted = trace.read_text().split("/counted from here")[1].split("/counted to here")[0]
    names = re.findall(r"^\d+ +(\w+)\(", counted, re.MULTILINE)
    # The last call is the marker.
    return Counter(names[:-1])


def main() -> int:
    """Count one answer, print the figures, and return 0 if there was an answer."""
    keychain = os.environ.get("KEYLEASE_KEYCHAIN", "kernel")
    with (
        tempfile.TemporaryDirectory() as directory,
        Throwaway(Path(directory), {"KEYLEASE_KEYCHAIN": keychain}) as home,
    ):
        home.run("git-credential-keylease", "store", stdin=CREDENTIAL)
        done = subprocess.run(
            COMMAND, env=home.environment, capture_output=True, check=True, text=True
        )
        system = system_calls(home)
    told = json.loads(done.stdout)
    calls: dict[str, int] = told["calls"]
    print(f"one get: {sum(calls.values())} calls in {len(calls)} modules,", end=" ")
    print(f"which are entered {told['entries']} times")
    for module, count in sorted(calls.items(), key=lambda pair: -pair[1])[:12]:
        print(f"  {count:5} {module}")
    if system:
        keyrings = system["keyctl"] + system["add_key"]
        print(f"{system.total()} system calls, {keyrings} of them to the kernel's keyrings")
    return int(told["code"])


if __name__ == "__main__":
    sys.exit(main())
