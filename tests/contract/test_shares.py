"""Every volatile store of this machine, and the fake, keep the same contract."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support.kernel_keyring import require_kernel_keyring
from support.requirements import require
from support.shares import MemoryShares
from support.waiting import wait_until

from keylease.secrets.secret import random_bytes
from keylease.shares.base import SHARE_BYTES, ShareUnavailableError
from keylease.shares.kernel import KernelShares
from keylease.shares.runtimedir import RuntimeDirShares
from keylease.statefile import Directory
from keylease.testing import FrozenClock

if TYPE_CHECKING:
    from collections.abc import Iterator

    from keylease.shares.base import ShareStore

MEMORY = (
    "/dev/shm"  # noqa: S108 - a file system in memory, in which each test has its own directory
)


@pytest.fixture
def session() -> str:
    """Return an unused session id."""
    return random_bytes(16).hex()


@pytest.fixture
def kernel(session: str) -> Iterator[KernelShares]:
    """Return the kernel's keyring; destroy the test's share afterwards."""
    require_kernel_keyring()
    shares = KernelShares()
    yield shares
    shares.destroy(session)


@pytest.fixture
def runtime() -> Iterator[RuntimeDirShares]:
    """Return a directory in memory."""
    require(os.path.ismount(MEMORY), "linux", f"there is no {MEMORY}")
    root = Path(tempfile.mkdtemp(prefix="keylease-", dir=MEMORY))
    path = str(root / "shares")
    yield RuntimeDirShares(lambda: Directory.open(path, create=True), lambda: Directory.open(path))
    shutil.rmtree(root)


@pytest.fixture
def windows(session: str) -> Iterator[ShareStore]:
    """Return Windows Credential Manager; delete the test's share afterwards."""
    if sys.platform != "win32":
        pytest.skip("Credential Manager is Windows' own")
    from keylease.shares.windows import WindowsShares  # noqa: PLC0415 - it is nowhere else

    shares = WindowsShares()
    yield shares
    shares.destroy(session)


@pytest.fixture
def memory() -> ShareStore:
    """Return the fake that other tests use."""
    return MemoryShares(FrozenClock())


@pytest.fixture(params=["kernel", "runtime", "windows", "memory"])
def shares(request: pytest.FixtureRequest) -> ShareStore:
    """Return each store of this machine, and the fake."""
    found: ShareStore = request.getfixturevalue(request.param)
    return found


def is_found(shares: ShareStore, session: str) -> bool:
    """Return whether the share can be read.

    Only a store that erases may report a missing share as ended. Elsewhere the share may be in
    another login, so the session must not end.
    """
    try:
        found = shares.read(session)
    except ShareUnavailableError:
        assert not shares.erases
        return False
    assert found is not None or shares.erases
    return found is not None


def test_share_is_read_as_it_was_made(shares: ShareStore, session: str) -> None:
    """Another object, as in another process, reads the same share."""
    made = shares.create(session, 60)
    read = shares.read(session)

    assert made is not None
    assert read is not None
    assert made.matches(read)
    assert SHARE_BYTES == len(bytes(read.reveal()))


def test_no_two_sessions_have_one_share(shares: ShareStore, session: str) -> None:
    """Two sessions have different shares, so one's key opens no other."""
    other = random_bytes(16).hex()
    made, another = shares.create(session, 60), shares.create(other, 60)
    shares.destroy(other)

    assert made is not None
    assert another is not None
    assert not made.matches(another)
    assert shares.read(session) is not None


def test_destroyed_share_is_gone(shares: ShareStore, session: str) -> None:
    """A destroyed share cannot be read, and destroying it again is no error."""
    shares.create(session, 60)

    shares.destroy(session)
    shares.destroy(session)

    assert not is_found(shares, session)


def test_share_that_dies_after_it_was_read_can_still_be_prolonged(
    shares: ShareStore, session: str
) -> None:
    """Prolonging a share that ended after it was read is no error and does not revive it."""
    shares.create(session, 60)
    shares.read(session)

    shares.destroy(session)
    shares.prolong(session, 60)

    assert not is_found(shares, session)


def test_share_that_never_was_is_absent(shares: ShareStore, session: str) -> None:
    """A session of another boot has no share, and reading it is no error."""
    other = random_bytes(16).hex()
    shares.destroy(session)
    shares.create(other, 60)

    shares.prolong(session, 60)
    found = is_found(shares, session)
    shares.destroy(other)

    assert not found


def test_kernel_destroys_the_share_by_itself(kernel: KernelShares, session: str) -> None:
    """The kernel ends a share at its time even if no process ends the session."""
    kernel.create(session, 1)
    made = time.monotonic()
    alive = kernel.read(session) is not None
    while kernel.read(session) is not None:
        assert time.monotonic() - made < 30, "the share did not expire"

    assert alive


def test_prolonged_share_outlives_its_first_time(kernel: KernelShares, session: str) -> None:
    """A use gives the share a new end."""
    sibling = random_bytes(16).hex()
    kernel.create(session, 1)
    kernel.create(sibling, 1)
    kernel.prolong(session, 60)
    wait_until(lambda: kernel.read(sibling) is None, "the kernel lets the share die")

    assert kernel.read(session) is not None


def test_expired_share_leaves_the_list_of_keys_when_destroyed(
    kernel: KernelShares, session: str
) -> None:
    """Ending a session removes its expired key, which the kernel would list for minutes."""
    kernel.create(session, 1)
    wait_until(lambda: kernel.read(session) is None, "the kernel lets the share die")

    kernel.destroy(session)

    started = time.monotonic()
    while session in Path("/proc/keys").read_text("utf-8"):
        assert time.monotonic() - started < 30, "the kernel did not collect the key"


def test_sweep_removes_what_no_session_has(runtime: RuntimeDirShares, session: str) -> None:
    """Shares in files do not expire, so those without a session are removed."""
    other = random_bytes(16).hex()
    runtime.create(session, 60)
    runtime.create(other, 60)

    assert 0 == runtime.sweep({session, other})
    assert 1 == runtime.sweep({session})

    assert is_found(runtime, session)
    assert not is_found(runtime, other)


def test_store_that_cannot_be_reached_is_not_an_empty_one(session: str) -> None:
    """A session does not end because the store of its share is unreachable."""

    def closed() -> Directory:
        return Directory.open("/nonexistent/place")

    with pytest.raises(ShareUnavailableError):
        RuntimeDirShares(closed, closed).read(session)


def test_login_without_a_directory_for_shares_proves_nothing(
    runtime: RuntimeDirShares, session: str
) -> None:
    """A program with another XDG_RUNTIME_DIR ends no session and makes no file."""
    for _ in range(2):
        with pytest.raises(ShareUnavailableError):
            runtime.read(session)
    runtime.destroy(session)

    assert 0 == runtime.sweep(set())
