"""The Python API: services on the user's own state.

A program may keep a service for as long as it runs, and use it from any thread, because a service
has no state. Each operation has the whole time for keychains and locks, and reads the configuration
again. Nothing is opened or made before the first operation.
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

# A desktop may first ask its user to unlock the keychain or to allow this program.
SECONDS: Final = 20.0
"""How long one operation waits for keychains and locks by default."""


def session_service(
    *, keychain: str | None = None, idle_seconds: int | None = None, seconds: float = SECONDS
) -> SessionService:
    """Return the service for the user's own sessions.

    Args:
        keychain: The keychain for a new vault; the user's setting if not given.
        idle_seconds: Idle timeout of new sessions; the user's setting if not given.
        seconds: How long each operation may wait for keychains and locks.

    New in version 0.1.0.
    """
    return Wiring(keychain=keychain, timeout=idle_seconds, seconds=seconds).session


def authentication_service(
    *, keychain: str | None = None, idle_seconds: int | None = None, seconds: float = SECONDS
) -> AuthenticationService:
    """Return the service for login and logout of the user's own sessions.

    Args:
        keychain: The keychain for a new vault; the user's setting if not given.
        idle_seconds: Idle timeout of new sessions; the user's setting if not given.
        seconds: How long each operation may wait for keychains and locks.

    New in version 0.1.0.
    """
    return Wiring(keychain=keychain, timeout=idle_seconds, seconds=seconds).auth


def audit_service(*, keychain: str | None = None, seconds: float = SECONDS) -> AuditService:
    """Return the service for the user's own audit log.

    Args:
        keychain: The keychain for a new vault; the user's setting if not given.
        seconds: How long each operation may wait for keychains and locks.

    New in version 0.1.0.
    """
    return Wiring(keychain=keychain, seconds=seconds).audit_service


def require_session(
    url: str, username: str | None = None, *, service: SessionService | None = None
) -> Decorator:
    """Run a function only with a live session for `url`, passed as the argument `session`.

    ::

        @require_session("https://api.example.com")
        def fetch(path: str, *, session: LiveSession) -> bytes: ...

    The session is looked up before the call, which is no use of it. `session.credential()` releases
    the secret, which is a use like git's, with an audit line. The secret is wiped when the function
    returns or raises. After a success the idle timeout is restarted; after an exception it is not.

    Without a live session the function is not called. The error is a `SessionNotFoundError`, or a
    `SessionEndedError` with the reason, and names the `keylease login` command to run. In a click
    command the error is also a `click.ClickException`, so click shows the message and exits with
    the error's own code, 3 for these two. Write the decorator below `@click.command()`, next to
    the function.

    A coroutine function is awaited. A generator is refused, because its body runs after the call.
    The function may be called from any thread; each call has its own session object.

    Args:
        url: What the session is for, as in `keylease login URL`.
        username: The user; the newest session of that URL if not given.
        service: The service with the sessions, for example a test's; the user's own if not given.

    Raises:
        UsageError: the URL is not valid.

    New in version 0.1.0.
    """
    return decorator.require_session(url, username, service=service or session_service())
