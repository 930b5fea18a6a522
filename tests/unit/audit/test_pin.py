"""The pin is kept where possible, and its absence is never an error."""

import errno
import os
import sys
from pathlib import Path

import pytest
from support.audit_place import MemoryPin
from support.kernel_keyring import keyctl, require_kernel_keyring, require_keyctl

from keylease.audit import pin as module
from keylease.audit.head import HEAD_BYTES
from keylease.audit.pin import FirstOf, Nowhere, RuntimeDirPin
from keylease.statefile import Directory

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="the kernel keyring is Linux's")
FIRST, SECOND = b"1" * HEAD_BYTES, b"2" * HEAD_BYTES


def runtime(path):
    """Return the pin of a runtime directory."""
    return RuntimeDirPin(
        lambda: Directory.open(str(path / "run"), create=True),
        lambda: Directory.open(str(path / "run")),
    )


@pytest.fixture
def kernel():
    """Return a pin of its own in the kernel's keyring, and remove it afterwards."""
    require_kernel_keyring()
    from keylease.system.keyctl import KEYCTL_UNLINK, USER_KEYRING, Calls  # noqa: PLC0415 - Linux's

    name = f"test-{os.urandom(8).hex()}"
    yield module.KernelPin(name, Calls)
    calls = Calls()
    calls.possess()
    serial = calls.find(f"keylease:audit-pin:{name}")
    if serial is not None:
        calls.keyctl(KEYCTL_UNLINK, serial, USER_KEYRING)


def exercise(pin):
    """Write and overwrite a pin."""
    assert pin.read() is None
    assert pin.write(FIRST)
    assert FIRST == pin.read()
    assert pin.write(SECOND)
    assert SECOND == pin.read()


def test_a_file_of_the_runtime_directory_keeps_it(tmp_path):
    """Without a kernel keyring the runtime directory keeps the pin."""
    exercise(runtime(tmp_path))
    if sys.platform != "win32":
        assert 0o600 == (tmp_path / "run" / "audit.pin").stat().st_mode & 0o777


@LINUX
def test_the_kernel_keeps_it(kernel):
    """A pin in the kernel is out of reach of programs that can only change files."""
    exercise(kernel)


@LINUX
def test_a_pin_that_was_removed_since_it_was_read_is_made_anew(kernel):
    """A pin that another process removed is made again and found by every process."""
    kernel.write(FIRST)
    kernel.read()
    other = module.KernelPin(kernel._name.rpartition(":")[2], kernel._open)
    other.remove()

    assert kernel.write(SECOND)
    assert SECOND == other.read()


@LINUX
def test_another_process_finds_it_in_the_kernel(kernel):
    """Another process finds the pin by its name; it never expires and no other user can read it."""
    require_keyctl()
    kernel.write(FIRST)
    serial = keyctl("search", "@u", "user", kernel._name)

    assert FIRST.decode() == keyctl("pipe", serial)
    kind, *_, permissions, name = keyctl("rdescribe", serial).split(";")
    assert ("user", "3f3f0000", kernel._name) == (kind, permissions, name)
    expiry = [line.split() for line in Path("/proc/keys").read_text().splitlines()]
    (mine,) = [words for words in expiry if kernel._name in " ".join(words)]
    assert "perm" == mine[3]


@LINUX
@pytest.mark.parametrize("number", [errno.ENOSYS, errno.EPERM, errno.EACCES, errno.EDQUOT])
def test_without_a_kernel_keyring_the_next_place_keeps_it(number, tmp_path):
    """If the kernel's calls are hidden or the quota is full, the next place keeps the pin."""

    def refuse():
        raise OSError(number, os.strerror(number))

    kernel = module.KernelPin("test", refuse)
    assert kernel.read() is None
    assert not kernel.write(FIRST)
    exercise(FirstOf(kernel, runtime(tmp_path)))


@pytest.mark.skipif(sys.platform == "win32", reason="modes are those of POSIX")
def test_a_runtime_directory_that_cannot_be_used_keeps_none(tmp_path):
    """An unusable runtime directory keeps no pin, and none is read where others could write."""
    pin = runtime(tmp_path)
    pin.write(FIRST)
    (tmp_path / "run").chmod(0o755)

    assert pin.read() is None
    assert not pin.write(SECOND)


def test_the_first_place_that_keeps_it_counts():
    """The first place that works is used for both writing and reading."""
    first, second = MemoryPin(), MemoryPin()
    both = FirstOf(Nowhere(), first, second)
    exercise(both)

    assert (SECOND, None) == (first.data, second.data)
    second.data, first.data = FIRST, None
    assert FIRST == both.read()


def test_nowhere_is_a_place_that_keeps_none():
    """On macOS, which has no volatile place, there is no pin and no error."""
    assert not Nowhere().write(FIRST)
    assert Nowhere().read() is None
    assert not FirstOf().write(FIRST)
