"""Homes for whole programs, each with a real keychain of this machine."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest
from hypothesis import HealthCheck, settings
from support.kernel_keyring import require_kernel_keyring
from support.secret_service import GnomeKeyring, require_gnome_keyring
from support.throwaway import Throwaway

from keylease.system.paths import state_directory

if TYPE_CHECKING:
    from collections.abc import Iterator

# No example fails for being slow, as that depends on the machine and its load.
settings.register_profile(
    "keylease", settings(), deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("keylease")


def pytest_configure(config: pytest.Config) -> None:
    """Restore default signals, and check at the end what the run left behind."""
    # nohup and `&` in a script start a run with signals ignored, and our programs inherit that.
    for name in ("SIGINT", "SIGQUIT", "SIGHUP"):
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) == signal.SIG_IGN:
            is_interrupt = number == signal.SIGINT
            signal.signal(number, signal.default_int_handler if is_interrupt else signal.SIG_DFL)
    if sys.platform == "linux":
        from support.leftovers import Leftovers  # noqa: PLC0415 - it is about /proc

        config.pluginmanager.register(Leftovers(Path(state_directory())), "leftovers")


class Desktop(NamedTuple):
    """A home and the Secret Service that holds its vault."""

    home: Throwaway
    keyring: GnomeKeyring


@pytest.fixture
def kernel_home(tmp_path: Path) -> Iterator[Throwaway]:
    """Return a home whose vault is in the Linux kernel keyring."""
    require_kernel_keyring()
    with Throwaway(tmp_path, {"KEYLEASE_KEYCHAIN": "kernel"}) as home:
        yield home


@pytest.fixture
def desktop(tmp_path: Path) -> Iterator[Desktop]:
    """Return a home whose vault is in its own gnome-keyring."""
    require_gnome_keyring()
    with GnomeKeyring() as keyring:
        address = keyring.environment["DBUS_SESSION_BUS_ADDRESS"]
        with Throwaway(tmp_path, {"DBUS_SESSION_BUS_ADDRESS": address}) as home:
            yield Desktop(home, keyring)


@pytest.fixture
def usual_umask() -> Iterator[None]:
    """Use a umask that lets others read new files, as most accounts have."""
    before = os.umask(0o022)
    yield
    os.umask(before)


@pytest.fixture(params=["kernel_home", "desktop"])
def home(request: pytest.FixtureRequest) -> Throwaway:
    """Return a home with each keychain of a Linux machine in turn."""
    found: Throwaway | Desktop = request.getfixturevalue(request.param)
    return found.home if isinstance(found, Desktop) else found
