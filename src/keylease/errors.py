"""All errors of keylease, in one tree.

::

    KeyleaseError                     1
    ├── UsageError                    2   an option, a URL or a name that is not valid
    ├── InternalError                 1   a fault in keylease, or in a library that it uses
    ├── RequestError                  1   the peer broke its own protocol
    │   └── AskedAgainError           1   the same process asks for the same secret again
    ├── SessionNotFoundError          3   no live session for the target
    │   └── SessionEndedError         3   there was one; it carries the reason
    ├── KeychainUnavailableError      4   locked, unreachable or too slow; never means deleted
    │   └── KeychainMissingError      4   this machine has no such keychain at all
    ├── VaultRevokedError             5   the vault key was deleted from its pinned keychain
    ├── StateError                    6   a state file that cannot be used
    │   ├── StateMissingError         6   a directory or file that should exist does not
    │   ├── UnsafeStateError          6   wrong owner, mode, type or link count
    │   ├── LockTimeoutError          6   another process holds the lock for too long
    │   └── ForeignBootError          6   made in another boot, which may not be over
    ├── SealError                     6   a sealed file that cannot be opened
    │   ├── UnknownFormatError        6   not a sealed file of a version known here
    │   ├── WrongKeyError             6   sealed under another key
    │   └── TamperedError             6   changed since it was sealed
    ├── AuditError                    7   the audit log cannot be written, so nothing is released
    ├── ConfigError                   8   a configuration file or variable that cannot be used
    ├── PolicyError                   9   the policy of this machine does not allow it
    └── CredentialRefusedError       10   the server refuses the credential

The number is the exit code of the human commands. A helper uses the exit codes that its peer
expects: see `refuse` in each module of `keylease.protocols`.

A message says what was found and what was expected; the hint says what to do next. Neither contains
a secret or ends with a full stop.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from keylease.model import Reason


LOGIN: Final = "keylease login URL"
"""The login command in a hint. Callers that know the URL replace it by the whole command."""


class KeyleaseError(Exception):
    """Base of every refusal.

    Args:
        message: What was found and what was expected, on one line, without a secret.
        hint: What to do next; the class's own hint if not given.

    New in version 0.1.0.
    """

    exit_code = 1
    hint = ""

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        if hint is not None:
            self.hint = hint


class UsageError(KeyleaseError):
    """The caller's option, URL or name is not valid.

    New in version 0.1.0.
    """

    exit_code = 2


class InternalError(KeyleaseError):
    """An unexpected exception: a fault in keylease or in a library.

    `__cause__` is the exception itself.
    """

    hint = "please report it; the operation may be incomplete"


class RequestError(KeyleaseError):
    """The peer's message breaks the peer's own protocol."""

    hint = "nothing was released or stored"


class AskedAgainError(RequestError):
    """The same process asks the same question again, so a server probably refused the secret."""

    hint = "the secret was not released again; if it is wrong, log in with the right one"


class SessionNotFoundError(KeyleaseError):
    """There is no live session for the target.

    New in version 0.1.0.
    """

    exit_code = 3
    hint = f"start one with: {LOGIN}"


class SessionEndedError(SessionNotFoundError):
    """There was a session, and it has ended.

    Args:
        message: As in `KeyleaseError`.
        reason: One of `keylease.model.REASONS`.

    New in version 0.1.0.
    """

    def __init__(self, message: str, reason: Reason) -> None:
        super().__init__(message)
        self.reason = reason


class KeychainUnavailableError(KeyleaseError):
    """The keychain is locked, unreachable or too slow.

    It is never a reason to delete anything.

    New in version 0.1.0.
    """

    exit_code = 4
    hint = "unlock the keychain or log in to the desktop, then try again; nothing was deleted"


class KeychainMissingError(KeychainUnavailableError):
    """This machine, or this login, has no keychain of that kind."""

    hint = "name another one with --keychain or KEYLEASE_KEYCHAIN"


class VaultRevokedError(KeyleaseError):
    """The vault key was deleted from the keychain, which ended every session.

    New in version 0.1.0.
    """

    exit_code = 5
    hint = f"start afresh with: {LOGIN}"


class StateError(KeyleaseError):
    """A file or directory of the state cannot be used.

    New in version 0.1.0.
    """

    exit_code = 6


class StateMissingError(StateError):
    """A directory or file of the state does not exist."""


class UnsafeStateError(StateError):
    """A state file or directory has the wrong owner, mode, type or link count."""


class LockTimeoutError(StateError):
    """Another process holds a lock for longer than this one may wait."""

    hint = "another keylease process is busy or stopped; try again"


class ForeignBootError(StateError):
    """A session or key was made in another boot than this process sees. That boot may still run."""

    hint = "run keylease where the session was started, or wait for its end; nothing was deleted"

    def __init__(self, what: str) -> None:
        super().__init__(f"{what} belongs to another boot, which may still be running")


class SealError(KeyleaseError):
    """A sealed file cannot be opened.

    New in version 0.1.0.
    """

    exit_code = 6
    hint = f"the session is over; start a new one with: {LOGIN}"


class UnknownFormatError(SealError):
    """The bytes are not a sealed file of a known version."""


class WrongKeyError(SealError):
    """The file was sealed under another key."""


class TamperedError(SealError):
    """The file was changed after it was sealed."""


class AuditError(KeyleaseError):
    """The audit log cannot be written, so nothing is released.

    New in version 0.1.0.
    """

    exit_code = 7
    hint = "make room or repair the audit directory, then try again"


class ConfigError(KeyleaseError):
    """A configuration file, the machine's policy or a variable is unsafe, unreadable or wrong.

    New in version 0.1.0.
    """

    exit_code = 8
    hint = "nothing is released until this is fixed; sessions can still be ended"


class PolicyError(KeyleaseError):
    """The policy of this machine does not allow it.

    New in version 0.1.0.
    """

    exit_code = 9
    hint = "ask the administrator of this machine; see: keylease config show"


class CredentialRefusedError(KeyleaseError):
    """The server was asked, and refuses the credential.

    New in version 0.1.0.
    """

    exit_code = 10
    hint = "no session was started, and none was changed"


# Unicode, Default_Ignorable_Code_Point: characters that Python calls printable but that show as
# nothing. In a name they make one host look like another.
_INVISIBLE: Final = frozenset(
    "\u034f\u115f\u1160\u17b4\u17b5\u180b\u180c\u180d\u180f\u3164\uffa0"
    + "".join(map(chr, (*range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0))))
)


def is_visible(character: str) -> bool:
    """Return whether a character is visible and has no other effect."""
    return character.isprintable() and character not in _INVISIBLE


def printable(text: str) -> str:
    """Return the text on one line, with everything escaped that is not visible.

    It escapes control characters, line ends, characters that change the direction of writing,
    invisible characters, and lone surrogates, which stand for bytes that are not UTF-8.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(c if is_visible(c) else ascii(c)[1:-1] for c in text)
