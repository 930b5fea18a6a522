"""The entrance for other people's programs: the services on the user's own state.

A program may keep what it gets here for as long as it runs, and use it from any thread: a service
keeps nothing from one operation to the next. So each operation has the whole time for keychains and
locks, and keeps to what the configuration says by then. Nothing is opened or made before the first
operation.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from keylease.embed import decorator
from keylease.wiring import Wiring

if TYPE_CHECKING:
    from keylease.audit.read.service import AuditService
    from keylease.embed.decorator import Decorator
    from keylease.session.auth import AuthenticationService
    from keylease.session.service import SessionService

# A desktop may show a window first, to unlock its keychain or to ask whether this program may.
SECONDS: Final = 20.0
"""How long one operation waits for keychains and locks if nobody says otherwise."""


def session_service(
    *, keychain: str | None = None, idle_seconds: int | None = None, seconds: float = SECONDS
) -> SessionService:
    """Return what can be done with the user's own sessions.

    Args:
        keychain: Where the key of a new vault is to be; as the user has it if not given.
        idle_seconds: Idle timeout of new sessions; as the user has it if not given.
        seconds: How long each operation may wait for keychains and locks.

    New in version 0.1.0.
    """
    return Wiring(keychain=keychain, timeout=idle_seconds, seconds=seconds).session


def authentication_service(
    *, keychain: str | None = None, idle_seconds: int | None = None, seconds: float = SECONDS
) -> AuthenticationService:
    """Return login and logout of the user's own sessions.

    Args:
        keychain: Where the key of a new vault is to be; as the user has it if not given.
        idle_seconds: Idle timeout of new sessions; as the user has it if not given.
        seconds: How long each operation may wait for keychains and locks.

    New in version 0.1.0.
    """
    return Wiring(keychain=keychain, timeout=idle_seconds, seconds=seconds).auth


def audit_service(*, keychain: str | None = None, seconds: float = SECONDS) -> AuditService:
    """Return what can be done with the user's own audit log.

    Args:
        keychain: Where the key of a new vault is to be; as the user has it if not given.
        seconds: How long each operation may wait for keychains and locks.

    New in version 0.1.0.
    """
    return Wiring(keychain=keychain, seconds=seconds).audit_service


def require_session(
    url: str, username: str | None = None, *, service: SessionService | None = None
) -> Decorator:
    """Let a function run only with a live session for `url`, which it gets as `session`.

    ::

        @require_session("https://api.example.com")
        def fetch(path: str, *, session: LiveSession) -> bytes: ...

    Before the call the session is looked up, which is no use of it. The function takes the secret,
    if it wants it, with `session.credential()`; that is a use, on record like git's, and the secret
    is wiped when the function returns or raises. After a success the idle timeout is restarted;
    after an exception it is not.

    Without a live session the function is not called: a `SessionNotFoundError`, or with the reason
    a `SessionEndedError`, says which `keylease login` to type. In a click command the same error is
    a `click.ClickException` as well, so click shows the message and exits with the error's own
    code, 3 for these two. Write the decorator below `@click.command()`, next to the function.

    A coroutine function is awaited. A generator is refused: its body runs after the call. The
    function may be called from any thread, and each call has a session object of its own.

    Args:
        url: What the session is for, as in `keylease login URL`.
        username: Whose; the newest of that URL if not given.
        service: Where the sessions are, if not the user's own: a test's, for example.

    Raises:
        UsageError: the URL makes no sense.

    New in version 0.1.0.
    """
    return decorator.require_session(url, username, service=service or session_service())
