"""Collect what `keylease status` shows.

A survey does not count as a use of a session, and creates no files.
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
"""The state of the vault key. `none`: there is no vault yet. `reset`: a restart of the machine
emptied the keychain, as it always does with that kind; this is no revocation."""


class Keychain(NamedTuple):
    """The vault key in its keychain."""

    state: State = "none"
    name: str | None = None
    """The name that `--keychain` takes."""
    title: str | None = None
    """The name that users know."""
    generation: int | None = None
    created: str | None = None
    """When this generation was made, RFC 3339 UTC."""
    revoked: str | None = None
    """When its deletion was noticed, or when it was revoked, RFC 3339 UTC."""


class SessionLine(NamedTuple):
    """One live session."""

    session: Session
    left: Remaining

    @property
    def end(self) -> Literal["erased", "policy"]:
        """The same as `enforced_by`, in the words of the JSON's first version."""
        return "erased" if self.session.erased else "policy"

    @property
    def enforced_by(self) -> Literal["kernel", "keylease"]:
        """What ends the session: the kernel destroys half of its key, or keylease checks a time."""
        return "kernel" if self.session.erased else "keylease"


class Survey(NamedTuple):
    """Everything that `keylease status` shows."""

    keychain: Keychain = Keychain()
    lines: tuple[SessionLine, ...] = ()
    sealed: int | None = None
    """Number of sealed files that wait for an unavailable keychain."""
    unknown: int = 0
    """Number of sessions that cannot be opened here, such as those of a container."""
    error: KeyleaseError | None = None
    """The error that decides the exit code."""


def survey(program: Program, wanted: Address | None) -> Survey:
    """Read every session, or the one that would answer the tool.

    Raises:
        KeyleaseError: the state cannot be read at all.
    """
    # Opening the state directory would create it, so check first that it exists.
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
        # Show the sessions that can be opened; one that cannot still decides the exit code.
        report = report._replace(error=next(iter(unknown), None), unknown=len(unknown))
    except VaultRevokedError as error:
        state, report = "revoked", report._replace(error=error)
        record = wiring.vault.record() or record  # it now has the time of the revocation
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

    Lookups are exact, so that session does not answer a tool that asks for `asked`.
    """
    server = origin(asked.protocol, asked.host)
    with suppress(KeyleaseError):
        for session, _ in wiring.session.sessions([]):
            held = session.target
            same = held.namespace == asked.namespace and held[1:3] != asked[1:3]
            if same and origin(held.protocol, held.host) == server:
                return (
                    f"the session for {held.url} is for the same server but answers only that "
                    f"spelling; start one for this URL with: {LOGIN}"
                )
    return ""


def _keychain(wiring: Wiring, record: VaultRecord, state: State) -> Keychain:
    title = record.keychain
    try:
        # This does not contact the keychain, so it works for a locked one, too.
        keystore = keystores.open_keystore(record.keychain, Deadline(0))
        title = keystore.title
        if state == "available" and forgotten(record, keystore, wiring.clock.now()):
            state = "reset"
    except KeychainUnavailableError:
        # This machine no longer has the keychain. The report already says so; show its name.
        pass
    return Keychain(
        state, record.keychain, title, record.generation, record.created, record.revoked
    )
