"""Memory for secrets is zero at first and after use, and never shared by two secrets."""

from __future__ import annotations

import gc
import os
import subprocess
import sys

import pytest

from keylease.errors import StateError
from keylease.secrets import memory
from keylease.secrets.memory import allocate, fill_random, joined, protection, secure_clear
from keylease.secrets.secret import Secret

SIZES = [0, 1, 31, 32, 64, 65, 4095, 4096, 4097, 100_000]


@pytest.mark.parametrize("size", SIZES)
def test_what_is_allocated_is_as_long_as_asked_for_and_zero(size):
    """New memory has the requested length and only zeros."""
    view = allocate(size)

    assert bytes(size) == bytes(view)
    assert not view.readonly


def test_no_two_views_share_memory():
    """Many secrets at once do not overwrite each other."""
    views = [allocate(size) for size in SIZES * 5]
    for number, view in enumerate(views):
        view[:] = bytes([number]) * len(view)

    assert [bytes([number]) * len(view) for number, view in enumerate(views)] == [
        bytes(view) for view in views
    ]


def test_parts_are_put_one_after_the_other_in_memory_of_their_own():
    """Joined parts are one copy that can be cleared by itself."""
    secret = Secret(b"hunter2")

    whole = joined([b"password=", secret.reveal(), b"", b"\n"])

    assert b"password=hunter2\n" == whole
    secure_clear(whole)
    assert b"hunter2" == secret.reveal()


@pytest.mark.parametrize("size", [32, 4096, 100_000])
def test_what_is_given_back_is_zero_for_the_next(size):
    """Memory is cleared before reuse even if its owner did not clear it."""
    for _ in range(50):
        view = allocate(size)
        assert not any(view)
        view[:] = b"s" * size
        del view


def test_a_view_that_is_kept_never_shows_another_secret():
    """Memory is not reused while a view of it exists."""
    kept = [allocate(32)[8:16] for _ in range(20)]
    gc.collect()
    others = [allocate(32) for _ in range(200)]
    for other in others:
        other[:] = b"s" * 32

    assert not any(any(view) for view in kept)


@pytest.mark.parametrize("size", [0, 1, 255, 256, 257, 70_000])
@pytest.mark.parametrize("make", [bytearray, lambda data: memoryview(bytearray(data))])
def test_clearing_overwrites_all_of_it_in_place(make, size):
    """Clearing zeros every byte of the given buffer itself."""
    buffer = make(b"s" * size)

    secure_clear(buffer)

    assert bytes(size) == bytes(buffer)


def test_clearing_a_part_leaves_the_rest():
    """Clearing a view clears only its part of the buffer."""
    buffer = bytearray(b"s" * 1000)

    secure_clear(memoryview(buffer)[300:700])

    assert b"s" * 300 + bytes(400) + b"s" * 300 == buffer


@pytest.mark.parametrize("wrong", [b"constant", memoryview(b"constant"), "text", 5, None])
def test_what_cannot_be_cleared_is_refused(wrong):
    """Clearing `bytes` is refused, as Python may share them."""
    with pytest.raises(TypeError):
        secure_clear(wrong)


def test_random_bytes_go_straight_to_their_place():
    """A key of any length is random, and no two are equal."""
    secrets = [Secret.random(length) for length in (32, 32, 600)]
    drawn = {bytes(secret.reveal()) for secret in secrets}

    assert [32, 32, 600] == sorted(map(len, drawn))


def test_a_generator_that_fails_is_a_refusal(monkeypatch):
    """A failing random generator gives an error, not a weak key."""

    def fail(_):
        raise OSError(5, "no entropy")

    monkeypatch.setattr(memory, "_fill_random", fail)

    with pytest.raises(StateError, match="random generator"):
        fill_random(allocate(32))


def test_a_wiped_secret_reveals_nothing_and_equals_nothing():
    """A wiped secret reveals no zeros and equals no other, not even another wiped one."""
    one, other = Secret(b"a" * 32), Secret(b"b" * 32)
    one.wipe()
    other.wipe()

    assert not one.matches(other)
    assert not one.matches(one)
    with pytest.raises(ValueError, match="the secret was wiped"):
        one.reveal()


@pytest.mark.parametrize("size", [-1, -64])
def test_a_negative_size_is_refused(size):
    """A negative length is refused."""
    with pytest.raises(ValueError, match="-"):
        Secret.random(size)


THREADS = """
import gc, os, sys, threading
from keylease.secrets.memory import allocate
from keylease.secrets.secret import Secret
sys.setswitchinterval(1e-6)
gc.set_threshold(5)
wrong = []
class Cycle:
    def __init__(self, data):
        self.me = self
        self.secret = Secret(data)
def work(number):
    held = []
    for turn in range(1500):
        data = bytes([number]) * (1, 31, 64, 65, 500, 4096, 5000)[turn % 7]
        held.append((Secret(data), data))
        Cycle(data)  # it ends in the collector, in whichever thread that runs
        if any(allocate(len(data))):
            wrong.append("another's bytes")
        if len(held) > 20:
            secret, expected = held.pop(turn % 20)
            if secret.reveal() != expected:
                wrong.append("overwritten")
threads = [threading.Thread(target=work, args=(number,)) for number in range(1, 5)]
for thread in threads:
    thread.start()
while hasattr(os, "fork") and any(thread.is_alive() for thread in threads):
    child = os.fork()
    if not child:
        data = b"child" * 10
        secret = Secret(data)
        gc.collect()
        os._exit(0 if secret.reveal() == data else 1)
    if os.waitpid(child, 0)[1]:
        wrong.append("in a child")
for thread in threads:
    thread.join()
print(wrong)
"""


def test_threads_the_collector_and_forks_get_in_nobodys_way():
    """Threads, the collector and forks can use secrets at once without mixing them or hanging.

    The memory has no lock for which a forked child or a `__del__` could wait for ever.
    """
    # Since 3.12 Python warns of a fork beside threads, which this test does on purpose.
    quiet = "import warnings\nwarnings.simplefilter('ignore', DeprecationWarning)\n"

    assert ["[]"] == lines(quiet + THREADS)


CLEARED = """
from keylease.secrets import memory
from keylease.secrets.secret import Secret
secret = Secret(b"s" * 32)
view = secret.reveal()
memory.clear_all()
print(any(view))
try:
    secret.reveal()
except ValueError as error:
    print(error)
"""


def test_everything_can_be_cleared_at_once():
    """On a signal every secret is overwritten and can no longer be revealed."""
    assert [
        "False",
        "the secret was wiped with all others, by a fork or at the end of the process",
    ] == (lines(CLEARED))


LATE = """
from keylease.secrets import memory
from keylease.secrets.secret import Secret
memory.kept = lambda: None  # so this module goes last
secret = Secret(b"s" * 32)
view = secret.reveal()
"""


def test_a_secret_that_outlives_the_modules_is_wiped_in_silence():
    """A secret that outlives its modules at exit is wiped without a traceback."""
    assert [] == lines(LATE)


LIMITED = """
import os, resource
from keylease.secrets.memory import protection
from keylease.secrets.secret import Secret
resource.setrlimit(resource.RLIMIT_MEMLOCK, (0, 0))
if os.geteuid() == 0:  # root is above the limit
    os.setresuid(65534, 65534, 65534)
secret = Secret(b"hunter2")
print(protection().locked, bool(protection().reason), bytes(secret.reveal()))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such limit")
def test_a_limit_that_is_used_up_is_told_and_changes_nothing_else():
    """If no memory can be locked, secrets still work, and the program can tell."""
    assert ["False True b'hunter2'"] == lines(LIMITED)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux reports the flags in smaps")
def test_memory_is_locked_undumped_and_wiped_on_fork():
    """The kernel reports the memory as locked, undumped and wiped on fork (proc(5), smaps)."""
    said = lines(
        "import ctypes; from keylease.secrets.memory import allocate, protection\n"
        "view = allocate(32); print(protection())\n"
        "at = ctypes.addressof(ctypes.c_char.from_buffer(view))\n"
        "inside = False\n"
        "for line in open('/proc/self/smaps'):\n"
        "    first = line.split()[0]\n"
        "    if '-' in first:\n"
        "        start, end = (int(part, 16) for part in first.split('-'))\n"
        "        inside = start <= at < end\n"
        "    elif inside and line.startswith('VmFlags'):\n"
        "        print(sorted({'lo', 'dd', 'wf'} & set(line.split())))\n"
    )

    assert protection()._replace(locked=True, reason="") == memory.Protection()
    if "locked=True" in said[0]:
        assert "['dd', 'lo', 'wf']" == said[1]
    else:
        assert "['dd', 'wf']" == said[1]


FORKED = """
import os
from keylease.secrets.secret import Secret
secret = Secret(b"s" * 32)
view = secret.reveal()
child = os.fork()
if not child:
    try:
        secret.reveal()
    except ValueError as error:
        print(any(view), error, flush=True)
    own = Secret(b"own")
    print(bytes(own.reveal()), flush=True)
    os._exit(0)
os.waitpid(child, 0)
print(bytes(secret.reveal()))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform has no fork")
def test_a_forked_child_is_told_and_can_have_secrets_of_its_own():
    """A forked child never takes zeros for a secret, and the parent's secret stays."""
    told, own, parents = lines(FORKED)

    assert told.startswith("False the secret was wiped with all others")
    assert ("b'own'", repr(b"s" * 32)) == (own, parents)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform has no fork")
def test_a_forked_child_has_zeros_where_the_kernel_does_not_see_to_it():
    """Without the kernel's help (Linux before 4.14, macOS) the child is cleared by Python."""
    told, own, parents = lines(
        "from keylease.secrets import memory\nmemory._advise = lambda *_: False" + FORKED
    )

    assert told.startswith("False the secret was wiped with all others")
    assert ("b'own'", repr(b"s" * 32)) == (own, parents)


def lines(program: str) -> list[str]:
    """Run a program and return what it printed."""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    )
    assert "" == done.stderr
    return done.stdout.splitlines()
