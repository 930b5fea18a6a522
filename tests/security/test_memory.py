"""No copy of a secret is left in the helper when it ends, however it ends.

A second process stops it at its very end (ptrace(2), PTRACE_EVENT_EXIT) and searches all of its
memory. The searcher masks the patterns in its own memory. Each scan has a control that is found,
and unreadable memory is counted.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from typing import TYPE_CHECKING

import pytest
from support import refused_keys
from support.memory_scan import (
    GET,
    PASSWORD,
    STORE,
    TOKEN,
    credential,
    keys,
    left,
    needles,
    require_scan,
    run,
    stopped_at_its_end,
)
from support.requirements import require
from support.waiting import WAIT_SECONDS, process_state, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.memory_scan import Needle, Scan
    from support.throwaway import Throwaway

MEMORY = "/dev/shm"  # noqa: S108 - each test has a directory of its own in it
# What ends the helper halfway: the interrupted call, and the signal.
IMPORTS = "from keylease.errors import *; from keylease.protocols import git"
BROKEN = """
import sys
import keylease.{module} as module
{before}
def broken(*arguments, **named):
    {fault}
{place} = broken
from keylease.helper import main
main("git", sys.argv[1:])
"""


@pytest.fixture(autouse=True)
def _scanner() -> None:
    """Prove before every test here that a secret would be found."""
    require_scan()


def operate(home: Throwaway, operation: str, stdin: bytes) -> tuple[Scan, bytes]:
    """Run one operation of the helper, and search it for every secret that it handled."""
    program = home.find("git-credential-keylease") or ""
    with stopped_at_its_end(
        [program, operation],
        stdin=stdin,
        environment=home.environment,
        directory=str(home.home),
    ) as traced:
        # Read the keys from the keychain only now: a first store has just made them.
        return traced.scan(credential() + keys(home)), traced.answer()


def script(home: Throwaway, source: str, operation: str, stdin: bytes, wanted: list[Needle]):
    """Run a Python program in the home as the helper, and search it."""
    words = [sys.executable, "-c", source, operation]
    return run(words, stdin, home.environment, str(home.home), wanted)


def test_nothing_is_left_after_an_answer(home: Throwaway) -> None:
    """No password, token, key or share is left, with each keychain, whatever git asked."""
    done = []
    for operation, stdin in (
        ("store", STORE),
        ("get", GET),
        ("store", STORE),
        ("get", GET),
        ("erase", STORE.replace(PASSWORD, b"another")),
    ):
        found, answer = operate(home, operation, stdin)
        assert (operation == "get") == (PASSWORD in answer and TOKEN in answer)
        assert {"password", "share", "vault key", "audit key"} <= found.hits.keys()
        done.append((operation, left(found)))

    assert [("store", []), ("get", []), ("store", []), ("get", []), ("erase", [])] == done


@pytest.fixture
def runtime() -> Iterator[str]:
    """Return a directory on a file system in memory, like a login's runtime directory."""
    require(os.path.ismount(MEMORY), "linux", f"there is no {MEMORY}")
    with tempfile.TemporaryDirectory(prefix="keylease-", dir=MEMORY) as directory:
        yield directory


def test_nothing_is_left_where_there_is_no_kernel_keyring(desktop, runtime) -> None:
    """In a container the share is a file in memory, and reading it leaves no copy either."""
    desktop.home.environment["XDG_RUNTIME_DIR"] = runtime
    filtered = [sys.executable, refused_keys.__file__, "EPERM"]
    program = desktop.home.find("git-credential-keylease") or ""
    done = []
    for operation, stdin in (("store", STORE), ("get", GET)):
        with stopped_at_its_end(
            [*filtered, program, operation],
            stdin=stdin,
            environment=desktop.home.environment | {"PYTHONPATH": os.pathsep.join(sys.path)},
            directory=str(desktop.home.home),
        ) as traced:
            found = traced.scan(credential() + keys(desktop.home))
            assert (operation == "get") == (PASSWORD in traced.answer())
        assert "share" in found.hits
        done.append((operation, left(found)))

    assert [("store", []), ("get", [])] == done


def test_what_the_keyring_library_leaves_is_what_is_documented(desktop) -> None:
    """The keyring library takes and returns a key as text, and only that text remains."""
    pytest.importorskip("secretstorage", reason="the library's backend for Linux needs it")
    home = desktop.home
    home.environment["KEYLEASE_KEYCHAIN"] = "library:keyring.backends.SecretService.Keyring"
    for operation, stdin in (("store", STORE), ("get", GET)):
        found, answer = operate(home, operation, stdin)
        left_by_name = {name for name, hits in found.hits.items() if hits}

        assert (operation == "get") == (PASSWORD in answer)
        # Chance decides which of the two texts was overwritten.
        assert left_by_name <= {"vault key in base64", "audit key in base64"}
        assert left_by_name, "the control: else the document says more than there is"


@pytest.mark.parametrize(
    ("place", "fault"),
    [
        ("module.SessionService.handle", "raise RuntimeError('a slip')"),
        ("module.git.render", "raise RuntimeError('a slip with everything open')"),
        ("module.git.render", "raise RequestError('a refusal with everything open')"),
        ("module.SessionService.release", "raise StateError('a refusal')"),
        ("module.SessionStore.exclusive", "raise LockTimeoutError('too late')"),
        ("module.AuditLog.log", "raise AuditError('a full disk')"),
    ],
)
@pytest.mark.parametrize(("operation", "stdin"), [("get", GET), ("store", STORE)])
def test_nothing_is_left_after_an_error(kernel_home, place, fault, operation, stdin) -> None:
    """An invalid request, a refusal, a timeout and an unwritable log leave no secret either."""
    kernel_home.run("git-credential-keylease", "store", stdin=STORE.decode())
    source = BROKEN.format(
        module="wiring", before=f"{IMPORTS}; module.git = git", place=place, fault=fault
    )

    found, answer = script(kernel_home, source, operation, stdin, credential() + keys(kernel_home))

    assert b"" == answer
    assert [] == left(found)


def test_nothing_is_left_after_an_answer_that_nobody_takes(kernel_home) -> None:
    """If git has gone before the answer (EPIPE), the helper leaves no secret."""
    kernel_home.run("git-credential-keylease", "store", stdin=STORE.decode())
    source = (
        "import os, sys; r, w = os.pipe(); os.dup2(w, 1); os.close(r); os.close(w)\n"
        "from keylease.helper import main; main('git', sys.argv[1:])"
    )

    found, _ = script(kernel_home, source, "get", GET, credential() + keys(kernel_home))

    assert [] == left(found)
    told = [line["event"] for line in kernel_home.audit()[-2:]]
    assert ["session.released", "session.refused"] == told, "the control: it was opened"


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT", "SIGHUP", "SIGQUIT"])
def test_nothing_is_left_after_a_signal(kernel_home, name) -> None:
    """A signal that ends the helper while it has the secret wipes it, and shows as the cause."""
    kernel_home.run("git-credential-keylease", "store", stdin=STORE.decode())
    source = BROKEN.format(
        module="system.streams",
        before="import os, signal",
        place="module._write_some",
        fault=f"os.kill(os.getpid(), signal.{name})",
    )
    words = [sys.executable, "-c", source, "get"]
    wanted = credential() + keys(kernel_home)
    with stopped_at_its_end(
        words,
        stdin=GET,
        environment=kernel_home.environment,
        directory=str(kernel_home.home),
    ) as traced:
        found = traced.scan(wanted)
        status = traced.status

    assert [] == left(found)
    assert getattr(signal, name) == status & 0x7F


def test_without_the_handler_a_signal_leaves_the_secret(kernel_home) -> None:
    """The control of the test above: SIGKILL, which cannot be handled, leaves the secret."""
    kernel_home.run("git-credential-keylease", "store", stdin=STORE.decode())
    source = BROKEN.format(
        module="system.streams",
        before="import os, signal",
        place="module._write_some",
        fault="os.kill(os.getpid(), signal.SIGKILL)",
    )

    found, _ = script(kernel_home, source, "get", GET, credential())

    assert 1 <= found.hits["password"]
    assert all("anonymous" in place for place in found.places), "it is in the arena, nowhere else"


FORKING = """
import os, sys
from keylease.secrets import memory
from keylease.secrets.secret import Secret
if sys.argv[1] == "raw":
    import ctypes
    fork = ctypes.PyDLL(None).fork
else:
    fork = os.fork
view = memory.allocate(64)
os.readv(0, [view])
secret = Secret(view)
memory.secure_clear(view)
child = fork()
if not child:
    os.write(1, b"c")
    os.kill(os.getpid(), 19)
    os._exit(0)
os.write(1, b"%d " % child)
os.kill(os.getpid(), 19)
"""


@pytest.mark.parametrize("way", ["python", "raw"])
def test_a_forked_child_has_no_secret(way) -> None:
    """A forked child has zeros where its parent has the secret, whatever code called fork."""
    from keylease.cli.doctor.scan import scan  # noqa: PLC0415 - not on every platform

    secret = os.urandom(32).hex().encode()
    wanted = needles("secret", secret)
    parent = subprocess.Popen(
        [sys.executable, "-c", FORKING, way], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    child = 0
    try:
        assert parent.stdin is not None
        assert parent.stdout is not None
        parent.stdin.write(secret)
        parent.stdin.close()
        parent.stdin = None
        said = b""
        while b" " not in said or b"c" not in said:
            said += os.read(parent.stdout.fileno(), 100)
        child = int(said.replace(b"c", b""))
        os.waitpid(parent.pid, os.WUNTRACED)
        hits = {}
        for who, pid in (("parent", parent.pid), ("child", child)):
            _wait_until_stopped(pid)
            memory, maps = (os.open(f"/proc/{pid}/{file}", os.O_RDONLY) for file in ("mem", "maps"))
            hits[who] = scan(maps, memory, wanted).hits["secret"]
            os.close(memory)
            os.close(maps)
    finally:
        for pid in filter(None, (child, parent.pid)):
            os.kill(pid, signal.SIGKILL)
        parent.communicate(timeout=WAIT_SECONDS)

    assert {"parent": 1, "child": 0} == hits


def _wait_until_stopped(pid: int) -> None:
    wait_until(lambda: process_state(pid) == "T", f"process {pid} is stopped")
