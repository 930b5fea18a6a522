"""The types of a check: it takes a `Subject` and yields `Finding`s."""

from __future__ import annotations

import os
from functools import cached_property
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

from keylease.errors import KeychainUnavailableError, KeyleaseError, VaultRevokedError
from keylease.system.paths import state_directory

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from keylease.vault.record import VaultRecord
    from keylease.wiring import Wiring

    Check = Callable[["Subject"], Iterable["Finding"]]

Verdict = Literal["ok", "warn", "fail"]
VERDICTS: Final[tuple[Verdict, ...]] = ("ok", "warn", "fail")
"""From the best to the worst."""

KEYCHAIN_SECONDS: Final = 3.0
"""How long the keychain may take to answer."""


class Finding(NamedTuple):
    """One result of a check."""

    verdict: Verdict
    found: str
    """What the check found, without the content of any file."""
    remedy: str = ""
    """What to do about it; empty if nothing has to be done."""


class Opening(NamedTuple):
    """The result of fetching the vault's keys."""

    session: bool = False
    """Whether the keychain has the session key. For a revoked vault it should not."""
    audit: bool = False
    error: KeyleaseError | None = None
    """Why the keys could not be fetched, or that the vault is revoked."""


class Subject:
    """The machine as it is when the checks run. What several checks need is read once.

    Args:
        keychain: The keychain that the command line names, or `None`.
    """

    def __init__(self, keychain: str | None) -> None:
        self.keychain = keychain

    @cached_property
    def wiring(self) -> Wiring:
        """The layers, with a short deadline for the keychain."""
        from keylease.wiring import Wiring

        return Wiring(keychain=self.keychain, seconds=KEYCHAIN_SECONDS)

    @cached_property
    def record(self) -> VaultRecord | None:
        """What the vault's file says; `None` if there is no vault.

        Raises:
            StateError: it cannot be read.
        """
        # Opening the state directory creates it, so check first whether it exists.
        return self.wiring.vault.record() if os.path.lexists(state_directory()) else None

    @cached_property
    def opening(self) -> Opening:
        """The result of fetching the vault's keys. They are wiped at once."""
        try:
            keys = self.wiring.vault.open(self.wiring.clock.now())
        except VaultRevokedError as error:
            return self._find_revoked_key(error)
        except KeyleaseError as error:
            # Not swallowed: each check reports what the error means for it.
            return Opening(error=error)
        if keys is None:
            return Opening()
        with keys:
            if keys.audit is not None:
                keys.audit.wipe()
            return Opening(session=True, audit=keys.audit is not None)

    def _find_revoked_key(self, error: VaultRevokedError) -> Opening:
        """Return whether the key of a revoked vault is still in the keychain.

        The vault refuses to open once it is recorded as revoked, without asking the keychain.
        """
        record = self.record
        if record is None:  # removed in the meantime
            return Opening(error=error)
        try:
            (key,) = self.wiring.vault.keystore(record).read((record.session_item,))
        except KeychainUnavailableError as unavailable:
            return Opening(error=unavailable)
        if key is not None:
            key.wipe()
        return Opening(session=key is not None, error=error)
