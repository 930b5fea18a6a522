"""`require_session`: no session, no call, for a function of somebody else's.

`keylease.session.service` decides; this module only asks. It never takes a secret out by itself,
and it never imports click, not even where it speaks click's language.
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
    """A live session, as `require_session` hands it to the function that requires one.

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
        """The session's id, as the audit log has it."""
        return self._session.id

    @property
    def target(self) -> Target:
        """What the session is for."""
        return self._session.target

    @property
    def username(self) -> str | None:
        """Whose session it is; `None` if it was started without a name."""
        return self._session.username

    def credential(self) -> Credential:
        """Release what the session holds. Asked again, it is the same one.

        It is a use like git's: a line in the audit log comes first, and the idle timeout restarts.
        When the function returns or raises, the secrets are wiped, so keep no view of them. If
        `authtype` is set, the secret is the whole value of an Authorization header.

        Raises:
            SessionNotFoundError: the session has ended in the meantime.
            AuditError: the release could not be written down, so it did not happen.
            KeyleaseError: the keychain or the state cannot be used.
            ValueError: the function has returned, so there is nobody who would wipe it.
        """
        if self._over:
            msg = "the function that required the session has returned, and the session with it"
            raise ValueError(msg)
        if self._credential is None:
            with _exact_hint(self._command):
                reply = self._service.get(
                    self.target, self.username, preencoded=True, like=self._session
                )
            self._session, self._credential = reply.session, reply.credential
        return self._credential

    def roll(self) -> None:
        """Restart the idle timeout, as an explicit use does.

        Raises:
            SessionNotFoundError: the session has ended in the meantime.
            KeyleaseError: the keychain or the state cannot be used.
        """
        self._service.extend(self.target, self.username, like=self._session)

    def __enter__(self) -> Self:
        """Return the session; what it released is wiped when the block is left."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Wipe, whatever happened."""
        self._over = True
        if self._credential is not None:
            self._credential.wipe()


class Decorator(Protocol):
    """What `require_session` returns: it takes the argument `session` off a function."""

    def __call__(self, function: Callable[..., Result], /) -> Callable[..., Result]:
        """Return the function that finds its session by itself."""


def require_session(url: str, username: str | None = None, *, service: SessionService) -> Decorator:
    """Let a function run only with a live session, and roll the session when it has succeeded.

    `keylease.require_session` is this on the user's own sessions, and says more.

    Raises:
        UsageError: the URL makes no sense.
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
        # Whoever makes options of a function's arguments does not make one of this one.
        signature = inspect.signature(function)
        left = [each for each in signature.parameters.values() if each.name != "session"]
        call.__signature__ = signature.replace(parameters=left)  # type: ignore[attr-defined]
        return call

    return decorate


def _check(function: object) -> None:
    """Refuse what the session would be over for before the body runs.

    Raises:
        TypeError: it is no function, or a generator, or has no argument `session`.
    """
    import inspect

    if not inspect.isroutine(function):
        msg = (
            f"@require_session expects a function, not a {type(function).__name__}: "
            "write it below @click.command(), next to the function"
        )
        raise TypeError(msg)
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        # Its body runs when somebody iterates: after the call that would have had the session.
        msg = f"{function.__qualname__} is a generator, which @require_session cannot hold open"
        raise TypeError(msg)
    parameters = inspect.signature(function).parameters.values()
    if not any(
        each.kind == each.VAR_KEYWORD
        or (each.name == "session" and each.kind in {each.POSITIONAL_OR_KEYWORD, each.KEYWORD_ONLY})
        for each in parameters
    ):
        msg = f"{function.__qualname__} has no argument named session to be handed the session in"
        raise TypeError(msg)


class _Requirement:
    """Whose session a function requires, and for what. It has no state: threads may share it."""

    def __init__(self, service: SessionService, wanted: Address) -> None:
        self._service = service
        self._wanted = wanted
        self._command = login_command(wanted)

    def around(self, function: Callable[..., Result]) -> Callable[..., Result]:
        """Return the function with a session around it."""

        @wraps(function)
        def call(*args: object, **kwargs: object) -> Result:
            with _told_to_click():
                with self._validate() as session:
                    result = function(*args, session=session, **kwargs)
                self._roll(session)
                return result

        return call

    def around_async(
        self, function: Callable[..., Awaitable[Result]]
    ) -> Callable[..., Awaitable[Result]]:
        """Return the same for a coroutine function. The event loop waits for no keychain."""
        from asyncio import to_thread

        @wraps(function)
        async def call(*args: object, **kwargs: object) -> Result:
            with _told_to_click():
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
        # What the function did is done, and its result is worth more than some minutes: a session
        # that cannot be rolled (it was ended, the disk is full) ends sooner, and the refusal is on
        # record. The next call meets the same trouble before it does anything.
        with suppress(KeyleaseError):
            session.roll()


@contextmanager
def _exact_hint(command: str) -> Iterator[None]:
    """Name the very command to type, and do it in the message: many a program shows no more."""
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
def _told_to_click() -> Iterator[None]:
    """Let a refusal in a click command end it with one line and the refusal's own exit code.

    It stays what it was as well, so that whoever catches it by its own name still does.
    """
    try:
        yield
    except KeyleaseError as error:
        # A program that runs a click command has imported click. Nothing is imported for it here.
        click: Any = sys.modules.get("click")
        if (
            click is None
            or isinstance(error, click.ClickException)
            or click.get_current_context(silent=True) is None
        ):
            raise
        kind = type(error)
        both: Any = type(kind.__name__, (kind, click.ClickException), {"exit_code": kind.exit_code})
        told = both.__new__(both)
        click.ClickException.__init__(told, _with_hint(error))
        vars(told).update(vars(error))
        raise told from error
