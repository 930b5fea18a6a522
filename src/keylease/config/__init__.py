"""The effective configuration: options, variables, the user's file, and the machine's policy.

The first of these that has a value counts: a command-line option, an environment variable, the
user's `config.toml`, the default. The policy and the section of a target override all of them, but
only towards shorter times, a stricter `store`, and more audit log. A file that cannot be read or
trusted is refused, never ignored.
"""

from __future__ import annotations

import hashlib
import os
from typing import TYPE_CHECKING, Final, NamedTuple

from keylease.config.base import KEYS, WITNESSES, Document, Section, Stated, check, variable
from keylease.errors import StateError
from keylease.model import Limits, Settings, Terms
from keylease.rules import STORES, strictest
from keylease.system.paths import config_directory, policy_file

if TYPE_CHECKING:
    from collections.abc import Mapping

    from keylease.config.base import Kind, Value

FILE: Final = "config.toml"
_ROOT: Final = 0
_NOTHING: Final = Document({}, {})


class Place(NamedTuple):
    """Where a configuration file is, and which owners are trusted."""

    kind: Kind
    path: str
    owners: frozenset[int]
    """User numbers. Not for Windows, which has none; there `file` checks the owner itself."""


class Effective(NamedTuple):
    """The effective value, and the setting that it overrides."""

    value: Value
    source: str
    instead_of: Stated | None = None


class Configuration(NamedTuple):
    """The effective configuration."""

    general: dict[str, Effective]
    targets: dict[str, dict[str, Effective]]
    """The effective values of each target that has its own section."""
    settings: Settings
    digest: str
    """16 hexadecimal digits that change with every byte of the two files."""
    files: tuple[str, ...]
    """Those of the two files that exist."""

    @property
    def retention_days(self) -> int:
        """How many days of the audit log are kept."""
        return int(self.general["audit.retention_days"].value or 0)

    @property
    def witness(self) -> str:
        """Where checkpoints of the audit log go."""
        return str(self.general["audit.witness"].value)

    @property
    def keychain(self) -> str | None:
        """The configured keychain, if there is one."""
        value = self.general["keychain"].value
        return None if value is None else str(value)


def user_file() -> Place | None:
    """Return where the user's own file is; `None` for a user without a home directory."""
    try:
        path = os.path.join(config_directory(), FILE)
    except StateError:
        # A service without a home keeps its state in KEYLEASE_STATE_DIR, and has no file.
        return None
    # Trust root, too: an administrator may set up a user's home.
    user = os.geteuid() if hasattr(os, "geteuid") else _ROOT
    return Place("user", path, frozenset((_ROOT, user)))


def machine_policy() -> Place:
    """Return where the policy is. No variable moves it, because users can set variables."""
    return Place("policy", policy_file(), frozenset((_ROOT,)))


def load(
    options: Mapping[str, Value],
    *,
    user: Place | None,
    policy: Place,
    environment: Mapping[str, str],
) -> Configuration:
    """Return the effective configuration.

    Args:
        options: The values of the command line by key, already checked.
        user: The user's own file.
        policy: The policy of the machine.
        environment: The variables of the caller.

    Raises:
        ConfigError: a file cannot be read or trusted, or a value is not valid.
    """
    bounds = _document(policy)
    wishes = _document(user) if user else _NOTHING
    chosen = {name: _chosen(name, options, environment, wishes.general) for name in KEYS}
    general = {
        name: _effective(name, stated, bounds.general.get(name), stated)
        for name, stated in chosen.items()
    }
    general["idle_timeout"] = _within_cap(general)
    targets = {
        target: _for_target(general, wishes.targets.get(target, {}), bounds.targets.get(target, {}))
        for target in sorted({*wishes.targets, *bounds.targets})
    }
    places = [(place, said) for place, said in ((user, wishes), (policy, bounds)) if place]
    return Configuration(
        general,
        targets,
        _settings(general, wishes, bounds),
        _digest(wishes, bounds),
        tuple(place.path for place, said in places if said.data is not None),
    )


def _document(place: Place) -> Document:
    try:
        os.lstat(place.path)
    except (FileNotFoundError, NotADirectoryError):
        return _NOTHING
    except OSError:
        # The file may exist. Reading it raises the error that says why it cannot be read.
        pass
    from keylease.config.file import read

    return read(place)


def _digest(*documents: Document) -> str:
    # A digest of digests, so moving bytes from one file to the other is a change.
    parts = [b"" if each.data is None else hashlib.sha256(each.data).digest() for each in documents]
    return hashlib.sha256(b"".join(b"%d:" % len(part) + part for part in parts)).hexdigest()[:16]


def _chosen(
    name: str, options: Mapping[str, Value], environment: Mapping[str, str], wishes: Section
) -> Stated:
    """Return the value before the policy applies."""
    key = KEYS[name]
    if options.get(name) is not None:
        return Stated(options[name], "command line")
    named = environment.get(variable(name)) if key.in_environment else None
    if named:
        # int() also accepts blanks, underscores and the digits of all scripts; accept only ASCII
        # digits. At most 20, because int() is slow for thousands of digits.
        is_number = named.isascii() and named.isdigit() and isinstance(key.default, int)
        value = int(named[:20]) if is_number else named
        return check(name, Stated(value, variable(name)))
    return wishes.get(name) or Stated(key.default, "default")


def _effective(name: str, wished: Stated, bound: Stated | None, stated: Stated | None) -> Effective:
    """Return the stricter of the two, with the value that it overrides."""
    if bound is None or not _is_stricter(name, bound.value, wished.value):
        return Effective(*wished)
    lost = stated and stated.source != "default" and stated.value != bound.value
    return Effective(*bound, stated if lost else None)


def _is_stricter(name: str, bound: Value, wished: Value) -> bool:
    if name == "keychain":
        return bound != wished  # no keychain is stricter than another; the policy decides
    if name == "store":
        return STORES.index(bound) < STORES.index(wished)
    if name == "audit.witness":
        return WITNESSES.index(str(bound)) > WITNESSES.index(str(wished))
    if name == "audit.retention_days":
        return bound > wished  # type: ignore[operator]
    if name == "revoked":
        return bool(bound) and not wished
    return bound < wished  # type: ignore[operator]


def _within_cap(effective: Mapping[str, Effective]) -> Effective:
    """Return the idle timeout, no longer than the cap, which ends the session anyway."""
    idle, cap = effective["idle_timeout"], effective["cap"]
    stated = idle.instead_of or Stated(idle.value, idle.source)
    bounded = _effective("idle_timeout", stated, Stated(cap.value, cap.source), stated)
    return bounded if idle.value > cap.value else idle  # type: ignore[operator]


def _for_target(
    general: Mapping[str, Effective], wishes: Section, bounds: Section
) -> dict[str, Effective]:
    """Return the effective values of one target: the strictest of its own and the general ones."""
    effective = {}
    for name, all_targets in general.items():
        if not KEYS[name].in_target:
            continue
        effective[name] = all_targets
        for stated in (wishes.get(name), bounds.get(name)):
            now = effective[name]
            if stated and _is_stricter(name, stated.value, now.value):
                lost = wishes.get(name) if stated is bounds.get(name) else None
                effective[name] = Effective(*stated, lost)
            elif stated and stated.value != now.value:
                effective[name] = now._replace(instead_of=stated)
    effective["idle_timeout"] = _within_cap(effective)
    return effective


def _settings(general: Mapping[str, Effective], wishes: Document, bounds: Document) -> Settings:
    limits = Limits(
        general["idle_timeout"].value,  # type: ignore[arg-type]
        general["cap"].value,  # type: ignore[arg-type]
    )
    everywhere = _terms(bounds.general)._replace(
        store=general["store"].value  # type: ignore[arg-type]
    )
    targets = {
        target: strictest(_terms(document.targets.get(target, {})) for document in (wishes, bounds))
        for target in {*wishes.targets, *bounds.targets}
    }
    return Settings(limits, everywhere, targets)


def _terms(section: Section) -> Terms:
    names = {"idle_timeout": "idle_seconds", "cap": "cap_seconds"}
    stated = {
        names.get(name, name): each.value for name, each in section.items() if KEYS[name].in_target
    }
    return Terms(**stated)  # type: ignore[arg-type]
