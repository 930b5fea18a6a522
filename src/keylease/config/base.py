"""What can be configured: each key, its valid values, and where it is allowed.

docs/configuration.md describes the same, and a test compares the two.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

from keylease.errors import ConfigError
from keylease.keystores import is_known
from keylease.model import CAP_SECONDS, IDLE_SECONDS, MAX_CAP_SECONDS
from keylease.rules import STORES

if TYPE_CHECKING:
    from collections.abc import Callable

Kind = Literal["user", "policy"]
"""The user's own file, or the administrator's policy."""
Value = int | str | None
"""A flag is an `int`, too. Only the keychain can be `None`: the best one of the machine."""

AUDIT: Final = "audit"
"""The table of the keys about the audit log."""
RETENTION_DAYS: Final = 90
"""How many days of the audit log are kept by default."""
MAX_RETENTION_DAYS: Final = 3650
WITNESSES: Final = ("none", "syslog")
"""Where checkpoints of the audit log go, least first."""

_LONGEST_SHOWN: Final = 60


class Stated(NamedTuple):
    """A value and its source."""

    value: Value
    source: str
    """`default`, a command-line option, a variable, or a file and its section."""


Section = dict[str, Stated]
"""The values of one section, by key."""


class Document(NamedTuple):
    """The content of one file."""

    general: Section
    targets: dict[str, Section]
    """By the name of the target that `keylease.origin.origin` returns."""
    data: bytes | None = None
    """The file's bytes; `None` if there is no file."""


class Key(NamedTuple):
    """One thing that can be configured."""

    fits: Callable[[object], bool]
    expected: str
    default: Value = None
    in_target: bool = True
    """Whether the section of a target can contain it."""
    policy_only: bool = False

    @property
    def in_environment(self) -> bool:
        """Whether an environment variable can set it."""
        return not self.policy_only


def _is_seconds(value: object) -> bool:
    # In Python a bool is an int, but `true` is not a number of seconds.
    return type(value) is int and 1 <= value <= MAX_CAP_SECONDS


def _is_days(value: object) -> bool:
    return type(value) is int and 1 <= value <= MAX_RETENTION_DAYS


def _is_witness(value: object) -> bool:
    # Windows has no system log for syslog(3). Refuse the setting rather than ignore it.
    return value in (WITNESSES[:1] if sys.platform == "win32" else WITNESSES)


_SECONDS: Final = f"a whole number of seconds, 1 to {MAX_CAP_SECONDS}"

KEYS: Final = {
    "idle_timeout": Key(_is_seconds, _SECONDS, IDLE_SECONDS),
    "cap": Key(_is_seconds, _SECONDS, CAP_SECONDS),
    "store": Key(lambda value: value in STORES, '"create", "update" or "never"', "create"),
    "keychain": Key(
        lambda value: isinstance(value, str) and is_known(value),
        "the name of a keychain, such as secret-service or kernel",
        in_target=False,
    ),
    "revoked": Key(
        lambda value: isinstance(value, bool), "true or false", default=False, policy_only=True
    ),
    "audit.retention_days": Key(
        _is_days,
        f"a whole number of days, 1 to {MAX_RETENTION_DAYS}",
        RETENTION_DAYS,
        in_target=False,
    ),
    "audit.witness": Key(
        _is_witness,
        '"none": this platform has no syslog' if sys.platform == "win32" else '"none" or "syslog"',
        "none",
        in_target=False,
    ),
}
"""Every key by its name in a file; `audit.x` is `x` in the table `audit`."""


def variable(name: str) -> str:
    """Return the environment variable of a key."""
    return f"KEYLEASE_{name.upper().replace('.', '_')}"


def check(name: str, stated: Stated) -> Stated:
    """Return the value if it is valid for the key.

    Raises:
        ConfigError: it is not. The message says where it is and what is expected.
    """
    key = KEYS[name]
    if not key.fits(stated.value):
        msg = f"{stated.source}: {name}: found {shown(stated.value)}, expected {key.expected}"
        raise ConfigError(msg)
    return stated


def shown(value: object) -> str:
    """Return a value for a message: on one line, in printable ASCII, and not too long."""
    if isinstance(value, bool):
        return str(value).lower()
    if not isinstance(value, int | float | str):
        return f"a value of type {type(value).__name__}"
    if isinstance(value, int) and value.bit_length() > _LONGEST_SHOWN * 3:
        return "a huge number"  # Python refuses to print more than 4300 digits
    text = ascii(value)
    return text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}..."
