"""A backend of the `keyring` library: `import keyring` finds the sessions of keylease.

pip, uv, twine, poetry, hatch and other programs use that library. A password that no session holds
is read from the platform's own keychain, as without this backend. The entry point
`keyring.backends` in pyproject.toml announces it; there is no executable called `keyring`.

Every program that imports keyring imports this module, so it adds no heavy imports. Without a
session on the disk, it only lists a directory.

NOTE: the vault key is in a keychain too, but this backend never returns it.
`keylease.keystores.library` chooses its backend by name and refuses this one, and names that begin
with `keylease:` skip the sessions.
"""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from keyring import backend, credentials, errors
from keyring.backends.chainer import ChainerBackend

from keylease.errors import (
    KeychainUnavailableError,
    KeyleaseError,
    PolicyError,
    SessionNotFoundError,
    UsageError,
    VaultRevokedError,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from keylease.model import Session, Target
    from keylease.wiring import Wiring

_OWN: Final = "keylease:"
_SEALED: Final = ".sealed"
# With each of these there is no session, and another backend may have the password.
_MISSES: Final = (SessionNotFoundError, VaultRevokedError, PolicyError)


class Keyring(backend.KeyringBackend):
    """The sessions of keylease first, then the platform's keychain."""

    # keyring.backend: "a priority of one or greater is recommended"; the platforms' own have 5.
    # With two backends the library prefers its chainer, with 10, which asks each in turn. It would
    # ask the platform twice: directly, and through this backend. So this one has a higher priority,
    # and asks the other backends as the chainer would.
    priority = 15.0
    name = "keylease"

    def get_password(self, service: str, username: str) -> str | None:
        """Return the password of a live session, else what the platform's keychain holds.

        Raises:
            KeyringLocked: the service is a server, and its session waits for a locked keychain.
            KeyringError: the sessions cannot be read.
        """
        found = self._session(service, username)
        if found is not None:
            return found.password
        return next(
            (
                password
                for each in _others()
                if (password := each.get_password(service, username)) is not None
            ),
            None,
        )

    def get_credential(self, service: str, username: str | None) -> credentials.Credential | None:
        """Return user and password of a live session, else what the platform's keychain holds.

        Raises:
            KeyringLocked: the service is a server, and its session waits for a locked keychain.
            KeyringError: the sessions cannot be read.
        """
        found = self._session(service, username)
        if found is not None:
            return found
        return next(
            (
                credential
                for each in _others()
                if (credential := each.get_credential(service, username)) is not None
            ),
            None,
        )

    def set_password(self, service: str, username: str, password: str) -> None:
        """Start a session if the service is a server, else leave it to the platform's keychain.

        Raises:
            PasswordSetError: no session was started, for example because the configuration forbids
                it.
            KeyringLocked: the keychain is locked.
        """
        if not service.startswith(_OWN):
            from keylease.embed.keyring_lookup import kept

            address = kept(service, username)
            if address is not None:
                with _translated(errors.PasswordSetError):
                    _store(address.target, username, password)
                return
        for each in _others():
            try:
                each.set_password(service, username, password)
            except NotImplementedError:
                continue
            return
        msg = "the platform has no keychain here, and keylease keeps only passwords for URLs"
        raise errors.NoKeyringError(msg)

    def delete_password(self, service: str, username: str) -> None:
        """End the sessions of the service, and delete what the platform's keychain holds.

        Raises:
            PasswordDeleteError: there is none.
            KeyringLocked: the keychain is locked.
        """
        ended = not service.startswith(_OWN) and _end(service, username)
        for each in _others():
            try:
                each.delete_password(service, username)
            except NotImplementedError:
                continue
            except errors.PasswordDeleteError:
                if not ended:
                    raise
            return
        if not ended:
            msg = "there is no such password"
            raise errors.PasswordDeleteError(msg)

    @staticmethod
    def _session(service: str, username: str | None) -> credentials.SimpleCredential | None:
        """Return a session's credential for the service; `None` to ask the other backends."""
        if service.startswith(_OWN) or not _has_sessions():
            return None
        from keylease.embed import keyring_lookup
        from keylease.faults import border

        if not keyring_lookup.may_be_server(service):
            return None
        try:
            with border():
                wiring = _wiring()
                found = keyring_lookup.answering(_live(wiring), service, username)
                return None if found is None else _release(wiring, found)
        except _MISSES:
            return None
        except KeyleaseError as error:
            # A dotted word may be a program's own name, so do not report our error to it.
            if not keyring_lookup.is_server(service):
                return None
            raise _words(error, errors.KeyringError) from None


def _release(wiring: Wiring, found: Session) -> credentials.SimpleCredential:
    """Use the session, and return its credential as the `str` that programs expect."""
    credential = wiring.session.get(found.target, found.username, like=found).credential
    try:
        password = str(credential.secret.reveal(), "utf-8", "surrogateescape")
    finally:
        credential.wipe()
    return credentials.SimpleCredential(found.username or "", password)


def _store(target: Target, username: str, password: str) -> None:
    """Start a session as a tool does, under the setting `store`.

    A program that imports the library may send back a password that it received, which is an echo.
    The library's own command, `keyring set`, sends what a person types.

    Raises:
        KeyleaseError: no session was started, and no live one holds this password.
    """
    from keylease.model import Credential, Request
    from keylease.secrets.memory import secure_clear
    from keylease.secrets.secret import Secret

    try:
        packed = bytearray(password, "utf-8", "surrogateescape")
    except UnicodeEncodeError:
        msg = "the password has half a character"
        raise UsageError(msg) from None
    secret = Secret(packed)
    secure_clear(packed)
    if not secret:
        msg = "the password is empty"
        raise UsageError(msg)
    with secret:
        wiring = _wiring()
        # A password that a person types is no echo, even if a tool has just received the same one.
        is_login = "keyring.cli" in sys.modules
        brought = Credential(username, secret)
        request = Request("store", target, username, brought, is_login=is_login)
        if wiring.session.store(request) is None:
            from keylease.protocols.address import Address, login_command

            msg = f"no session was started for {target.url}"
            hint = (
                "the configuration forbids it, or the password is that of an ended session;"
                f" log in with: {login_command(Address(target, username))}"
            )
            raise PolicyError(msg, hint)


def _end(service: str, username: str) -> bool:
    """End the sessions of the service, and return whether there were any.

    Raises:
        KeyringError: the sessions cannot be read.
    """
    from keylease.embed import keyring_lookup

    if not _has_sessions() or not keyring_lookup.may_be_server(service):
        return False
    with _translated(errors.PasswordDeleteError):
        wiring = _wiring()
        try:
            doomed = keyring_lookup.meant(_live(wiring), service, username)
        except _MISSES:
            return False
        from keylease.faults import Steps

        with Steps() as steps:
            for session in doomed:
                with steps.step():
                    wiring.session.erase(session.target, session.username)
        steps.demand()
    return bool(doomed)


def _others() -> list[backend.KeyringBackend]:
    """Return the other usable backends, preferred one first.

    Leave out keylease's own, to avoid a recursion, and the library's chainer, which would ask this
    backend again.
    """
    # A program can exclude backends (keyring.core.init_backend).
    allowed = getattr(backend, "_limit", None) or bool
    found = [
        each
        for each in backend.get_all_keyring()
        if not isinstance(each, ChainerBackend)
        and not type(each).__module__.startswith("keylease.")
        and allowed(each)
        and float(each.priority) > 0
    ]
    return sorted(found, key=backend.by_priority, reverse=True)


def _has_sessions() -> bool:
    """Return whether there is a sealed file, without opening or making anything."""
    from keylease.system.paths import state_directory

    try:
        sessions = os.path.join(state_directory(), "sessions")
        with os.scandir(sessions) as found:
            buckets = [each.path for each in found if each.is_dir(follow_symlinks=False)]
        return any(name.endswith(_SEALED) for path in buckets for name in os.listdir(path))
    except (KeyleaseError, OSError):
        return False


def _wiring() -> Wiring:
    from keylease.wiring import Wiring

    return Wiring()


def _live(wiring: Wiring) -> list[Session]:
    # Ignore sessions whose state is unknown; they must not hide the others.
    return [session for session, _ in wiring.session.sessions([])]


@contextmanager
def _translated(kind: type[errors.KeyringError]) -> Iterator[None]:
    from keylease.faults import border

    try:
        with border():
            yield
    except KeyleaseError as error:
        raise _words(error, kind) from None


def _words(error: KeyleaseError, kind: type[errors.KeyringError]) -> errors.KeyringError:
    """Return the error as one of the library's."""
    hint = f" ({error.hint})" if error.hint else ""
    if isinstance(error, KeychainUnavailableError):
        kind = errors.KeyringLocked
    return kind(f"keylease: {error}{hint}")
