"""What `keylease login` asks for each tool, and how the answers become a credential.

Each tool has its own name for its secret, some have several secrets, and not all have a user name.
No secret ever comes from the command line. The rows of `keylease.tools` say what a login asks for.
"""

from __future__ import annotations

import os
import re
import stat
from typing import TYPE_CHECKING, Final, NamedTuple

from keylease.cli import address
from keylease.errors import UsageError
from keylease.model import Credential
from keylease.protocols import git
from keylease.secrets.memory import allocate, secure_clear
from keylease.secrets.secret import Secret
from keylease.system import terminal
from keylease.tools import named

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from keylease.cli.address import Address
    from keylease.tools import Form

LONGEST_SECRET: Final = git.MAX_LINE - len("password=\n")
"""Bytes. git reads an answer line by line, and bounds the length of a line."""
_ONE_LINE: Final = re.compile(rb"[^\n]*\n")
# IAM User Guide, "Reference identifiers": a key id with this prefix is temporary, and useless
# without its session token.
_TEMPORARY: Final = "ASIA"


class Given(NamedTuple):
    """The options of a login. They say where the secrets are, but contain none."""

    tool: str | None
    password_stdin: bool = False
    fields: tuple[str, ...] = ()
    """Names of the extra secrets to ask for on the terminal."""
    files: tuple[tuple[str, str], ...] = ()
    """Name and path of each secret in a file."""


def ask(wanted: Address, given: Given) -> tuple[Address, Credential]:
    """Return the address with its user name, and the credential.

    Raises:
        UsageError: there is no terminal to ask on, or a given value is not valid.
    """
    form = named(given.tool or "git").login
    _check(form, wanted, [*given.fields, *(name for name, _ in given.files)], given)
    if wanted.username is None and form.username is not None:
        typed = terminal.ask(f"{form.username} for {wanted}: ")
        wanted = wanted._replace(username=address.name(str(typed, "utf-8", "surrogateescape")))
    secrets: dict[str | None, Secret] = {}
    try:
        for name, secret in _secrets(form, wanted, given):
            secrets[name] = secret
            _judge(secret, (name or form.secret).lower(), lines=name in {"certificate", "key"})
    except BaseException:
        for secret in secrets.values():
            secret.wipe()
        raise
    secret = secrets.pop(form.instead if form.instead in secrets else None)
    fields = tuple((name, value) for name, value in secrets.items() if name is not None)
    return wanted, Credential(wanted.username, secret, fields=fields)


def _check(form: Form, wanted: Address, named: Sequence[str], given: Given) -> None:
    """Refuse options that do not fit the tool, before asking for a secret."""
    known = [*form.fields, *([form.instead] if form.instead else [])]
    for name in named:
        if name not in known or named.count(name) > 1:
            expected = f"one of {', '.join(known)}" if known else "none"
            msg = f"the field {name!a} is unknown or given twice: expected {expected}"
            raise UsageError(msg)
    if form.username is None and wanted.username is not None:
        msg = f"a session for {given.tool} has no user name"
        raise UsageError(msg, "leave out --username")
    if form.instead and len(named) not in {0, len(known)}:
        msg = f"found only one of {' and '.join(known)}, expected both"
        raise UsageError(msg, "give both with --field-file")
    if form.instead in named and given.password_stdin:
        msg = f"found both a {form.instead} and a {form.secret.lower()}, expected one of them"
        raise UsageError(msg, "leave out --password-stdin")


def _secrets(form: Form, wanted: Address, given: Given) -> Iterator[tuple[str | None, Secret]]:
    """Read or ask for each secret. `None` is the name of the main one, which every tool has."""
    files, fields = dict(given.files), [*given.fields]
    temporary = given.tool == "aws" and (wanted.username or "").startswith(_TEMPORARY)
    if temporary and "session_token" not in {*files, *fields}:
        fields.append("session_token")
    for name, path in files.items():
        yield name, _read_file(name, path)
    if form.instead is None or form.instead not in {*files, *fields}:
        if given.password_stdin:
            yield None, terminal.read_secret(LONGEST_SECRET)
        else:
            yield None, terminal.ask_secret(f"{form.secret} for {wanted}: ")
    for name in fields:
        spoken = name.replace("_", " ").capitalize()
        yield name, terminal.ask_secret(f"{spoken} for {wanted}: ")


def _judge(secret: Secret, what: str, *, lines: bool) -> None:
    if not secret:
        msg = f"the {what.replace('_', ' ')} is empty"
        raise UsageError(msg, "nothing was changed; try again")
    if not lines and not git.BREAKING.isdisjoint(secret.reveal()):
        msg = f"the {what.replace('_', ' ')} contains a line break or NUL"
        hint = "tools cannot receive that; give only the value, with one line end at most"
        raise UsageError(msg, hint)


def _read_file(name: str, path: str) -> Secret:
    """Return a file's bytes. If the file has a single line, leave out its line end.

    Raises:
        UsageError: it is not a regular file, too long, or cannot be read.
    """
    buffer = allocate(LONGEST_SECRET + 1)
    try:
        flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
        with open(os.open(path, flags), "rb", buffering=0) as file:
            regular = stat.S_ISREG(os.fstat(file.fileno()).st_mode)
            length = file.readinto(buffer) if regular else 0
        if not regular:
            msg = f"the file for {name} is not a regular file"
            raise UsageError(msg, "name a regular file, or type the secret with --field")
        if length > LONGEST_SECRET:
            msg = f"the file for {name} is longer than {LONGEST_SECRET} bytes"
            raise UsageError(msg)
        if _ONE_LINE.fullmatch(buffer, 0, length):
            length -= 1
        return Secret(buffer[:length])
    except OSError as error:
        msg = f"cannot read the file for {name}: {error.strerror}"
        raise UsageError(msg) from None
    finally:
        secure_clear(buffer)
