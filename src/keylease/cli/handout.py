"""Hand out one value of a credential: which one, and to stdout byte for byte."""

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
"""The names that fields have. Others are not repeated: they may be a password in a wrong place."""

_STDOUT: Final = 1


def value(credential: Credential, field: str, hint: str) -> bytes | memoryview:
    """Return one value of the credential; of a secret it is a view, which ends with it.

    Args:
        credential: It is released by then.
        field: `password`, `username`, or the name of an extra field.
        hint: What to say of the release that led to nothing.

    Raises:
        KeyleaseError: there is none of that name.
    """
    if field == USERNAME:
        if credential.username is None:
            msg = "the session has no user name"
            raise KeyleaseError(msg, f"leave username out; {hint}")
        return credential.username.encode("utf-8", "surrogateescape")
    secret = credential.secret if field == PASSWORD else credential.field(field)
    if secret is None:
        known = [PASSWORD] if credential.username is None else [PASSWORD, USERNAME]
        names = ", ".join([*known, *(name for name, _ in credential.fields)])
        msg = f"the session has no field {field}"
        raise KeyleaseError(msg, f"what it has: {names}; {hint}")
    return secret.reveal()


def refuse_terminal(hint: str) -> None:
    """Raise if what is written to stdout would stand on a screen.

    Raises:
        UsageError: stdout is a terminal.
    """
    if os.isatty(_STDOUT):
        msg = "stdout is a terminal, which would show it"
        raise UsageError(msg, hint)


def write(*parts: bytes | memoryview, gate: Gate = OPEN_GATE) -> None:
    """Write to stdout at once, without any reading of the bytes as text.

    Args:
        parts: What to write.
        gate: What it passes, if it was released just now.

    Raises:
        SessionNotFoundError: the session has ended meanwhile, so nothing is written.
        LockTimeoutError: nobody takes it in time, so nothing is written.
        OutputError: stdout does not take it all, and its reader has only a part.
    """
    text = joined(parts)
    try:
        await_reader(_STDOUT, gate.remaining())
        with gate:
            _write(text)
    except OSError as error:
        msg = f"the answer cannot be written to stdout: {error.strerror}"
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
