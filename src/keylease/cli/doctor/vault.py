"""Check the vault: its key, its generation, and whether it was revoked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from keylease.cli.doctor.base import Finding
from keylease.errors import KeychainUnavailableError, StateError, VaultRevokedError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from keylease.cli.doctor.base import Opening, Subject

_AFRESH: Final = "start afresh with: keylease login URL"
_REST: Final = "delete it with: keylease revoke; or start afresh with: keylease login URL"


def check(subject: Subject) -> Iterator[Finding]:
    """Report what the vault's file and the keychain say."""
    try:
        record = subject.record
    except StateError as error:
        yield Finding("fail", str(error), error.hint)
        return
    if record is None:
        yield Finding("ok", "there is no vault yet; the first login makes it")
        return
    opening = subject.opening
    generation = f"key generation {record.generation}"
    if record.revoked is not None:
        yield _revoked(f"{generation} was revoked at {record.revoked}", opening)
    elif isinstance(opening.error, VaultRevokedError):
        yield Finding("warn", f"{generation} was deleted from the keychain", _AFRESH)
    elif isinstance(opening.error, KeychainUnavailableError):
        remedy = "do what the line of keychain says; nothing was deleted"
        yield Finding("warn", f"{generation} cannot be read now", remedy)
    elif opening.error is not None:
        yield Finding("fail", str(opening.error), opening.error.hint)
    elif not opening.session:
        yield Finding("ok", f"{generation} ended with a restart; the next login makes a new one")
    elif not opening.audit:
        yield Finding(
            "warn",
            "the audit key was deleted from the keychain, so the log so far cannot be verified",
            "the next login makes a new one",
        )
    else:
        yield Finding("ok", f"{generation}, made at {record.created}")


def _revoked(found: str, opening: Opening) -> Finding:
    if isinstance(opening.error, KeychainUnavailableError):
        remedy = "do what the line of keychain says, then run: keylease revoke"
        return Finding("warn", f"{found}; the keychain cannot be asked whether it is gone", remedy)
    if opening.session:
        return Finding("warn", f"{found}; the key is still in the keychain", _REST)
    return Finding("warn", found, _AFRESH)
