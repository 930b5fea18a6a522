"""`keylease key show`: everything about the vault key except the key itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal, NamedTuple

import click

from keylease.cli.base import Command, Program, json_option, say, say_json
from keylease.cli.keychain import has_state, place
from keylease.cli.table import duration, lay_out_block, read_time
from keylease.errors import KeychainUnavailableError, KeyleaseError, VaultRevokedError, printable
from keylease.keystores.base import USERNAME
from keylease.model import NANOSECONDS

if TYPE_CHECKING:
    from keylease.vault.record import VaultRecord
    from keylease.wiring import Wiring

FORMAT: Final = 1
"""The version of the JSON. It increases when a field is removed or changes its meaning."""

_STATES: Final = {
    "available": "available",
    "unavailable": "cannot be read now",
    "revoked": "revoked",
    "reset": "emptied by a restart of the machine; the next login makes a new key",
}
_HOURS_A_DAY: Final = 24


class _KeyStatus(NamedTuple):
    """The vault key's state and place. These are the fields of the JSON."""

    state: Literal["none", "available", "unavailable", "revoked", "reset"] = "none"
    keychain: str | None = None
    title: str | None = None
    service: str | None = None
    username: str | None = None
    generation: int | None = None
    created: str | None = None
    age_seconds: int | None = None
    revoked: str | None = None
    removal_command: str | None = None
    audit_service: str | None = None


@click.command(cls=Command)
@json_option
@click.pass_obj
def show(program: Program, as_json: bool) -> None:
    """Show where the vault key is. The key itself is never shown.

    It prints the name of the item in the keychain, which any tool of the platform finds, and the
    command that deletes the item. Deleting it ends every session at once. The audit key is another
    item, and stays.

    The exit code is 4 if the keychain is locked or cannot be reached, and 5 if the key was deleted
    or revoked.
    """
    found, error = _look(program.wiring()) if has_state() else (_KeyStatus(), None)
    if as_json:
        say_json({"format": FORMAT, **found._asdict()})
    else:
        for line in _described(found):
            say(line)
    if error is not None:
        raise error


def _look(wiring: Wiring) -> tuple[_KeyStatus, KeyleaseError | None]:
    """Return the state of the key and the error, if there is one. Change nothing."""
    record = wiring.vault.record()
    if record is None:
        return _KeyStatus(), None
    now = wiring.clock.now()
    error: KeyleaseError | None = None
    try:
        keys = wiring.vault.open(now)
        state: Literal["available", "unavailable", "revoked", "reset"] = "reset"
        if keys is not None:
            state = "available"
            keys.session.wipe()
    except VaultRevokedError as found:
        state, error = "revoked", found
    except KeychainUnavailableError as found:
        state, error = "unavailable", found
    title, command = place(record)
    key = _KeyStatus(
        state,
        record.keychain,
        title,
        record.session_item.service,
        USERNAME,
        record.generation,
        record.created,
        _age(record, now.wall_ns // NANOSECONDS),
        record.revoked,
        command,
        record.audit_item.service,
    )
    return key, error


def _age(record: VaultRecord, now: int) -> int | None:
    created = read_time(record.created)
    return None if created is None else max(0, now - created)


def _described(key: _KeyStatus) -> list[str]:
    if key.state == "none":
        return ["there is no vault yet; the first login creates it, or: keylease init"]
    made = printable(str(key.created))
    if key.age_seconds is not None:
        made = f"{made}, {_span(key.age_seconds)} ago"
    revoked = () if key.revoked is None else (("revoked", printable(key.revoked)),)
    return lay_out_block(
        (
            ("key", f"generation {key.generation}, {_STATES[key.state]}"),
            ("keychain", f"{key.title} ({key.keychain})"),
            ("item", f"{key.service}, user name {key.username}"),
            ("made", made),
            *revoked,
            ("to delete it", key.removal_command or "not known on this machine"),
            ("audit key", f"{key.audit_service}; keep it, it verifies the audit log"),
        )
    )


def _span(seconds: int) -> str:
    days, rest = divmod(seconds, _HOURS_A_DAY * 3600)
    return f"{days} d {rest // 3600} h" if days else duration(seconds)
