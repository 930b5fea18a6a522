"""The pin: kept where it can be, and no reason to fail where it cannot."""

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
    """Return a pin in the kernel's keyring that nobody else has, and take it away again."""
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
    """Where there is no kernel keyring the login's memory is the place."""
    exercise(runtime(tmp_path))
    if sys.platform != "win32":
        assert 0o600 == (tmp_path / "run" / "audit.pin").stat().st_mode & 0o777


@LINUX
def test_the_kernel_keeps_it(kernel):
    """It is out of reach of whoever can only change files."""
    exercise(kernel)


@LINUX
def test_a_pin_that_was_removed_since_it_was_read_is_made_anew(kernel):
    """A log that was revoked and begun again meanwhile has its pin, for every process."""
    kernel.write(FIRST)
    kernel.read()
    other = module.KernelPin(kernel._name.rpartition(":")[2], kernel._open)
    other.remove()

    assert kernel.write(SECOND)
    assert SECOND == other.read()


@LINUX
def test_another_process_finds_it_in_the_kernel(kernel):
    """It has a name that people can look for, no time-out, and nobody else can read it."""
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
    """A container that hides the calls, or a quota that is used up, refuses nothing."""

    def refuse():
        raise OSError(number, os.strerror(number))

    kernel = module.KernelPin("test", refuse)
    assert kernel.read() is None
    assert not kernel.write(FIRST)
    exercise(FirstOf(kernel, runtime(tmp_path)))


@pytest.mark.skipif(sys.platform == "win32", reason="modes are those of POSIX")
def test_a_runtime_directory_that_cannot_be_used_keeps_none(tmp_path):
    """No pin is no reason to refuse, and none is read from where others could write."""
    pin = runtime(tmp_path)
    pin.write(FIRST)
    (tmp_path / "run").chmod(0o755)

    assert pin.read() is None
    assert not pin.write(SECOND)


def test_the_first_place_that_keeps_it_counts():
    """What is written is what is read."""
    first, second = MemoryPin(), MemoryPin()
    both = FirstOf(Nowhere(), first, second)
    exercise(both)

    assert (SECOND, None) == (first.data, second.data)
    second.data, first.data = FIRST, None
    assert FIRST == both.read()


def test_nowhere_is_a_place_that_keeps_none():
    """macOS has no place that forgets."""
    assert not Nowhere().write(FIRST)
    assert Nowhere().read() is None
    assert not FirstOf().write(FIRST)
