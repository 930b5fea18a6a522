"""A session service on a real state directory, with a clock and a keychain that tests control."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from keylease.model import Credential, Request, Target
from keylease.secrets.secret import Secret
from keylease.testing import MemoryWiring

if TYPE_CHECKING:
    from pathlib import Path

    from keylease.model import Moment
    from keylease.session.operation import Operation
    from keylease.testing import FrozenClock

EXAMPLE = Target("web", "https", "example.com")
PASSWORD = b"correct horse battery staple"


class ForeignClock:
    """The clocks of this machine in a container with its own boot id."""

    def __init__(self, clock: FrozenClock) -> None:
        self._clock = clock
        self.advance = clock.advance

    def now(self) -> Moment:
        """Return the reading with another boot id."""
        return self._clock.now()._replace(boot="f" * 32)


class Rig(MemoryWiring):
    """One process and its state on the disk; `again` is the next process."""

    def __init__(self, path: Path, **parts: Any) -> None:
        super().__init__(path, **parts)
        self.path = path

    def begin(self, *asked: Any) -> Operation:
        """Return what one operation works with, and remember it."""
        self.operation = super().begin(*asked)
        return self.operation

    def run_out_of_time(self) -> None:
        """Let no time be left to the operation that is under way."""
        self.operation.deadline.__init__(0)  # type: ignore[misc]

    def again(self, **changes: Any) -> Rig:
        """Return the next process on the same state."""
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
    """Return a fresh credential, as the service may wipe it."""
    return Credential(username, Secret(password), **fields)


def bring(
    target: Target = EXAMPLE,
    password: bytes = PASSWORD,
    username: str | None = "alice",
    **fields: Any,
) -> Request:
    """Return the `store` request of a peer with a credential."""
    brought = credential(password, username, expires=fields.pop("expires", None))
    brought = brought._replace(fields=fields.pop("extra", ()))
    return Request("store", target, username, brought, **fields)


def begin_elsewhere(rig: Rig, count: int) -> None:
    """Start sessions for other hosts."""
    for number in range(count):
        rig.session.store(bring(EXAMPLE._replace(host=f"h{number}.example")))


def text(secret: Secret) -> bytes:
    """Return a secret's bytes for comparison."""
    return bytes(secret.reveal())


def get_password(rig: Rig, **question: object) -> bytes:
    """Return the password that a `get` releases in the next process."""
    target = question.pop("target", EXAMPLE)
    return text(rig.again().session.get(target, **question).credential.secret)  # type: ignore[arg-type]
