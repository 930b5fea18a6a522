"""The vault's record, `vault.json`: its keychain, its generation, and whether it is revoked.

It has no secret. A damaged record is refused, not repaired: a guess at the generation would be a
guess at whether the key was revoked.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final, NamedTuple

from keylease.errors import StateError
from keylease.keystores.base import Item

if TYPE_CHECKING:
    from keylease.statefile import Directory

FILE: Final = "vault.json"
_FORMAT: Final = 1
_LONGEST_FILE: Final = 4096
ID_BYTES: Final = 8
"""The length of a vault's random id."""
_GENERATIONS: Final = 1 << 32  # the header of a sealed file has four bytes for it
_DIGITS: Final = frozenset("0123456789abcdef")


class VaultRecord(NamedTuple):
    """The content of `vault.json`."""

    vault: str
    """The vault's random id. Another state directory has another vault and other keys."""
    keychain: str
    instance: str
    """Which keychain of that kind; see `KeyStore.instance`."""
    generation: int
    """The generation of the session key; 0 while the first one is being made."""
    audit_generation: int
    created: str
    """When this generation was made, RFC 3339 UTC."""
    boot: str
    """The boot that this generation was made in."""
    revoked: str | None = None
    """When the session key was found to be deleted, RFC 3339 UTC."""

    @property
    def session_item(self) -> Item:
        """The keychain item of the session key."""
        return Item(self.vault, "session-key", self.generation)

    @property
    def audit_item(self) -> Item:
        """The keychain item of the audit key."""
        return Item(self.vault, "audit-key", self.audit_generation)


def read(state: Directory) -> VaultRecord | None:
    """Return the record in the state directory; `None` if there is none.

    Raises:
        StateError: the file is not a vault record.
    """
    packed = state.read(FILE, _LONGEST_FILE)
    if packed is None:
        return None
    try:
        fields = json.loads(packed)
        known = fields.pop("format") == _FORMAT
        record = VaultRecord(**fields)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        known = False
    if not known or not _sound(record):
        msg = f"{FILE} is not a vault record of format {_FORMAT}"
        raise StateError(msg, "restore it, or move the state directory away to start afresh")
    return record


def _sound(record: VaultRecord) -> bool:
    """Return whether every field has its type and range."""
    texts: tuple[object, ...] = (*record[:3], record.created, record.boot)
    if record.revoked is not None:
        texts += (record.revoked,)
    numbers = (record.generation, record.audit_generation)
    return (
        all(isinstance(text, str) for text in texts)
        and all(type(number) is int and 0 <= number < _GENERATIONS for number in numbers)
        and len(record.vault) == 2 * ID_BYTES
        and _DIGITS.issuperset(record.vault)
    )


def write(state: Directory, record: VaultRecord) -> None:
    """Replace the record atomically.

    Raises:
        StateError: it cannot be written.
    """
    fields = {"format": _FORMAT, **record._asdict()}
    state.replace(FILE, json.dumps(fields, indent=1).encode("ascii") + b"\n")
