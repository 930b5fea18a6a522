"""`require_session`: run a function of another program only with a live session.

`keylease.session.service` decides; this module only asks. It never releases a secret by itself, and
it never imports click, although it raises click's exceptions in a click command.
"""

from __future__ import annotations

import sys
from contextlib import contextmanager, suppress
from functools import wraps
from typing import TYPE_CHECKING, Any, Protocol, Self, TypeVar, cast

from keylease.errors import LOGIN, KeyleaseError
from keylease.protocols.address import login_command, parse_url

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator
    from types import TracebackType

    from keylease.model import Credential, Session, Target
    from keylease.protocols.address import Address
    from keylease.session.service import SessionService

Result = TypeVar("Result")


class LiveSession:
    """A live session, which `require_session` passes to the function.

    It has no secret until `credential` is called, and none after the function has returned. It
    belongs to that one call: other threads may call the same function, but not share its session.

    New in version 0.1.0.
    """

    __slots__ = ("_command", "_credential", "_over", "_service", "_session")

    def __init__(self, service: SessionService, session: Session, command: str) -> None:
        self._service = service
        self._session = session
        self._command = command
        self._credential: Credential | None = None
        self._over = False

    @property
    def id(self) -> str:
        """The session's id in the audit log."""
        return self._session.id

    @property
    def target(self) -> Target:
        """The target of the session."""
        return self._session.target

    @property
    def username(self) -> str | None:
        """The user of the session; `None` if it was started without one."""
        return self._session.username

    def credential(self) -> Credential:
        """Release the credential of the session. A second call returns the same one.

        This is a use like git's: it writes a line in the audit log first, and restarts the idle
        timeout. The secrets are wiped when the function returns or raises, so keep no view of them.
        If `authtype` is set, the secret is the whole value of an Authorization header.

        Raises:
            SessionNotFoundError: the session has ended in the meantime.
            AuditError: the audit line could not be written, so nothing was released.
            KeyleaseError: the keychain or the state cannot be used.
            ValueError: the function has returned, so the credential would not be wiped.
        """
        if self._over:
            msg = "the function that required the session has returned; use the session inside it"
            raise ValueError(msg)
        if self._credential is None:
            with _exact_hint(self._command):
                reply = self._service.get(
                    self.target, self.username, preencoded=True, like=self._session
                )
            self._session, self._credential = reply.session, reply.credential
        return self._credential

    def roll(self) -> None:
        """Restart the idle timeout.

        Raises:
            SessionNotFoundError: the session has ended in the meantime.
            KeyleaseError: the keychain or the state cannot be used.
        """
        self._service.extend(self.target, self.username, like=self._session)

    def __enter__(self) -> Self:
        """Return the session. The end of the block wipes what it released."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Wipe the credential, also after an exception."""
        self._over = True
        if self._credential is not None:
            self._credential.wipe()


class Decorator(Protocol):
    """What `require_session` returns: it supplies the argument `session` of a function."""

    def __call__(self, function: Callable[..., Result], /) -> Callable[..., Result]:
        """Return the function without the argument `session`."""


def require_session(url: str, username: str | None = None, *, service: SessionService) -> Decorator:
    """Run a function only with a live session, and roll the session when it has succeeded.

    `keylease.require_session` does the same with the user's own sessions, and documents more.

    Raises:
        UsageError: the URL is not valid.
    """
    required = _Requirement(service, parse_url(url, username))

    def decorate(function: Callable[..., Result]) -> Callable[..., Result]:
        import inspect

        _check(function)
        if inspect.iscoroutinefunction(function):
            asynchronous = cast("Callable[..., Awaitable[Any]]", function)
            call = cast("Callable[..., Result]", required.around_async(asynchronous))
        else:
            call = required.around(function)
        # Hide the argument from libraries that make options of a function's arguments.
        signature = inspect.signature(function)
        left = [each for each in signature.parameters.values() if each.name != "session"]
        call.__signature__ = signature.replace(parameters=left)  # type: ignore[attr-defined]
        return call

    return decorate


def _check(function: object) -> None:
    """Refuse objects that the decorator cannot hold a session open for.

    Raises:
        TypeError: it is not a function, or is a generator, or has no argument `session`.
    """
    import inspect

    if not inspect.isroutine(function):
        msg = (
            f"@require_session expects a function, not a {type(function).__name__}: "
            "write it below @click.command(), next to the function"
        )
        raise TypeError(msg)
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        # Its body runs during the iteration, after the call that holds the session.
        msg = f"{function.__qualname__} is a generator; @require_session expects a function"
        raise TypeError(msg)
    parameters = inspect.signature(function).parameters.values()
    if not any(
        each.kind == each.VAR_KEYWORD
        or (each.name == "session" and each.kind in {each.POSITIONAL_OR_KEYWORD, each.KEYWORD_ONLY})
        for each in parameters
    ):
        msg = f"{function.__qualname__} has no argument named session; add one"
        raise TypeError(msg)


class _Requirement:
    """The session that a function requires. It has no state, so threads may share it."""

    def __init__(self, service: SessionService, wanted: Address) -> None:
        self._service = service
        self._wanted = wanted
        self._command = login_command(wanted)

    def around(self, function: Callable[..., Result]) -> Callable[..., Result]:
        """Return the function with a session around it."""

        @wraps(function)
        def call(*args: object, **kwargs: object) -> Result:
            with _click_errors():
                with self._validate() as session:
                    result = function(*args, session=session, **kwargs)
                self._roll(session)
                return result

        return call

    def around_async(
        self, function: Callable[..., Awaitable[Result]]
    ) -> Callable[..., Awaitable[Result]]:
        """Return the same for a coroutine function, without blocking the event loop."""
        from asyncio import to_thread

        @wraps(function)
        async def call(*args: object, **kwargs: object) -> Result:
            with _click_errors():
                with await to_thread(self._validate) as session:
                    result = await function(*args, session=session, **kwargs)
                await to_thread(self._roll, session)
                return result

        return call

    def _validate(self) -> LiveSession:
        with _exact_hint(self._command):
            session, _ = self._service.validate(*self._wanted)
        return LiveSession(self._service, session, self._command)

    def _roll(self, session: LiveSession) -> None:
        # Keep the function's result even if the roll fails (the session was ended, the disk is
        # full). The session then ends sooner, and the refusal is in the audit log. The next call
        # meets the same error before it does anything.
        with suppress(KeyleaseError):
            session.roll()


@contextmanager
def _exact_hint(command: str) -> Iterator[None]:
    """Put the exact login command into the message, because many programs show no hint."""
    try:
        yield
    except KeyleaseError as error:
        error.hint = error.hint.replace(LOGIN, command)
        error.args = (_with_hint(error),)
        raise


def _with_hint(error: KeyleaseError) -> str:
    message = str(error)
    return message if error.hint in message else f"{message}; {error.hint}"


@contextmanager
def _click_errors() -> Iterator[None]:
    """End a click command with one line and the error's own exit code.

    The new error keeps its class, so that code which catches our errors still does.
    """
    try:
        yield
    except KeyleaseError as error:
        # A program that runs a click command has already imported click.
        click: Any = sys.modules.get("click")
        if (
            click is None
            or isinstance(error, click.ClickException)
            or click.get_current_context(silent=True) is None
        ):
            raise
        kind = type(error)
        both: Any = type(kind.__name__, (kind, click.ClickException), {"exit_code": kind.exit_code})
        converted = both.__new__(both)
        click.ClickException.__init__(converted, _with_hint(error))
        vars(converted).update(vars(error))
        raise converted from error
