"""Select one value of a credential, and write it to stdout unchanged."""

from __future__ import annotations

import os
import re
import select
from typing import TYPE_CHECKING, Final

from keylease.cli.base import OutputError
from keylease.errors import KeyleaseError, UsageError
from keylease.model import OPEN_GATE
from keylease.secrets.memory import joined, secure_clear
from keylease.system.streams import await_reader

if TYPE_CHECKING:
    from keylease.model import Credential, Gate

PASSWORD: Final = "password"  # noqa: S105 - the name of a field
USERNAME: Final = "username"
FIELD: Final = re.compile(r"[A-Za-z0-9_.-]{1,64}")
"""A valid name of a field. Messages repeat no other text: it may be a misplaced password."""

_STDOUT: Final = 1


def value(credential: Credential, field: str, hint: str) -> bytes | memoryview:
    """Return one value of the credential. For a secret it is a view, valid until the wipe.

    Args:
        credential: The released credential.
        field: `password`, `username`, or the name of an extra field.
        hint: The hint of a refusal: the release is logged although no value was written.

    Raises:
        KeyleaseError: the credential has no such field.
    """
    if field == USERNAME:
        if credential.username is None:
            msg = "the session has no user name"
            raise KeyleaseError(msg, f"leave out username; {hint}")
        return credential.username.encode("utf-8", "surrogateescape")
    secret = credential.secret if field == PASSWORD else credential.field(field)
    if secret is None:
        known = [PASSWORD] if credential.username is None else [PASSWORD, USERNAME]
        names = ", ".join([*known, *(name for name, _ in credential.fields)])
        msg = f"the session has no field {field}"
        raise KeyleaseError(msg, f"its fields: {names}; {hint}")
    return secret.reveal()


def refuse_terminal(hint: str) -> None:
    """Refuse to show a secret on a screen.

    Raises:
        UsageError: stdout is a terminal.
    """
    if os.isatty(_STDOUT):
        msg = "stdout is a terminal, which would show the secret"
        raise UsageError(msg, hint)


def write(*parts: bytes | memoryview, gate: Gate = OPEN_GATE) -> None:
    """Write to stdout at once, as bytes.

    Args:
        parts: The bytes to write.
        gate: The gate of the release: it stays open only while the session lives.

    Raises:
        SessionNotFoundError: the session has ended meanwhile, so nothing is written.
        LockTimeoutError: the reader does not read in time, so nothing is written.
        OutputError: stdout failed, and its reader may have only a part.
    """
    text = joined(parts)
    try:
        await_reader(_STDOUT, gate.remaining())
        with gate:
            _write(text)
    except OSError as error:
        msg = f"cannot write the answer to stdout: {error.strerror}"
        raise OutputError(msg, "the release is in the audit log") from None
    finally:
        secure_clear(text)


def _write(text: memoryview) -> None:
    done = 0
    while done < len(text):
        try:
            done += os.write(_STDOUT, text[done:])
        except BlockingIOError:
            select.select([], [_STDOUT], [])
