"""What `keylease status` tells, before it is put into words.

A survey uses no session and makes nothing on a machine that has nothing.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Literal, NamedTuple

from keylease import keystores
from keylease.cli.keychain import has_state
from keylease.errors import (
    LOGIN,
    KeychainUnavailableError,
    KeyleaseError,
    SessionEndedError,
    SessionNotFoundError,
    StateError,
    VaultRevokedError,
)
from keylease.origin import origin
from keylease.system.clock import Deadline
from keylease.vault.generations import forgotten

if TYPE_CHECKING:
    from keylease.cli.address import Address
    from keylease.cli.base import Program
    from keylease.model import Session, Target
    from keylease.rules import Remaining
    from keylease.vault.record import VaultRecord
    from keylease.wiring import Wiring

State = Literal["none", "available", "unavailable", "revoked", "reset"]
"""How it is with the vault key. `none`: no vault was made yet. `reset`: a restart of the machine
emptied the keychain, as it always does with that kind, and that is no revocation."""


class Keychain(NamedTuple):
    """The vault key in its keychain."""

    state: State = "none"
    name: str | None = None
    """As after `--keychain`."""
    title: str | None = None
    """As people call it."""
    generation: int | None = None
    created: str | None = None
    """When this generation was made, RFC 3339 UTC."""
    revoked: str | None = None
    """When it was found to be deleted, or revoked, RFC 3339 UTC."""


class SessionLine(NamedTuple):
    """One live session."""

    session: Session
    left: Remaining

    @property
    def end(self) -> Literal["erased", "policy"]:
        """Whether the platform itself sees to it that the ended session cannot be opened."""
        return "erased" if self.session.erased else "policy"


class Survey(NamedTuple):
    """Everything that is told."""

    keychain: Keychain = Keychain()
    lines: tuple[SessionLine, ...] = ()
    sealed: int | None = None
    """How many sealed files wait for a keychain that cannot be read now."""
    unknown: int = 0
    """How many sessions there are of which nothing can be said from here."""
    error: KeyleaseError | None = None
    """What is wrong, and decides the exit code."""


def survey(program: Program, wanted: Address | None) -> Survey:
    """Look at every session, or at the one that a tool would be answered from.

    Raises:
        KeyleaseError: the state cannot be read at all.
    """
    # To open the state directory is to make it, so whether there is one is asked first.
    wiring = program.wiring() if has_state() else None
    record = wiring.vault.record() if wiring else None
    if wiring is None or record is None:
        missing = SessionNotFoundError(f"there is no session for {wanted}")
        return Survey(error=missing if wanted else None)
    report = Survey()
    state: State = "available"
    try:
        unknown: list[StateError] = []
        report = report._replace(lines=tuple(_look(wiring, wanted, unknown)))
        # What can be shown is shown; what cannot be opened from here still decides the exit code.
        report = report._replace(error=next(iter(unknown), None), unknown=len(unknown))
    except VaultRevokedError as error:
        state, report = "revoked", report._replace(error=error)
        record = wiring.vault.record() or record  # only now it says since when
    except KeychainUnavailableError as error:
        state = "unavailable"
        report = report._replace(error=error, sealed=wiring.store.count())
    except SessionNotFoundError as error:
        if wanted is not None and not isinstance(error, SessionEndedError):
            error.hint = _near(wiring, wanted.target) or error.hint
        report = report._replace(error=error if wanted else None)
    return report._replace(keychain=_keychain(wiring, record, state))


def _look(wiring: Wiring, wanted: Address | None, unknown: list[StateError]) -> list[SessionLine]:
    if wanted is None:
        return [SessionLine(*each) for each in wiring.session.sessions(unknown)]
    return [SessionLine(*wiring.session.validate(*wanted))]


def _near(wiring: Wiring, asked: Target) -> str:
    """Return a hint that names a session for the same server in another spelling, if there is one.

    Lookups are exact, so a tool that asks as `asked` says is not answered from it.
    """
    server = origin(asked.protocol, asked.host)
    with suppress(KeyleaseError):
        for session, _ in wiring.session.sessions([]):
            held = session.target
            same = held.namespace == asked.namespace and held[1:3] != asked[1:3]
            if same and origin(held.protocol, held.host) == server:
                return (
                    f"the session for {held.url} is for the same server in another spelling, and "
                    f"answers that spelling alone; start one for this URL with: {LOGIN}"
                )
    return ""


def _keychain(wiring: Wiring, record: VaultRecord, state: State) -> Keychain:
    title = record.keychain
    try:
        # Nothing is asked of it, so a locked one has its title, too.
        keystore = keystores.open_keystore(record.keychain, Deadline(0))
        title = keystore.title
        if state == "available" and forgotten(record, keystore, wiring.clock.now()):
            state = "reset"
    except KeychainUnavailableError:
        # This machine does not have it any more. That is said already, and its name will do.
        pass
    return Keychain(
        state, record.keychain, title, record.generation, record.created, record.revoked
    )
