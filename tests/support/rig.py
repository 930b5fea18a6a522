"""A session service on a real state directory, with a clock and a keychain that tests move."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from keylease.audit.log import AuditLog
from keylease.clock import Deadline
from keylease.model import Credential, Limits, Request, Target
from keylease.secret import Secret
from keylease.session import SessionService
from keylease.shares.policy import PolicyShares
from keylease.statefile import Directory
from keylease.store import SessionStore
from keylease.testing import FrozenClock, MemoryKeyStore
from keylease.vault import Vault

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from keylease.keystores.base import KeyStore
    from keylease.shares.base import ShareStore

EXAMPLE = Target("web", "https", "example.com")
PASSWORD = b"correct horse battery staple"


class Rig:
    """What one process has, put together by hand. `again` is the next process."""

    def __init__(
        self,
        path: Path,
        *,
        clock: FrozenClock | None = None,
        keystore: KeyStore | None = None,
        limits: Limits | None = None,
        shares: Sequence[ShareStore] | None = None,
    ) -> None:
        self.path = path
        self.shares = shares or (PolicyShares(),)
        self.clock = clock or FrozenClock()
        self.keystore = keystore or MemoryKeyStore()
        deadline = self.deadline = Deadline(60)

        def state() -> Directory:
            return Directory.open(str(path), create=True)

        self.audit = AuditLog(state, deadline)
        self.store = SessionStore(state, self.shares, deadline)
        self.vault = Vault(
            state,
            open_keystore=lambda _: self.keystore,
            choose_keystore=lambda: self.keystore,
            wanted=None,
            deadline=deadline,
        )
        self.session = SessionService(
            clock=self.clock,
            vault=self.vault,
            store=self.store,
            audit=self.audit,
            limits=limits or Limits(),
            deadline=deadline,
        )

    def again(self, **changes: Any) -> Rig:
        """Return what the next process on the same state has."""
        return Rig(
            self.path,
            **{"clock": self.clock, "keystore": self.keystore, "shares": self.shares, **changes},
        )

    def lines(self) -> list[dict[str, Any]]:
        """Return every audit line, oldest first."""
        days = sorted((self.path / "audit").glob("*.jsonl"))
        return [json.loads(line) for day in days for line in day.read_text("ascii").splitlines()]

    def events(self) -> list[tuple[str, str | None]]:
        """Return event and reason of every audit line, oldest first."""
        return [(line["event"], line["reason"]) for line in self.lines()]

    def sealed(self) -> list[Path]:
        """Return every sealed file."""
        return sorted(self.path.glob("sessions/*/*.sealed"))

    def touches(self) -> list[Path]:
        """Return every touch record."""
        return sorted(self.path.glob("sessions/*/*.touch"))


def credential(
    password: bytes = PASSWORD, username: str | None = "alice", **fields: Any
) -> Credential:
    """Return a fresh credential: what is handed to the service may be wiped."""
    return Credential(username, Secret(password), **fields)


def bring(
    target: Target = EXAMPLE,
    password: bytes = PASSWORD,
    username: str | None = "alice",
    **fields: Any,
) -> Request:
    """Return the `store` of a peer that brings a credential."""
    brought = credential(password, username, expires=fields.pop("expires", None))
    brought = brought._replace(fields=fields.pop("extra", ()))
    return Request("store", target, username, brought, **fields)


def text(secret: Secret) -> bytes:
    """Return a secret's bytes, for comparison with what a test put in."""
    return bytes(secret.reveal())
