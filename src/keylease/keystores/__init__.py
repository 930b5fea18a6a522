"""Keychains, which hold the vault key. One module for each, chosen by name from a table.

Only the named one is imported. `PREFERENCE` says which one a new vault uses. A locked keychain is
never replaced by a weaker one.
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import TYPE_CHECKING, Final, cast

from keylease.errors import KeychainMissingError, KeychainUnavailableError, UsageError
from keylease.faults import border
from keylease.keystores.base import unusable

if TYPE_CHECKING:
    from keylease.keystores import kernel, library, secretservice
    from keylease.keystores.base import KeyStore
    from keylease.system.clock import Deadline

    # mypy checks each module's `open_keystore`.
    _CHECKED = (secretservice.open_keystore, kernel.open_keystore, library.open_keystore)

KEYSTORES: Final = {
    "secret-service": "keylease.keystores.secretservice",
    "kernel": "keylease.keystores.kernel",
    "macos": "keylease.keystores.library",
    "windows": "keylease.keystores.library",
    "library": "keylease.keystores.library",
}
"""Every kind of keychain by its name. The full name of a `library` is `library:MODULE.CLASS`."""

PREFERENCE: Final = {
    "linux": (
        "secret-service",  # unlocked with the login, survives a reboot, has windows to look into
        "kernel",  # no daemon and no desktop needed; forgets everything at a reboot
        # Not KWallet through the keyring library: it asks for its password on the screen at every
        # git command, and KDE's present wallet is a Secret Service. Users can still name it.
    ),
    "darwin": ("macos",),  # the login keychain: unlocked with the login, survives a reboot
    "win32": ("windows",),  # Credential Manager: sealed under the login, survives a reboot
}
"""What a new vault tries, best first, on each platform."""

_NAME_ONE: Final = "name a keychain with --keychain or KEYLEASE_KEYCHAIN"
_REMEDIES: Final = {
    # A machine with neither is usually a container, whose engine forbids these calls by default.
    "linux": "log in to a desktop with a Secret Service, or let this process use the kernel keyring"
    f" (in a container: add_key and keyctl in its seccomp profile), or {_NAME_ONE}",
}


def open_keystore(name: str, deadline: Deadline) -> KeyStore:
    """Return the keychain called `name`, without contacting it.

    Args:
        name: One of `KEYSTORES`; `library:MODULE.CLASS` names a backend of the keyring library.
        deadline: When each of its calls must have ended.

    Raises:
        UsageError: there is none of that name, or it does not keep secrets.
        KeychainUnavailableError: its library cannot be loaded.
    """
    check_name(name)

    def refuse(fault: BaseException) -> KeychainUnavailableError:
        return unusable(f"keychain {name}", fault)

    with border(refuse):
        module = import_module(KEYSTORES[name.partition(":")[0]])
        return cast("KeyStore", module.open_keystore(name, deadline))


def check_name(name: str) -> None:
    """Check the name of a keychain without importing it.

    Raises:
        UsageError: no keychain has this name, on any machine.
    """
    if not is_known(name):
        names = ", ".join(known for known in KEYSTORES if known != "library")
        msg = f"no keychain is called {name!a}: expected {names} or library:MODULE.CLASS"
        raise UsageError(msg)


def is_known(name: str) -> bool:
    """Return whether `name` is valid for a keychain, on any machine."""
    kind, colon, backend = name.partition(":")
    return kind in KEYSTORES and bool(backend if kind == "library" else not colon)


def choose(deadline: Deadline) -> KeyStore:
    """Return the best keychain of this machine that can store a key now.

    Raises:
        KeychainMissingError: this machine has none.
        KeychainUnavailableError: the best one is locked, hung or broken.
    """
    missing = []
    for name in PREFERENCE.get(sys.platform, ()):
        try:
            keystore = open_keystore(name, deadline)
            keystore.probe()
        except KeychainMissingError as error:
            missing.append(f"{name}: {error}")
        else:
            return keystore
    found = "; ".join(missing) or f"none is known on {sys.platform}"
    msg = f"no keychain can be used here ({found})"
    raise KeychainMissingError(msg, _REMEDIES.get(sys.platform, _NAME_ONE))
