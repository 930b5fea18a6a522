"""What can be configured: each key, what makes sense as its value, and where it may stand.

docs/configuration.md has the same for people, and a test holds the two together.
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
"""Whose file it is: the user's own, or that of whoever administers the machine."""
Value = int | str | None
"""A flag is an `int` too. `None` is for the keychain alone: the best one that the machine has."""

AUDIT: Final = "audit"
"""The table of the keys about the audit log."""
RETENTION_DAYS: Final = 90
"""How many days of the audit log are kept if nobody says otherwise."""
MAX_RETENTION_DAYS: Final = 3650
WITNESSES: Final = ("none", "syslog")
"""Who else is told how the audit log goes on, least first."""

_LONGEST_SHOWN: Final = 60


class Stated(NamedTuple):
    """A value, and who says so."""

    value: Value
    source: str
    """`default`, a command-line option, a variable, or a file and its section."""


Section = dict[str, Stated]
"""What is stated in one place, by key."""


class Document(NamedTuple):
    """What one file says."""

    general: Section
    targets: dict[str, Section]
    """By the name that `keylease.origin.origin` gives a target."""
    data: bytes | None = None
    """The file's bytes; `None` if it is not there."""


class Key(NamedTuple):
    """One thing that can be configured."""

    fits: Callable[[object], bool]
    expected: str
    default: Value = None
    in_target: bool = True
    """Whether a target can have its own."""
    policy_only: bool = False

    @property
    def in_environment(self) -> bool:
        """Whether a variable says it too."""
        return not self.policy_only


def _is_seconds(value: object) -> bool:
    # bool is an int to Python, and `true` is no number of seconds.
    return type(value) is int and 1 <= value <= MAX_CAP_SECONDS


def _is_days(value: object) -> bool:
    return type(value) is int and 1 <= value <= MAX_RETENTION_DAYS


def _is_witness(value: object) -> bool:
    # Windows has no system log that syslog(3) reaches. Who asks for a witness shall have one.
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
"""Everything that can be configured, by its name in a file; `audit.x` is `x` in its table."""


def variable(name: str) -> str:
    """Return the environment variable of a key."""
    return f"KEYLEASE_{name.upper().replace('.', '_')}"


def check(name: str, stated: Stated) -> Stated:
    """Return a value if it makes sense for the key.

    Raises:
        ConfigError: it does not. The message says where it stands and what is expected.
    """
    key = KEYS[name]
    if not key.fits(stated.value):
        msg = f"{stated.source}: {name}: found {shown(stated.value)}, expected {key.expected}"
        raise ConfigError(msg)
    return stated


def shown(value: object) -> str:
    """Return a value as a message shows it: on one line, in printable ASCII, and not too long."""
    if isinstance(value, bool):
        return str(value).lower()
    if not isinstance(value, int | float | str):
        return f"a value of type {type(value).__name__}"
    if isinstance(value, int) and value.bit_length() > _LONGEST_SHOWN * 3:
        return "a huge number"  # Python refuses to write out one of more than 4300 digits
    text = ascii(value)
    return text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}..."
