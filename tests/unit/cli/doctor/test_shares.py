"""The check of shares: what ends a session on this machine."""

from __future__ import annotations

import sys

import pytest

from keylease.cli.doctor.base import Subject

if sys.platform != "linux":
    pytest.skip("what Linux has is tested here", allow_module_level=True)

from keylease.cli.doctor import shares
from keylease.shares.base import ShareUnavailableError


def look():
    """Return the one finding."""
    [finding] = shares.check(Subject(None))
    return finding


@pytest.fixture
def no_kernel(monkeypatch):
    """Let the kernel keyring refuse, as in a container."""

    def refuse(*_):
        msg = "the share cannot be kept in the kernel keyring: Operation not permitted"
        raise ShareUnavailableError(msg)

    monkeypatch.setattr(shares.KernelShares, "read", refuse)


def test_kernel_enforces_the_end(monkeypatch):
    """A kernel that keeps shares destroys them."""
    monkeypatch.setattr(shares.KernelShares, "read", lambda *_: None)

    assert "ok" == look().verdict
    assert "the kernel enforces the end of a session" in look().found


def test_full_quota_is_told(monkeypatch):
    """A user with too many kernel keys reads why the kernel does not end sessions."""
    monkeypatch.setattr(shares.KernelShares, "read", lambda *_: None)
    monkeypatch.setattr(shares, "_quota", lambda: (200, 200))

    assert "warn" == look().verdict
    assert "your quota of 200 kernel keys is used up" in look().found
    assert "raise kernel.keys.maxkeys" in look().remedy


@pytest.mark.usefixtures("no_kernel")
def test_runtime_directory_is_second_best(monkeypatch):
    """Its share is removed at logout, and keylease enforces the end of a session."""
    monkeypatch.setattr(shares, "runtime_directory", lambda: "/run/user/1000")

    assert "warn" == look().verdict
    assert "its share in /run/user/1000 is removed at logout" in look().found


@pytest.mark.usefixtures("no_kernel")
def test_without_either_keylease_enforces_the_end(monkeypatch):
    """The finding says so and gives both reasons."""
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)

    finding = look()

    assert "warn" == finding.verdict
    assert "keylease enforces the end of a session" in finding.found
    assert "Operation not permitted" in finding.found
    assert "XDG_RUNTIME_DIR is not set" in finding.found
    assert "in a container: add_key and keyctl in its seccomp profile" in finding.remedy


def test_quota_is_the_one_of_this_user():
    """The numbers of /proc are read as proc(5) says."""
    used, most = shares._quota()

    assert 0 <= used <= most
    assert most > 0
