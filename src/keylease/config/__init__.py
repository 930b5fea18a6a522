"""What is configured, where it comes from, and what the policy of the machine leaves of it.

In this order, and the first that says something counts: a command-line option, a variable, the
user's `config.toml`, the default. The policy is above them all, and so is a section for one target:
both only make times shorter and `store` stricter. Of the audit log a policy only asks for more.
What cannot be read or believed is refused, never passed over.
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
    """Where a configuration file is, and whose it has to be to be believed."""

    kind: Kind
    path: str
    owners: frozenset[int]
    """User numbers. Windows has none, and there the owner of a policy is asked for by name."""


class Effective(NamedTuple):
    """What counts, and what was wished instead."""

    value: Value
    source: str
    instead_of: Stated | None = None


class Configuration(NamedTuple):
    """Everything that is configured, weighed."""

    general: dict[str, Effective]
    targets: dict[str, dict[str, Effective]]
    """What counts for each target that has a section of its own."""
    settings: Settings
    digest: str
    """16 hexadecimal digits that change with every byte of the two files."""
    files: tuple[str, ...]
    """Those of the two that are there."""

    @property
    def retention_days(self) -> int:
        """How many days of the audit log are kept."""
        return int(self.general["audit.retention_days"].value or 0)

    @property
    def witness(self) -> str:
        """Who else is told how the audit log goes on."""
        return str(self.general["audit.witness"].value)

    @property
    def keychain(self) -> str | None:
        """The keychain that is named, if one is."""
        value = self.general["keychain"].value
        return None if value is None else str(value)


def user_file() -> Place | None:
    """Return where the user's own file is; `None` for a user who has no home."""
    try:
        path = os.path.join(config_directory(), FILE)
    except StateError:
        # A service without a home keeps its state in KEYLEASE_STATE_DIR, and has no file.
        return None
    # What root put there is believed: an administrator may set up a user's home.
    user = os.geteuid() if hasattr(os, "geteuid") else _ROOT
    return Place("user", path, frozenset((_ROOT, user)))


def machine_policy() -> Place:
    """Return where the policy is. No variable moves it: whoever is bound by it sets those."""
    return Place("policy", policy_file(), frozenset((_ROOT,)))


def load(options: Mapping[str, Value], *, user: Place | None, policy: Place) -> Configuration:
    """Return what counts.

    Args:
        options: What the command line says, by key and as it is called there; checked already.
        user: The user's own file.
        policy: The policy of the machine.

    Raises:
        ConfigError: a file cannot be read or believed, or a value makes no sense.
    """
    bounds = _document(policy)
    wishes = _document(user) if user else _NOTHING
    chosen = {name: _chosen(name, options, wishes.general) for name in KEYS}
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
        # Whether it is there cannot be seen. Reading it says why, and refuses.
        pass
    from keylease.config.file import read

    return read(place)


def _digest(*documents: Document) -> str:
    # A digest of digests: bytes that move from one file into the other are a change.
    parts = [b"" if each.data is None else hashlib.sha256(each.data).digest() for each in documents]
    return hashlib.sha256(b"".join(b"%d:" % len(part) + part for part in parts)).hexdigest()[:16]


def _chosen(name: str, options: Mapping[str, Value], wishes: Section) -> Stated:
    """Return what counts before the policy does."""
    key = KEYS[name]
    if options.get(name) is not None:
        return Stated(options[name], "command line")
    named = os.environ.get(variable(name)) if key.in_environment else None
    if named:
        # int() takes blanks, underscores and the digits of all scripts; a person means these ten.
        # At most 20 of them: Python takes its time over a number of thousands.
        is_number = named.isascii() and named.isdigit() and isinstance(key.default, int)
        value = int(named[:20]) if is_number else named
        return check(name, Stated(value, variable(name)))
    return wishes.get(name) or Stated(key.default, "default")


def _effective(name: str, wished: Stated, bound: Stated | None, stated: Stated | None) -> Effective:
    """Return the stricter of two, and what was stated in vain."""
    if bound is None or not _is_stricter(name, bound.value, wished.value):
        return Effective(*wished)
    lost = stated and stated.source != "default" and stated.value != bound.value
    return Effective(*bound, stated if lost else None)


def _is_stricter(name: str, bound: Value, wished: Value) -> bool:
    if name == "keychain":
        return bound != wished  # none is stricter than another; the policy's is the one
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
    """Return an idle timeout that is no longer than the cap, which ends the session anyway."""
    idle, cap = effective["idle_timeout"], effective["cap"]
    stated = idle.instead_of or Stated(idle.value, idle.source)
    bounded = _effective("idle_timeout", stated, Stated(cap.value, cap.source), stated)
    return bounded if idle.value > cap.value else idle  # type: ignore[operator]


def _for_target(
    general: Mapping[str, Effective], wishes: Section, bounds: Section
) -> dict[str, Effective]:
    """Return what counts for one target: the strictest of what is said for it and for all."""
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
